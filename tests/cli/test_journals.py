"""Where journals are, what they are called and what they say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from alma_async.cli import journals
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Entry, State
from alma_async.load.journal import Ingested, JournalError
from alma_async.load.journal_file import JournalFile


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "state"))


def test_no_two_are_equal() -> None:
    """Loads of the same file within one second get journals of their own, for their owner's eyes only."""
    paths = {journals.new_path(Path("list.csv")) for _ in range(5)}
    assert len(paths) == 5
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert journals.directory().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["..", "a/../../b", "$(rm -rf x)", "x" * 300, "ü\x1b[0m", "-.-"])
def test_names_are_tame(name: str) -> None:
    """Whatever the input is called, its journal's name needs no quoting and stays in the directory."""
    path = journals.new_path(Path(name))
    assert path.parent == journals.directory()
    assert journals.resuming(path) == f"alma-async resume {path.stem}"


def test_a_claimed_path_becomes_a_journal() -> None:
    """The empty file that claims the name is opened as a new journal."""
    path = journals.new_path(Path("list.csv"))
    with JournalFile(path) as journal:
        assert not journal.counts()
    assert journals.standing(path).state == "not begun"


def test_found_by_path_or_name(tmp_path: Path) -> None:
    """A journal is named by its path, its file name or that without the suffix."""
    path = journals.new_path(Path("list.csv"))
    assert {journals.find(str(path)), journals.find(path.name), journals.find(path.stem)} == {path}
    with pytest.raises(ConfigurationError, match="no journal"):
        journals.find(str(tmp_path / "other.load"))


def test_a_list_is_no_journal(tmp_path: Path) -> None:
    """A file of another kind is told as such, and not as a journal that failed; an empty one may become a journal."""
    path = tmp_path / "list.csv"
    path.touch()
    assert journals.find(str(path)) == path
    assert journals.checked(tmp_path / "new.load") == tmp_path / "new.load"
    path.write_text("mms_id,url\n")
    with pytest.raises(ConfigurationError, match="is no journal"):
        journals.find(str(path))


def test_elsewhere_the_path_is_the_name(tmp_path: Path) -> None:
    """A journal outside the state directory is resumed by its path, quoted for the shell."""
    assert journals.resuming(Path("/a b/x.load")) == "alma-async resume '/a b/x.load'"


def test_standing(tmp_path: Path) -> None:
    """Each state is told: unfinished with its counts, complete, in use, unreadable."""
    path = journals.new_path(Path("list.csv"))
    with JournalFile(path) as journal:
        journal.note({"ingested": "1", "rows": "2", "file": "/data/list.csv"})
        journal.ingest(
            map(Ingested, [Entry(n=1, line=2, state=State.PENDING), Entry(n=2, line=3, state=State.REJECTED)])
        )
        assert journals.standing(path).state == "in use"
    assert journals.standing(path) == journals.Standing(
        journal=path.stem, state="unfinished", kind="load", file="/data/list.csv", rows=2, pending=1
    )
    with JournalFile(path) as journal:
        journal.write(Entry(n=1, line=2, state=State.PENDING, action="created"))
    assert (journals.standing(path).pending, journals.standing(path).begun) == (1, 1)
    with JournalFile(path) as journal:
        journal.write(Entry(n=1, line=2, state=State.DONE, action="created"))
    path.with_name("a.load").write_bytes(b"nothing of the kind" * 50)
    assert [one.state for one in journals.standings()] == ["unreadable", "complete"]


def test_no_place_is_a_journal_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A state directory that cannot be made is the journal's failure, not a defect."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(JournalError, match="can be made"):
        journals.new_path(Path("list.csv"))
