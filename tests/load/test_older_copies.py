"""A whole older copy of a journal is refused, wherever it lies; one that was moved is the journal itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alma_async.load import Load, LoadOptions
from alma_async.load.entries import Entry, State
from alma_async.load.journal import JournalError, JournalInUse
from alma_async.load.journal_file import JournalFile
from alma_async.settings import state_dir
from tests.conftest import institution
from tests.load.test_loader import C, S, held, titles

__all__ = ["titles"]


def files_of(path):
    return sorted(path.parent.glob(f"{path.name}*"))


def copied(path, folder):
    """The journal with all that lies beside it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for each in files_of(path):
        shutil.copy2(each, folder / each.name)
    return folder / path.name


def sends(journal, n=1):
    journal.write(Entry(n=n, line=n, state=State.INTENT))


@pytest.mark.parametrize("place", ["other", "same"])
async def test_a_whole_older_copy_doubles_nothing(titles, tmp_path, place):
    """A load that was stopped, copied whole, and then ended: its copy sends nothing, whatever path it has."""
    async with institution(latency=0.25) as (server, alma):
        path = tmp_path / "j" / "a.load"
        load = Load(alma, collection_id=C, service_id=S, journal=path, options=LoadOptions(quarantine=30.0))
        stop = lambda progress: load.stop() if progress.created >= 10 else None  # noqa: E731
        assert (await load.run(titles(40), on_progress=stop)).pending
        copy = copied(path, tmp_path / "copy")
        made = (await load.run()).created
        if place == "same":
            copy = copied(copy, path.parent)
        again = Load(alma, collection_id=C, service_id=S, journal=copy)
        for work in (again.run, again.verify, again.undo):
            with pytest.raises(JournalError, match="older copy"):
                await work()
        assert made == len(held(server)) == sum(held(server).values()) == 40


def test_a_copy_beside_one_that_is_in_use(tmp_path):
    """Two copies of one age are not written at once."""
    with JournalFile(tmp_path / "a.load") as journal:
        sends(journal)
    copy = copied(tmp_path / "a.load", tmp_path / "copy")
    with JournalFile(tmp_path / "a.load"), pytest.raises(JournalInUse, match="copy"):
        JournalFile(copy)
    JournalFile(tmp_path / "a.load").close()
    with pytest.raises(JournalError, match="older copy"):
        JournalFile(copy)


def test_what_was_moved_is_the_journal(tmp_path):
    """Its id goes with it; without what the state directory notes, nothing is compared."""
    with JournalFile(tmp_path / "a.load") as journal:
        sends(journal)
    old = copied(tmp_path / "a.load", tmp_path / "old")
    (tmp_path / "moved").mkdir(mode=0o700)
    for each in files_of(tmp_path / "a.load"):
        each.rename(tmp_path / "moved" / each.name)
    with JournalFile(tmp_path / "moved" / "a.load") as journal:
        sends(journal, n=2)
    shutil.rmtree(state_dir() / "commits")
    JournalFile(old).close()


def test_nothing_is_noted_of_what_sends_nothing(tmp_path):
    """A dry run leaves nothing in the state directory."""
    with JournalFile(tmp_path / "a.load") as journal:
        journal.write(Entry(n=1, line=1, state=State.PENDING))
    assert not Path(state_dir() / "commits").exists()


def test_where_nothing_can_be_noted_the_journal_goes_on(tmp_path, caplog):
    """What is in the way is named in the log."""
    (state_dir() / "commits").write_text("")
    with JournalFile(tmp_path / "a.load") as journal:
        sends(journal)
    assert "Older copies of a journal are not found out" in caplog.text
