"""Loads in real time: real threads and files, asyncio's own cancellation, and what the event loop is held up by.

``ALMA_TEST_INTERRUPTIONS=1000`` makes the longer version, over a journal of 6,000 rows; ``ALMA_TEST_LONG=100000`` a longer file.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sqlite3
import threading
import time
from collections import Counter

import anyio
import pytest

from alma_async import Limits
from alma_async._clock import Clock
from alma_async.load import Row, read_rows, undo_rows
from alma_async.load.journal_file import JournalFile
from tests.load.line import institution, into, titles

INTERRUPTIONS = int(os.environ.get("ALMA_TEST_INTERRUPTIONS", "40"))
ROWS = 6000 if INTERRUPTIONS >= 1000 else 300
FAST = Limits(per_second=2000, reserve=0, pacing="greedy")
NATIVE = ("wait_for", "timeout", "cancel", "cancel twice")


def served(seed=0, **how):
    rng = random.Random(seed)
    return institution(lambda: rng.uniform(0.0, 0.01), **{"clock": Clock(), "limits": FAST, **how})


async def interrupted(work, after, how):
    """Do the work for so long, then end it in one of asyncio's own ways; what it gave, or None."""
    if how == "wait_for":
        try:
            return await asyncio.wait_for(work(), after)
        except TimeoutError:
            return None
    if how == "timeout":
        try:
            async with asyncio.timeout(after):
                return await work()
        except TimeoutError:
            return None
    task = asyncio.ensure_future(work())
    await asyncio.wait([task], timeout=after)
    task.cancel()
    if how == "cancel twice":
        await asyncio.wait([task], timeout=0.002)
        task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


async def end(work, rng, longest, times=INTERRUPTIONS):
    """Interrupt it at random moments so many times, and then let it end."""
    for _ in range(times):
        await interrupted(work, rng.uniform(0.0, longest) ** 2, rng.choice(NATIVE))
    return await work()


def once(line):
    """How often each URL is held."""
    held = (one["linking_details"]["static_url"] for one in line.world.portfolios.all.values())
    return Counter(held)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.timeout(1800)
def test_a_load_is_interrupted_by_asyncio_at_any_moment(tmp_path, loop):
    """Cancelled natively at random moments, opening included, the same process goes on at once, and each row is there once."""
    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    async def main():
        file = titles(tmp_path / "titles.csv", ROWS)
        async with served() as (line, alma):

            async def work():
                return await into(alma, tmp_path / "a.load", quarantine=0.0).run(read_rows(file))

            report = await end(work, random.Random(1), 0.7)
            assert (report.created, report.pending, report.review) == (ROWS, 0, 0)
            assert once(line) == dict.fromkeys(once(line), 1)
            assert len(once(line)) == ROWS

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("what", ["plan", "plan in a journal", "verify", "undo"])
async def test_the_rest_is_interrupted_alike(tmp_path, what):
    """A plan, a verification and an undo that asyncio cancels leave journals that the same process opens at once."""
    file = titles(tmp_path / "titles.csv", 200)
    async with served() as (line, alma):
        load = into(alma, tmp_path / "a.load")
        if "plan" not in what:
            await load.run(read_rows(file))

        async def work():
            if what == "verify":
                return await load.verify()
            if what == "undo":
                back = into(alma, tmp_path / "undo.load", action="undo", quarantine=0.0, on_unknown="resend")
                return await back.run(undo_rows(tmp_path / "a.load"))
            journal = tmp_path / "plan.load" if what == "plan in a journal" else None
            with await load.plan(read_rows(file), journal=journal) as plan:
                return plan.report

        ended = await end(work, random.Random(2), 0.5, 12)
        assert {"verify": 200}.get(what, ended.rows) == 200
        assert ended.exit_code == 0
        assert len(once(line)) == (200 if what == "verify" else 0)


async def test_nobody_else_uses_a_journal_that_a_thread_works_on(tmp_path, monkeypatch):
    """Cancelled while a slow disk opens the journal, ``run`` ends when that is over, and leaves nothing open."""
    opening, connects = threading.Event(), sqlite3.connect
    found = []

    def slowly(path, **how):
        if path == ":memory:":  # no disk: the schema to compare with
            return connects(path, **how)
        opening.set()
        time.sleep(0.1)  # noqa: TID251 - a slow disk is what is tested
        found.append(connects(path, **how))
        return found[-1]

    file = titles(tmp_path / "titles.csv", 5)
    async with served() as (_, alma):
        load = into(alma, tmp_path / "a.load")
        with monkeypatch.context() as patched:
            patched.setattr(sqlite3, "connect", slowly)
            task = asyncio.ensure_future(load.run(read_rows(file)))
            while not opening.is_set():
                await asyncio.sleep(0.001)  # noqa: TID251
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(found) == 1
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            found[0].execute("SELECT 1")
        assert (await load.run(read_rows(file))).created == 5


