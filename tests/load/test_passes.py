"""A run as a whole: outages, refusals in mass, a refused key, stopping, its pace, and a slow disk."""

from __future__ import annotations

import random
import resource
from collections import Counter

import anyio
import pytest

from alma_async import Limits, Unauthorized
from alma_async._clock import Clock
from alma_async._http.messages import Response, SendFailure
from alma_async.load import JournalError, read_rows
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from tests.conftest import EPOCH
from tests.conftest import institution as served
from tests.load.line import institution, into, refusal, titles

HOUR = 3600.0
DOWN = Response(
    status=503, headers={"content-type": "text/html"}, body=b"<html>Service Unavailable", elapsed=0.0
)


@pytest.fixture
def rows(tmp_path):
    """The rows of so many new titles."""
    return lambda count: read_rows(titles(tmp_path / "titles.csv", count))


@pytest.fixture
def journal(tmp_path):
    """Where the load is written down."""
    return tmp_path / "a.load"


def states(journal):
    with JournalFile(journal) as opened:
        return Counter(state for state, _ in opened.counts())


@pytest.mark.slow
@pytest.mark.parametrize("answer", [DOWN, SendFailure(sent=False, reason="connect")])
async def test_three_hours_of_outage_cost_time_and_hardly_a_call(rows, journal, answer):
    """Whether it answers 503 or not at all, an outage of three hours fails no row and costs at most 200 calls an hour."""
    latency = random.Random(1)
    async with institution(lambda: latency.uniform(0.2, 4.0)) as (line, alma):
        line.trouble = lambda _: answer if 10.0 < anyio.current_time() < 10.0 + 3 * HOUR else None
        told = []
        report = await into(alma, journal, quarantine=300.0).run(rows(1000), on_progress=told.append)
        assert (report.created, report.pending) == (1000, 0)
        assert len(line.world.portfolios.all) == 1000
        assert line.world.portfolios.duplicates() == 0
        assert len(line.arrivals) <= 2 * 1000 + 1 + 3 * 200
        longest = max(told, key=lambda progress: progress.waited)
        assert longest.waiting
        assert 2.9 * HOUR < longest.waited < 3.1 * HOUR


async def test_a_key_that_is_refused_in_the_middle_stops_what_has_not_been_sent(rows, journal):
    """Once the key is refused, no more calls follow than were under way."""
    async with institution(lambda: 2.0) as (line, alma):
        body = (
            b'{"errorsExist":true,"errorList":{"error":[{"errorCode":"UNAUTHORIZED","errorMessage":"no"}]}}'
        )
        refused = Response(status=401, headers={"content-type": "application/json"}, body=body, elapsed=0.0)
        line.trouble = lambda _: refused if anyio.current_time() > 20.0 else None
        with pytest.raises(Unauthorized):
            await into(alma, journal).run(rows(800))
        assert sum(at > 20.0 for at in line.arrivals) <= 5  # who had their permits already
        assert sum(at > 18.0 for at in line.arrivals) <= 60
        line.trouble = lambda _: None
        assert (await into(alma, journal).run(rows(800))).created == 800


async def test_refusals_in_mass_stop_the_load(rows, journal, tmp_path):
    """Where every row is refused the load stops, resumable, and says the code; told to, it goes on."""
    async with institution(lambda: 0.2) as (line, alma):
        line.trouble = lambda request: refusal("60172") if request.method == "POST" else None
        report = await into(alma, journal).run(rows(400))
        assert report.exit_code == 3
        assert "60172" in (report.stopped or "")
        assert 20 <= report.rejected < 40
        report = await into(alma, journal, circuit_breaker=False).run(rows(400))
        assert (report.rejected, report.exit_code) == (400, 1)


async def test_rows_that_the_reader_refused_do_not_count(journal, tmp_path):
    """A file of which half cannot be read is loaded as far as it can."""
    path = titles(tmp_path / "titles.csv", 60)
    path.write_text(path.read_text() + "no-id,https://x.example,2000\n" * 100)
    async with institution() as (_, alma):
        report = await into(alma, journal).run(read_rows(path))
        assert (report.created, report.rejected, report.pending) == (60, 100, 0)


async def test_a_stop_waits_for_what_was_sent_and_for_nothing_else(rows, journal):
    """Stopped with a hundred rows in line and forty on their way, the load ends within one answer and leaves none unknown."""
    async with institution(lambda: 2.0) as (line, alma):
        load = into(alma, journal)
        async with anyio.create_task_group() as group:

            async def stop():
                await anyio.sleep(20.0)
                load.stop()

            group.start_soon(stop)
            report = await load.run(rows(2000))
        assert anyio.current_time() <= 22.2
        assert line.arrivals[-1] <= 20.2  # who had their permits already
        assert report.exit_code == 3
        assert not {State.INTENT, State.UNKNOWN} & set(states(journal))


