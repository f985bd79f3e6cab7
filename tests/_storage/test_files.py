"""What lies beside a file of state is looked at before anything reads it: journal, ledger and budget alike."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3

import pytest

from alma_async import AlmaError, LocalBudget
from alma_async._clock import Clock
from alma_async._governance.file_budget import MachineBudget, machine_budget
from alma_async._guard.ledger import SqliteLedger
from alma_async._guard.state import Book
from alma_async.load.journal import JournalError
from alma_async.load.journal_file import JournalFile

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


def foreign(path):
    os.chown(path, NOBODY, -1)


def by_group(path):
    path.chmod(0o620)


def by_everybody(path):
    path.chmod(0o606)


def linked(path):
    os.link(path, path.with_name("another name"))


def symbolic(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def a_directory(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


FILES = [pytest.param(foreign, marks=as_root), by_group, by_everybody, linked, symbolic, a_directory, a_pipe]
SUFFIXES = ["", "-wal", "-shm", "-journal", ".lock"]


def setgid(directory):
    directory.chmod(0o2775)


def sticky(directory):
    directory.chmod(0o1777)


def group(directory):
    directory.chmod(0o720)


def everybody(directory):
    directory.chmod(0o702)


DIRECTORIES = [pytest.param(foreign, marks=as_root), setgid, sticky, group, everybody]
PLACES = [
    (spoil, inner)
    for spoil in (foreign, setgid, sticky, group, everybody)
    for inner in (True, False)
    if inner or spoil is not sticky
]


async def in_ledger(directory):
    """Use the ledger of this state directory."""
    ledger = SqliteLedger(directory / "ledgers" / "a.ledger", clock=Clock(epoch=0.0))
    try:
        await ledger.update(Book.copy, since=0.0)
    finally:
        ledger.close()


def files_of(directory):
    """Every file with its bytes."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spoil", FILES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_journal_reads_nothing_beside_it_that_is_not_ours(tmp_path, suffix, spoil):
    """A file beside a journal that others could have written, or that is none, refuses the journal by its name, unread."""
    path = tmp_path / "a.load"
    JournalFile(path).close()
    beside = path.with_name(f"a.load{suffix}")
    beside.touch()
    spoil(beside)
    before = files_of(tmp_path)
    with pytest.raises(JournalError, match=f"'a.load{suffix}'"):
        JournalFile(path)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("spoil", DIRECTORIES)
def test_a_journal_lies_in_a_directory_of_ours(tmp_path, spoil):
    """Where others may add a file beside a journal, sticky bit or not, it is neither made nor opened."""
    directory = tmp_path / "journals"
    JournalFile(directory / "a.load").close()
    spoil(directory)
    for name in ("a.load", "new.load"):
        with pytest.raises(JournalError, match="journals"):
            JournalFile(directory / name)
    assert not (directory / "new.load").exists()


@as_root
def test_a_planted_write_ahead_log_changes_nothing(tmp_path):
    """A whole and valid log that somebody else made of the same journal, with another state of a row, is not believed."""
    path = tmp_path / "a.load"
    with JournalFile(path) as journal:
        journal.note({"action": "upsert"})
    twin = tmp_path / "twin" / "a.load"
    twin.parent.mkdir()
    shutil.copy(path, twin)
    db = sqlite3.connect(twin, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("UPDATE meta SET value = 'delete' WHERE name = 'action'")
    planted = path.with_name("a.load-wal")
    shutil.copy(twin.with_name("a.load-wal"), planted)
    db.close()
    foreign(planted)
    with pytest.raises(JournalError, match="file of another user"):
        JournalFile(path)
    planted.unlink()
    with JournalFile(path) as journal:
        assert journal.meta()["action"] == "upsert"


@pytest.mark.parametrize("spoil", FILES)
@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_ledger_reads_nothing_beside_it_that_is_not_ours(tmp_path, suffix, spoil):
    """The same for the ledger: it is not put aside as damaged either, since then another could lift its blocks."""
    await in_ledger(tmp_path)
    beside = tmp_path / "ledgers" / f"a.ledger{suffix}"
    beside.touch()
    spoil(beside)
    before = files_of(tmp_path)
    with pytest.raises(AlmaError, match=f"'a.ledger{suffix}'"):
        await in_ledger(tmp_path)
    assert files_of(tmp_path) == before


@as_root
@pytest.mark.parametrize(("spoil", "inner"), PLACES)
async def test_a_ledger_lies_in_directories_of_ours(tmp_path, spoil, inner):
    """Where others may write into the state directory or that of the ledgers, nothing is read or made."""
    await in_ledger(tmp_path)
    spoil(tmp_path / "ledgers" if inner else tmp_path)
    with pytest.raises(AlmaError, match="cannot be opened"):
        await in_ledger(tmp_path)


@pytest.mark.parametrize("spoil", FILES)
def test_a_budget_that_is_not_ours_is_not_used(tmp_path, caplog, spoil):
    """A client whose budget file others could write goes on alone, and says which file it was."""
    caplog.set_level(logging.WARNING)
    machine_budget("x", directory=tmp_path)
    (path,) = tmp_path.rglob("*.budget")
    spoil(path)
    assert isinstance(machine_budget("x", directory=tmp_path), LocalBudget)
    assert path.name in caplog.text


@as_root
@pytest.mark.parametrize(("spoil", "inner"), PLACES)
def test_a_budget_lies_in_directories_of_ours(tmp_path, caplog, spoil, inner):
    """The same for a budget's directories."""
    machine_budget("x", directory=tmp_path)
    spoil(tmp_path / "budgets" if inner else tmp_path)
    assert isinstance(machine_budget("x", directory=tmp_path), LocalBudget)


async def test_a_sticky_directory_above_keeps_ours_in_its_place(tmp_path):
    """In a directory of ``/tmp``, where others can add but not replace, ledger and budget work: as in the demo."""
    sticky(tmp_path)
    await in_ledger(tmp_path)
    assert isinstance(machine_budget("x", directory=tmp_path), MachineBudget)


def test_what_only_others_may_read_is_closed(tmp_path):
    """A readable file or directory of ours is no danger; it is closed to others and used."""
    path = tmp_path / "a.load"
    JournalFile(path).close()
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    JournalFile(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