# --- what the loop is held up by


class Steps:
    """The longest step of the loop's own thread, in processor time, which others on the machine do not lengthen; without Python's
    collector, which walks over the simulator's objects.
    """

    def __init__(self, monkeypatch):
        self.longest, self.where, self._loops = 0.0, "", threading.get_ident()
        self._collecting, self._since = 0.0, 0.0
        gc.callbacks.append(self._collector)
        run = asyncio.Handle._run

        def measured(handle):
            began, collecting = time.thread_time(), self._collecting
            run(handle)
            took = time.thread_time() - began - (self._collecting - collecting)
            if took > self.longest:
                self.longest, self.where = took, repr(handle)

        monkeypatch.setattr(asyncio.Handle, "_run", measured)

    def _collector(self, phase, _):
        if threading.get_ident() == self._loops:
            self._collecting += (-1 if phase == "start" else 1) * time.thread_time()

    def close(self):
        gc.callbacks.remove(self._collector)


def only_in_threads(monkeypatch):
    """Journals whose every statement is recorded where it is made in the loop's own thread."""
    loops, found = threading.get_ident(), []
    opened = JournalFile.__init__

    def init(journal, path, **how):
        opened(journal, path, **how)
        if threading.get_ident() == loops:
            found.append("opened")
        journal._db.set_trace_callback(
            lambda sql: found.append(sql) if threading.get_ident() == loops else None
        )

    monkeypatch.setattr(JournalFile, "__init__", init)
    return found


LONG = int(os.environ.get("ALMA_TEST_LONG", "30000"))
# On demand, on a quiet machine; else what a machine shared with others adds is let pass, and what waits on the loop is not.
MOST = 0.020 if "ALMA_TEST_LONG" in os.environ else 0.100


async def until_some_are_done(load):
    """Reading all rows takes longer; then some are worked on, and it is stopped."""
    with anyio.move_on_after(60):
        while (now := load.progress()) is None or now.rows < LONG or now.done < 200:
            await anyio.sleep(0.01)
    load.stop()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["plan", "run", "verify"])
async def test_no_step_of_the_loop_is_long(tmp_path, monkeypatch, what):
    """While a long file is read, planned, loaded in part and verified, no step is long, and no disk is waited for."""
    rows = read_rows(titles(tmp_path / "titles.csv", LONG))
    async with served(limits=Limits(per_second=100_000, in_flight=1000, reserve=0, pacing="greedy")) as (
        _,
        alma,
    ):
        load = into(alma, tmp_path / "a.load")
        if what == "verify":
            async with anyio.create_task_group() as group:
                group.start_soon(until_some_are_done, load)
                await load.run(rows)
            load = into(alma, tmp_path / "a.load")
        in_loop, steps = only_in_threads(monkeypatch), Steps(monkeypatch)
        try:
            async with anyio.create_task_group() as group:
                if what != "verify":
                    group.start_soon(until_some_are_done, load)
                made = await (load.verify() if what == "verify" else getattr(load, what)(rows))
        finally:
            steps.close()
    if what == "plan":
        made.close()
    assert steps.longest < MOST, steps.where
    assert not in_loop


async def test_a_load_shows_how_far_it_reads_and_stops(tmp_path):
    """While a long file is read the progress counts its rows; a stop ends it at once, resumable, and says that it is not read."""
    read, seen = [], []

    class File:
        def __iter__(self):
            for n in range(10**6):
                read.append(n)
                yield Row(
                    line=n + 2, lines=(n + 2,), mms_id=f"99{n:07}", values={"url": f"https://x.example/{n}"}
                )

    async with served() as (line, alma):
        load = into(alma, tmp_path / "a.load")

        def tell(progress):
            seen.append(progress)
            if progress.rows > 2000:
                load.stop()

        report = await load.run(File(), on_progress=tell)
    assert seen[0].rows == 0
    assert "the file is being read" in seen[0].waiting
    assert (report.read, report.exit_code, report.stopped) == (False, 3, "stopped on request")
    assert len(read) < 10_000
    assert not line.arrivals
