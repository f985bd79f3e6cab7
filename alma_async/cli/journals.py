"""The journals of the state directory and of the store: their names, and what each says about its load."""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

import anyio
import attrs

from alma_async._clock import Clock
from alma_async._storage.files import own_directory
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load.entries import State
from alma_async.load.facts import ROWS, SUPERSEDED, undecided
from alma_async.load.journal import (
    Journal,
    JournalError,
    JournalInUse,
    Journals,
    is_foreign,
    stored,
)
from alma_async.load.progress import begun_count, row_counts
from alma_async.settings import state_dir
from alma_async.store import Store

__all__ = [
    "Standing",
    "checked",
    "directory",
    "discard",
    "find",
    "has_rows",
    "in_store",
    "kind_of",
    "meta_and_counts",
    "new_path",
    "reach",
    "reachable",
    "read",
    "resuming",
    "standing",
    "standings",
    "untouched",
    "verifying",
]

_SUFFIX: Final = ".load"

T = TypeVar("T")


_reachable: ContextVar[Journals | None] = ContextVar("_reachable", default=None)


def reach(store: Store | None) -> None:
    """From now on, the journals of this command are in files and in this store."""
    _reachable.set(Journals(Clock(), store))


def reachable() -> Journals:
    """The journals of this command."""
    return _reachable.get() or Journals.from_env()


def read(path: Path, work: Callable[[Journal], Awaitable[T]]) -> T:
    """What ``work`` gives of a journal, into which nothing is written. For where no event loop runs.

    :raises InputError, JournalError, JournalInUse: where it cannot be read now.
    """

    async def reading() -> T:
        async with reachable().opened(path, reading=True) as journal:
            return await work(journal)

    return anyio.run(reading)


def directory() -> Path:
    """The journals of this user's state directory."""
    return state_dir() / "journals"


def kind_of(meta: Mapping[str, str]) -> str:
    """What a journal is of: a load, an undo, or the plan of either (a dry run)."""
    return "plan" if meta.get("dry") else "undo" if meta.get("action") == "undo" else "load"


def new_path(file: Path, *, of: str = "load", in_store: bool = False) -> Path:
    """A new, empty journal's path for a load of this file, or an undo or plan of it; no other gets the same.

    :raises JournalError: where none can be made.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.")[:40] or "rows"
    stem += "" if of == "load" else f"-{of}"
    name = f"{stem}-{Clock().utc():%Y%m%d-%H%M%S}"
    try:
        if not in_store:
            own_directory(state_dir())
            own_directory(directory())
        for number in count(1):
            one = f"{name}{f'-{number}' if number > 1 else ''}"
            path = Path(f"store:{one}") if in_store else directory() / f"{one}{_SUFFIX}"
            if anyio.run(reachable().reserve, path):  # free until now
                return path
    except OSError as error:
        failure = f"No journal can be made in {str(directory())!r}: {error.strerror or error}."
    raise JournalError(failure, advice="Name a place that can be written to: --journal, or ALMA_STATE_DIR.")


def discard(path: Path) -> None:
    """Remove the journal of a dry run or of a load that sent nothing, unless its path was chosen by --journal."""
    if path.parent == directory() or stored(path):
        anyio.run(reachable().remove, path)


def untouched(path: Path) -> bool:
    """Whether this journal's load sent nothing that changes anything, nor has it taken the place of an earlier one."""

    async def is_untouched(journal: Journal) -> bool:
        meta = await journal.meta()
        return await journal.is_untouched() and not (meta.get("since") and meta.get(ROWS))

    try:
        return read(path, is_untouched)
    except AlmaError:
        return False


def has_rows(path: Path) -> bool | None:
    """Whether this journal has all rows of its load, and so can be gone on with; None where it cannot be read now."""
    try:
        return bool(read(path, lambda journal: journal.meta()).get(ROWS))
    except AlmaError:
        return None


def find(name: str) -> Path:
    """The journal that a person means: a path, a name in the state directory, or one in the store (``store:NAME``).

    :raises ConfigurationError: where there is none.
    """
    if stored(name):
        if anyio.run(reachable().exists, name):
            return Path(name)
        raise ConfigurationError(
            f"There is no journal {name!r} in the store.",
            advice="'alma-async loads' lists those of the store.",
        )
    for path in (Path(name), directory() / name, directory() / f"{name}{_SUFFIX}"):
        if path.is_file():
            return checked(path)
    raise ConfigurationError(
        f"There is no journal {name!r}, and none of that name in {str(directory())!r}.",
        advice="'alma-async resume' lists the journals.",
    )


def checked(path: Path) -> Path:
    """The path again, where no file that is something else stands there: a list is soon named in the place of its journal.

    :raises ConfigurationError: where one does.
    """
    # what cannot be read is reported when it is opened as a journal
    if is_foreign(path):
        raise ConfigurationError(
            f"{str(path)!r} is no journal.", advice="'alma-async resume' lists the journals."
        )
    return path


def resuming(path: Path) -> str:
    """The command line that goes on with this journal's load."""
    in_place = path.parent == directory() and path.suffix == _SUFFIX
    name = path.stem if in_place else str(path)
    return f"alma-async resume {shlex.quote(name)}"


def verifying(path: Path) -> str:
    """The command line that compares this journal with Alma, or says what is wrong with it."""
    return resuming(path).replace(" resume ", " verify ", 1)


@attrs.frozen(kw_only=True)
class Standing:
    """How far the load of one journal is. ``kind`` and ``file`` are empty where the journal does not say it, as are those below
    ``begun`` of a file: who works on it, how many seconds ago it was seen, and the service.
    """

    journal: str
    state: str
    kind: str = ""
    file: str = ""
    rows: int = 0
    pending: int = 0
    begun: int = 0
    owner: str = ""
    seen: float | None = None
    collection: str = ""
    service: str = ""


async def meta_and_counts(journal: Journal) -> tuple[dict[str, str], dict[tuple[State, str | None], int]]:
    """The facts of a journal, and how many rows stand where."""
    return await journal.meta(), await journal.counts()


def standing(path: Path) -> Standing:
    """What a journal says of itself, also where it cannot be read now."""
    name = path.name.removesuffix(_SUFFIX)
    try:
        meta, counts = read(path, meta_and_counts)
    except JournalInUse:
        return Standing(journal=name, state="in use")
    except AlmaError:
        return Standing(journal=name, state="unreadable")
    return _standing(name, meta, counts)


def _standing(name: str, meta: Mapping[str, str], counts: Mapping[tuple[State, str | None], int]) -> Standing:
    rows = row_counts(counts)
    if meta.get(SUPERSEDED):
        state = "superseded"
    elif not meta.get(ROWS):
        state = "not begun"
    else:
        state = "unfinished" if rows["pending"] or undecided(meta) else "complete"
    return Standing(
        journal=name,
        state=state,
        kind=kind_of(meta),
        file=meta.get("file", ""),
        rows=rows["rows"],
        pending=rows["pending"],
        begun=begun_count(counts),
    )


def in_store() -> Iterator[Standing]:
    """Those of the store, by name."""
    for one in anyio.run(reachable().listed):
        standing = _standing(f"store:{one.name}", one.meta, one.counts)
        yield attrs.evolve(
            standing,
            state="running" if one.alive else standing.state,
            owner=one.owner or "",
            seen=round(one.unseen, 1) if one.owner else None,
            collection=one.meta.get("collection", ""),
            service=one.meta.get("service", ""),
        )


def standings() -> Iterator[Standing]:
    """Those of the state directory, by name."""
    for path in sorted(directory().glob(f"*{_SUFFIX}")):
        yield standing(path)
