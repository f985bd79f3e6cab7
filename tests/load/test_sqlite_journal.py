"""What is to be written down is written in order, together, and whoever waits knows that it is on the disk."""

from __future__ import annotations

import threading

import anyio
import attrs
import pytest

from alma_async._clock import Clock
from alma_async.load.entries import Entry, Moment, State
from alma_async.load.group_commit import GroupedJournal as SqliteJournal
from alma_async.load.journal import Ingested, JournalError
from alma_async.load.journal_file import JournalFile
from alma_async.load.row import Row
from alma_async.load.row_task import RowTask, Shared


@pytest.fixture
def anyio_backend():
    """Threads take real time."""
    return "asyncio"


@pytest.fixture
def file(tmp_path):
    with JournalFile(tmp_path / "a.load") as opened:
        opened.ingest(map(Ingested, (Entry(n=n, line=n, state=State.PENDING) for n in range(1, 101))))
        yield opened


def commits(file):
    """Counts the commits that are made from now on."""
    found = []
    file._db.set_trace_callback(lambda sql: found.append(sql) if sql == "COMMIT" else None)
    return found


def done(n):
    return Entry(n=n, line=n, state=State.DONE, action="created")


class Slow:
    """A disk that is slow until it is let go."""

    def __init__(self):
        self.free = threading.Event()

    async def aside(self, work):
        def slowly():
            self.free.wait(5)
            work()

        await anyio.to_thread.run_sync(slowly)


async def test_all_that_waits_is_committed_together(file):
    """While one commit is under way, all further ones gather and need a single one, and the loop goes on meanwhile."""
    disk, found = Slow(), commits(file)
    journal = SqliteJournal(file, disk.aside)
    async with anyio.create_task_group() as group:
        for n in range(1, 101):
            group.start_soon(journal.record, done(n))
        await anyio.sleep(0.05)
        assert not found
        disk.free.set()
    assert len(found) == 2
    assert {entry.state for entry in file.entries()} == {State.DONE}


async def test_who_waits_knows_that_it_is_on_the_disk(file):
    """When a call returns the transaction is over, and what was to be recorded soon before it is in it."""
    journal = SqliteJournal(file, Clock().aside)
    journal.record_soon(done(1))
    assert (await journal.entries_of([1]))[0].state is State.DONE
    assert not file._db.in_transaction


async def test_a_cancelled_leader_finishes_and_the_others_go_on(file):
    """Whoever is cancelled while leading or waiting leaves its work to be done, and nobody hangs."""
    disk = Slow()
    journal = SqliteJournal(file, disk.aside)
    scopes = []

    async def write(n):
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await journal.record(done(n))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for n in range(1, 11):
                group.start_soon(write, n)
            await anyio.sleep(0.05)
            for scope in scopes[:6]:
                scope.cancel()
            await anyio.sleep(0.05)
            disk.free.set()
        await journal.flush()
    assert [entry.state for entry in file.entries(limit=10)] == [State.DONE] * 10


async def test_after_a_failure_nothing_is_written(file):
    """A failed commit fails all who were in it and all who come after, though the disk be well again."""
    journal = SqliteJournal(file, Clock().aside)
    file._db.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalError):
        await journal.record(done(1))
    file._db.execute("PRAGMA query_only = OFF")
    with pytest.raises(JournalError):
        await journal.record(done(2))
    assert {entry.state for entry in file.entries()} == {State.PENDING}


@pytest.mark.parametrize("how", ["the disk fails", "cancelled"])
async def test_an_intent_that_failed_leaves_the_row_as_it_was(file, how):
    """Where an intent could not be made durable nothing is sent, and the row stands where it stood, in memory too."""
    disk = Slow()
    journal = SqliteJournal(file, disk.aside)
    before = file.get(1)
    needless = dict.fromkeys(field.name for field in attrs.fields(Shared))
    shared = Shared(
        **needless | {"journal": journal, "moment": lambda at=0.0: Moment(wall=1.0, mono=1.0, boot="b")}
    )
    row = RowTask(shared=shared, row=Row(line=1, lines=(1,)), entry=before)
    if how == "the disk fails":
        file._db.execute("PRAGMA query_only = ON")
        disk.free.set()
        with pytest.raises(JournalError):
            await row.intend(60.0)
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(journal.meta)  # whose commit is under way
            await anyio.sleep(0.05)
            with anyio.move_on_after(0.05) as waiting:
                await row.intend(60.0)
            disk.free.set()
        await journal.flush()
        assert waiting.cancelled_caught
        assert file.get(1) == before
    assert row.entry == before
