"""What was begun is finished before something new begins, at no cost of the pace."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import anyio
import pytest

from alma_async import Limits
from alma_async._http.messages import SendFailure
from alma_async.load import read_rows
from alma_async.load.journal_file import JournalFile
from alma_async.load.progress import hold
from alma_async.load.run import most
from tests.conftest import EPOCH
from tests.conftest import institution as served
from tests.guard.schedules import fast_folder
from tests.load.line import institution, into, titles

RATE = 25.0


@pytest.fixture
def tmp_path():
    """In memory where that can be: these are thousands of commits of which none is to be kept."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as made:
        yield Path(made)


@pytest.mark.parametrize(("in_flight", "rows"), [(0, 5), (6, 17), (200, 405)])
def test_twice_what_is_in_flight(in_flight, rows):
    """At 25 a second: twice the calls in flight, and those of a fifth of a second."""
    assert most(RATE, in_flight) == rows


@pytest.mark.parametrize("latency", [0.25, 8.0])
async def test_few_rows_are_begun_and_the_pace_is_full(tmp_path, latency):
    """Interrupted at any time at most twice the pace times the latency is begun, and 97 % of the pace is used all the time."""
    limits = Limits(per_second=RATE, reserve=0, pacing="greedy")
    begun, count = [], int(RATE * (latency * 3 + 6))
    rows = read_rows(titles(tmp_path / "titles.csv", count))
    async with institution(lambda: latency, limits=limits) as (line, alma):
        load = into(alma, tmp_path / "a.load")

        async def look():
            while True:
                await anyio.sleep(0.5)
                begun.append(load.progress().begun)

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            assert (await load.run(rows)).created == count
            group.cancel_scope.cancel()
    assert max(begun) <= 2 * (RATE * latency + 1) + 5
    first, last = (
        4 * latency + 2,
        line.arrivals[-1] - 4 * latency,
    )  # while there is always another row to begin
    in_between = [at for at in line.arrivals if first <= at - line.arrivals[0] <= last]
    assert len(in_between) >= 0.97 * RATE * (last - first)


async def test_an_interruption_leaves_few_half_made(tmp_path):
    """Of a load that is cut off at a latency of 2 s, what stands in Alma without its coverage was in flight or next."""
    rows = read_rows(titles(tmp_path / "titles.csv", 1000))
    async with institution(lambda: 2.0) as (line, alma):
        with anyio.move_on_after(30.0):
            await into(alma, tmp_path / "a.load").run(rows)
        bare = Counter(
            not one["coverage_details"]["local_date_coverage_parameters"]
            for one in line.world.portfolios.all.values()
        )
    assert bare[False] > 200
    assert bare[True] <= 2 * RATE * 2.0
    with JournalFile(tmp_path / "a.load") as journal:
        assert sum(one.is_begun for one in journal.entries()) <= 2 * RATE * 2.0 + 5


async def test_rows_that_fail_by_themselves_hold_up_nobody(tmp_path):
    """Rows that fail again and again rest meanwhile, and the others go on at the pace allowed."""
    rows = read_rows(titles(tmp_path / "titles.csv", 600))
    async with institution(lambda: 0.25) as (line, alma):
        ill = {f"99{n:07}" for n in range(0, 600, 60)}

        def trouble(request):
            made = request.path.rsplit("/", 1)[-1]
            one = line.world.portfolios.all.get(made)
            if request.method == "PUT" and one and one["resource_metadata"]["mms_id"]["value"] in ill:
                return SendFailure(sent=False, reason="the network")
            return None

        line.trouble = trouble
        async with anyio.create_task_group() as group:
            load = into(alma, tmp_path / "a.load")

            async def stop():
                await anyio.sleep(60.0)
                load.stop()

            group.start_soon(stop)
            report = await load.run(rows)
    assert report.created > 450


# --- why it stands still, and until when


async def shown(tmp_path, at, **switches):
    """What a load shows after so many seconds."""
    rows = read_rows(titles(tmp_path / "titles.csv", 500))
    found = []
    async with served(epoch=EPOCH, latency=0.1, **switches) as (_, alma):
        load = into(alma, tmp_path / "a.load", wait_for_quota=True)
        async with anyio.create_task_group() as group:

            async def look():
                await anyio.sleep(at)
                found.append((load.progress(), hold(alma.quota(), alma.clock.wall())))
                group.cancel_scope.cancel()

            group.start_soon(look)
            await load.run(rows)
    return found[0]


async def test_a_spread_day_is_said_at_once_with_its_end(tmp_path):
    """Where calls are spread over the rest of the day the progress says so, how often one goes, and until when; the time to go is
    that of the calls still needed, not of what was done so far.
    """
    progress, why = await shown(tmp_path, 60.0, quota=600)
    assert progress.waiting == why
    assert "spread evenly" in why
    assert "the next call goes at 14:" in why
    assert progress.begun <= 10
    left = 86400 - EPOCH % 86400
    # Run on, it ends after 86,683 s: on the next day. Others are expected to need a third of each day, and nobody calls.
    assert left < progress.eta == pytest.approx(86_683 - 60, rel=0.45)
    assert progress.pending > 300


async def test_the_reserve_is_said_with_its_end(tmp_path):
    """A load that waits for the reset at the reserve says so, and at what time it goes on."""
    progress, why = await shown(
        tmp_path, 600.0, quota=70, client={"limits": Limits(reserve=30, pacing="greedy")}
    )
    assert progress.waiting == why
    assert why == "what remains of the day's calls is the reserve; calls go again at 00:00:00 UTC"
    # Each day has some forty calls for it: seventy less the thirty of the reserve.
    assert progress.eta == pytest.approx(progress.needed / (70 - 30) * 86400, rel=0.3)


async def test_a_load_that_moves_holds_nothing_back(tmp_path):
    """While rows are done at the pace allowed no reason is given, and the time to go is about what is left."""
    progress, why = await shown(tmp_path, 10.0)
    assert (progress.waiting, why) == (None, None)
    assert progress.eta == pytest.approx(1000 / 25 - 9, abs=4)