async def test_a_stop_while_the_quota_is_waited_for_ends_at_once(rows, journal):
    """A load that waits for midnight does not wait for it any more once it is stopped."""
    async with served(quota=70, epoch=EPOCH) as (_, alma):
        load = into(alma, journal, wait_for_quota=True)
        async with anyio.create_task_group() as group:

            async def stop():
                await anyio.sleep(600.0)
                load.stop()

            group.start_soon(stop)
            report = await load.run(rows(60))
        assert anyio.current_time() < 601.0
        assert 25 <= report.calls <= 50  # half of what bulk work may have, at least; never below the reserve
        assert report.created + report.pending == 60
        assert report.created > 10  # what was begun was finished, before more was begun


async def test_midnight_lets_a_load_go_on(rows, journal):
    """Told to wait until it is done, a load whose day is spent goes on by itself after midnight, in one run."""
    async with served(quota=70, epoch=EPOCH, latency=0.1) as (server, alma):
        report = await into(alma, journal, wait_for_quota=True).run(rows(60))
        assert (report.created, report.pending) == (60, 0)
        assert anyio.current_time() > 86400 - EPOCH % 86400
        assert server.world.portfolios.duplicates() == 0


@pytest.mark.parametrize("slowest", [0.25, 8.0])
async def test_the_pace_is_full_from_the_first_answer_to_the_last_call(rows, journal, slowest):
    """By the server's count a load wastes no more than the first answer's time and two seconds, though calls take up to 8 s."""
    latency = random.Random(2)
    async with institution(lambda: latency.uniform(0.25, slowest)) as (line, alma):
        report = await into(alma, journal).run(rows(1200))
        assert report.created == 1200
        span, needed = line.arrivals[-1] - line.arrivals[0], len(line.arrivals) / 25 * 1.01
        assert span - needed <= slowest + 2.0


class Filling(Clock):
    """The clock of a machine whose disk is full from a time on: no file grows any more."""

    def __init__(self, *, full_at):
        super().__init__(epoch=EPOCH)
        self.full_at = full_at

    async def aside(self, work):
        if anyio.current_time() >= self.full_at:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        return work()


async def test_a_full_disk_loses_no_id(rows, journal):
    """Where the journal can grow no more nothing more is sent, and the error tells the ids that it could not keep."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        async with institution(lambda: 1.0, clock=Filling(full_at=10.0)) as (line, alma):
            with pytest.raises(JournalError, match=r"journal \S+ failed") as caught:
                await into(alma, journal).run(rows(600))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert line.arrivals[-1] <= 10.2  # who had their permits already
    made = {str(one["id"]) for one in line.world.portfolios.all.values()}
    with JournalFile(journal) as opened:
        unknown = made - {entry.portfolio_id for entry in opened.entries()}
    told = " ".join(caught.value.__notes__)
    assert len(unknown) > 10
    assert {one for one in unknown if one in told} == unknown


class SlowDisk(Clock):
    """The clock of a machine whose every commit takes 50 ms, in a thread of its own."""

    async def aside(self, work):
        await self.sleep(0.05)
        return work()


async def test_a_slow_disk_holds_up_nothing(rows, journal):
    """With 50 ms a commit a load is as fast as its pace: commits are made together (one by one they would allow 20 a second)."""
    limits = Limits(per_second=100, reserve=0, pacing="greedy")
    async with institution(lambda: 0.1, clock=SlowDisk(epoch=EPOCH), limits=limits) as (line, alma):
        report = await into(alma, journal).run(rows(200))
    assert report.created == 200
    first, last = 40, 360
    assert (last - first) / (line.arrivals[last] - line.arrivals[first]) > 95


@pytest.mark.parametrize("after", [None, 0.0, 0.001, 0.3])
@pytest.mark.parametrize("kind", ["run", "plan", "verify"])
async def test_a_stop_counts_from_the_beginning(rows, journal, kind, after):
    """A stop before, as and soon after something begins ends it with nothing begun anew, and what is run then goes on."""
    async with served(latency=0.5) as (server, alma):
        load = into(alma, journal)
        if kind == "verify":
            await load.run(rows(60))
        before = len(server.world.portfolios.all)
        if after is None:
            load.stop()
        ended = []

        async def work():
            given = () if kind == "verify" else (rows(60),)
            ended.append(await getattr(load, kind)(*given))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            if after is not None:
                await anyio.sleep(after)
                load.stop()
        report = ended[0] if kind == "run" else ended[0].report
        assert report.stopped == "stopped on request"
        assert len(server.world.portfolios.all) - before < 10
        if kind == "plan":
            ended[0].close()
        assert (await load.run(rows(60))).created == 60
