"""The ledger keeps what it was told, for several processes, whatever happens to the file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import sqlite3
import stat
from pathlib import Path

import anyio
import attrs
import pytest

from alma_async._clock import Clock
from alma_async._guard import records
from alma_async._guard.ledger import LedgerError, SqliteLedger, job_ledger
from alma_async._guard.state import EVERY_JOB, Block, Book, IllegalEvent, Run, RunState, Waiter, Why
from alma_async._storage.seal import Seal
from alma_async.errors import AlmaError, ConfigurationError

RUN = Run(
    key="k",
    job_id="M1",
    name="n k",
    state=RunState.RUNNING,
    instance_id="7",
    ours=False,
    by_api=False,
    reserved_at=1.25,
    latest_start=2.5,
    poll_at=math.inf,
)


CLOCK = Clock(epoch=0.0)  # in virtual time its work is done in place


def opened_at(path):
    return SqliteLedger(path, clock=CLOCK)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledgers" / "a.ledger"


@pytest.fixture
def ledger(path):
    opened = opened_at(path)
    yield opened
    opened.close()


def put(book, *runs):
    book.runs.update({run.key: run for run in runs})


async def whole(ledger, *, since=-math.inf, key=None):
    return await ledger.update(Book.copy, since=since, key=key)


async def test_what_was_written_is_there_again_field_by_field(ledger):
    """Runs, waiters and blocks survive closing, with every field as it was."""
    waiter = Waiter(key="w", job_id="M1", since=0.1, until=math.inf, watches=True)
    block = Block(job_id="M2", until=math.inf, why=Why.OVERLAP)

    def fill(book):
        put(book, RUN, attrs.evolve(RUN, key="l", instance_id=None, ours=True))
        book.waiters["w"], book.blocks["M2"] = waiter, block

    await ledger.update(fill, since=0.0)
    ledger.close()
    book = await whole(ledger)
    assert book.runs == {"k": RUN, "l": attrs.evolve(RUN, key="l", instance_id=None, ours=True)}
    assert (book.waiters, book.blocks) == ({"w": waiter}, {"M2": block})
    await ledger.update(lambda book: book.leave("w"), since=0.0)
    assert (await whole(ledger)).waiters == {}


async def test_old_runs_stay_for_ever_but_are_read_only_by_key(ledger):
    """What ended before the horizon is not carried along, and still there for whoever names it."""
    old = attrs.evolve(RUN, state=RunState.ENDED)
    await ledger.update(lambda book: put(book, old, attrs.evolve(RUN, key="open")), since=0.0)
    assert set((await whole(ledger, since=100.0)).runs) == {"open"}
    assert (await whole(ledger, since=100.0, key="k")).runs["k"] == old


async def test_a_change_that_fails_changes_nothing(ledger):
    """An exception in the middle takes back all of the transaction."""

    def broken(book):
        put(book, RUN)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ledger.update(broken, since=0.0)
    assert (await whole(ledger)).runs == {}


async def test_only_one_of_two_processes_takes_the_last_place(path):
    """Two connections that each read, decide and write: the second reads what the first wrote."""
    one, two = opened_at(path), opened_at(path)

    def take(book):
        if book.runs:
            return False
        put(book, RUN)
        return True

    assert [await each.update(take, since=0.0) for each in (one, two)] == [True, False]
    one.close()
    two.close()


async def test_a_lock_held_by_another_process_does_not_stop_the_event_loop(path, ledger):
    """While another connection holds the lock, others on the loop go on; afterwards the change is made."""
    await whole(ledger)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ticks = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: ledger.update(lambda book: put(book, RUN), since=0.0))
        for _ in range(5):
            await anyio.sleep(0.01)
            ticks += 1
        ledger.update_soon(lambda book: put(book, attrs.evolve(RUN, key="told")), since=0.0)
        await ledger.flush()
        assert await ledger.version() == 0
        other.execute("COMMIT")
    assert ticks == 5
    assert set((await whole(ledger)).runs) == {"k", "told"}
    other.close()


async def test_a_lock_that_is_never_released_is_an_error(path, ledger):
    """Whoever cannot get the ledger for ten seconds is told so, and nothing was changed."""
    await whole(ledger)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="another process"):
        await ledger.update(lambda book: put(book, RUN), since=0.0)
    other.close()
    assert (await whole(ledger)).runs == {}


async def test_commits_are_on_the_disk_and_the_journal_is_a_rollback_journal(ledger):
    """The pragmas are in force: TRUNCATE and EXTRA, so that several processes may write and a power cut loses nothing."""
    await whole(ledger)
    ask = lambda pragma: ledger._db.execute(f"PRAGMA {pragma}").fetchone()[0]  # noqa: E731
    assert (ask("journal_mode"), ask("synchronous"), ask("trusted_schema"), ask("cell_size_check")) == (
        "truncate",
        3,
        0,
        1,
    )


async def test_files_are_the_owners_alone(path, ledger):
    """Ledger, journal and lock are 0600 and the directory 0700, whatever the umask and whatever it was."""
    path.parent.mkdir(parents=True, mode=0o755)
    before = os.umask(0)
    try:
        await ledger.update(lambda book: put(book, RUN), since=0.0)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_link_is_not_followed(path, ledger, tmp_path):
    """A ledger's lock that is a link to elsewhere is refused."""
    path.parent.mkdir(parents=True)
    path.with_name(f"{path.name}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerError):
        await whole(ledger)
    assert not (tmp_path / "elsewhere").exists()


def no_ledger(path):
    path.write_bytes(b"not a database, whatever its name says" * 100)


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flipped(path):
    """One byte inside a value: SQLite's own check finds nothing wrong with it."""
    data = bytearray(path.read_bytes())
    data[data.rindex(b"SECRETNAME") + 3] ^= 1
    path.write_bytes(data)


def scrawled(path):
    """The pages after the first are overwritten."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"x" * (len(data) - 4096))


@pytest.mark.parametrize("damage", [no_ledger, cut, flipped, scrawled])
async def test_a_damaged_ledger_is_put_aside_and_lets_nobody_go(path, ledger, damage):
    """Whatever is wrong with the file, it is kept for a person to see, and the new one begins with a block on all jobs."""
    await ledger.update(lambda book: put(book, attrs.evolve(RUN, name="SECRETNAME")), since=0.0)
    ledger.close()
    damage(path)
    book = await whole(ledger)
    assert book == Book(blocks={EVERY_JOB: Block(job_id=EVERY_JOB, until=math.inf, why=Why.LOST)})
    assert path.with_name(f"{path.name}.damaged-1").exists()
    await ledger.update(lambda book: put(book, RUN), since=0.0)
    assert (await whole(ledger)).runs == {"k": RUN}


async def test_damage_is_found_while_the_ledger_is_open(path, ledger):
    """A byte that flips under an open ledger is noticed at the next reading of that record."""
    await ledger.update(lambda book: put(book, RUN), since=0.0)
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE run SET latest_start = latest_start - 1000")
    other.close()
    assert EVERY_JOB in (await whole(ledger)).blocks


async def test_a_new_ledger_blocks_nobody(ledger):
    """Where there never was a ledger, nothing was lost."""
    assert await whole(ledger) == Book()


async def test_a_file_that_was_replaced_is_opened_anew(path, ledger):
    """A process whose ledger was put aside by another one goes on with the new file, not with the old."""
    await ledger.update(lambda book: put(book, RUN), since=0.0)
    path.rename(path.with_name("old"))
    other = opened_at(path)
    await other.update(lambda book: put(book, attrs.evolve(RUN, key="new")), since=0.0)
    other.close()
    assert set((await whole(ledger)).runs) == {"new"}


async def test_a_ledger_of_a_later_version_is_refused(path, ledger):
    """What a later version wrote is neither read nor put aside."""
    await whole(ledger)
    ledger._db.execute("PRAGMA user_version = 99")
    ledger.close()
    with pytest.raises(ConfigurationError, match="version"):
        await whole(ledger)


async def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """Without a place to write there is one clear error, and for what was told a line in the log."""
    (tmp_path / "file").write_text("x")
    ledger = opened_at(tmp_path / "file" / "ledgers" / "a.ledger")
    with pytest.raises(LedgerError, match="cannot be opened"):
        await whole(ledger)


async def test_what_cannot_be_told_is_logged_and_not_raised(tmp_path, caplog):
    """The record of an outcome must not hide the outcome: a failing disk is reported in the log."""
    (tmp_path / "file").write_text("x")
    ledger = opened_at(tmp_path / "file" / "ledgers" / "a.ledger")
    ledger.update_soon(lambda book: put(book, RUN), since=0.0)
    await ledger.flush()
    assert "could not be written down" in caplog.text


async def test_news_is_counted_for_other_processes(path, ledger):
    """Another process sees that something happened, and not that somebody merely looked."""
    other = opened_at(path)
    await ledger.update(lambda book: put(book, RUN), since=0.0)
    before = await other.version()
    await whole(ledger)
    assert await other.version() == before
    await ledger.update(lambda book: book.end(book.runs["k"]), since=0.0)
    assert await other.version() != before
    other.close()


def test_each_institution_has_its_own_file_and_is_not_named(tmp_path):
    """Two institutions do not share a ledger, and the file's name tells neither."""
    one, two = (job_ledger(name, directory=tmp_path) for name in ("alpha", "beta"))
    assert one.path != two.path
    assert "alpha" not in str(one.path.relative_to(tmp_path)) + repr(one)


async def test_a_file_system_without_locks_is_told(ledger, monkeypatch):
    """Where the lock of the file is refused (ENOLCK, as NFS does), a sentence says so and where to put the ledger."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LedgerError, match="cannot be locked") as caught:
        await whole(ledger)
    assert "ALMA_STATE_DIR" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
async def test_a_second_user_is_told_how_to_share_a_ledger(tmp_path):
    """Another user's directory is not written into; the error says to run under its account, and so does the documentation."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    os.chown(state, 65534, -1)
    with pytest.raises(LedgerError, match="belongs to another user") as caught:
        await whole(job_ledger("x", directory=state, clock=CLOCK))
    assert "Run under the account" in str(caught.value)
    assert "one account" in (Path(__file__).parents[2] / "docs" / "state-files.md").read_text("utf-8")


FORGED = {
    "state": "nonsense", "latest_start": "soon", "poll_at": b"\x00", "key": 7, "job_id": b"M1", "ours": 5,
    "parameters": 1.5, "reserved_at": "x",
}  # fmt: skip


@pytest.mark.parametrize("column", FORGED)
async def test_a_forged_record_with_a_fitting_seal_is_damage(path, ledger, column, caplog):
    """A record that nothing here can have written is taken for damage, whatever its seal says: the file is put aside."""
    await ledger.update(lambda book: put(book, RUN), since=0.0)
    ledger.close()
    values = {name: records._plain(getattr(RUN, name)) for name in attrs.asdict(RUN)} | {
        column: FORGED[column]
    }
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM run")
        db.execute(
            f"INSERT INTO run VALUES ({','.join('?' * (len(values) + 1))})",
            [*values.values(), Seal.of(path.parent)(tuple(map(records._number, values.values())))],
        )
        (affine,) = db.execute(f"SELECT {column} FROM run").fetchone()
    if type(affine) is not type(FORGED[column]):  # SQLite made another value of it: the seal does not fit
        assert column in ("key", "parameters")
    db.close()
    book = await whole(opened_at(path), key="k")
    assert set(book.blocks) == {EVERY_JOB}
    assert "put aside" in caplog.text


@pytest.mark.parametrize(
    "content", ["DELETE FROM news", "UPDATE news SET count = 'x'", "DROP TABLE news", "DROP TABLE run"]
)
async def test_a_ledger_with_other_tables_fails_in_our_words(path, ledger, content):
    """Whatever a person or a disk made of the file, nothing but our own errors comes out."""
    await ledger.update(lambda book: put(book, RUN), since=0.0)
    ledger.close()
    with sqlite3.connect(path) as db:
        db.execute(content)
    db.close()
    again = opened_at(path)
    await again.version()
    with contextlib.suppress(AlmaError):
        await again.update(lambda book: book.leave("w"), since=0.0)
        await whole(again)
    again.close()


async def test_an_event_that_cannot_be_is_logged_and_not_raised(ledger, caplog):
    """What a run cannot do any more, since another process wrote of it first, fails nobody's call."""

    def impossible(_book):
        raise IllegalEvent("started cannot happen to a run that is ended")

    ledger.update_soon(impossible, since=0.0)
    await ledger.flush()
    assert "cannot happen" in caplog.text
