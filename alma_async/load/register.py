"""Which loads of a service are under way on this machine, and which were left
unfinished: one small file for each.

Two loads of one service at the same time do not see what the other is about to make, and make it
twice; so does a load that is begun anew while what a killed one had sent may still be applied. Each
load therefore enters here before it sends anything. Its file is locked while it runs, which ends
with the process however that dies, names its journal, and is removed once nothing is left to do.
The file of a load that was cut off also says when that was first seen here: what the load had sent
left before then, and its journal is only read. Where no file can be written, that is said in the
log, and nothing is guarded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any, Final

import attrs

from alma_async._storage.files import OwnFile
from alma_async._text import duration, logger
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load.entries import Moment
from alma_async.load.journal import JournalInUse, Journals, Service, address_of, stored
from alma_async.settings import state_dir

__all__ = [
    "Registered",
    "ServiceInUse",
    "UnfinishedLoad",
    "in_use",
    "require_none_cut_off",
    "require_rested",
    "unfinished",
]

_log = logger("alma_async.load")

_SUFFIX: Final = ".json"
_MOST: Final = 65_536  # bytes of an entry that are read


class ServiceInUse(ConfigurationError):
    """Another load of the same service is under way on this machine."""

    advice = (
        "Wait for it to end, or go on beside it if the two have no title in common: --beside (beside=True)."
    )


class UnfinishedLoad(ConfigurationError):
    """An earlier load of the same service was cut off, and what it sent last may still be applied."""

    advice = "To begin another one all the same: --beside (beside=True)."


@attrs.frozen
class Registered:
    """One load that is under way. Close it when it ends, or remove it where nothing is left to do."""

    path: Path
    file: OwnFile

    @classmethod
    def enter(cls, service: Service, journal: Path, *, beside: bool, now: Moment) -> Registered | None:
        """Register the load of this journal into ``service``; None where no file can be written.

        :param beside: go on though there are others.
        :raises ServiceInUse: where another load is under way; it is named.
        :raises JournalInUse: where the same load is under way.
        """
        path = _path_of(service, journal)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _gate(path.parent):
                if not beside:
                    _require_alone(service, path, address_of(journal))
                return cls(path, _entered(path, journal, now.wall))
        except OSError as error:
            _log.warning(
                "Loads of one service cannot be kept apart: %s: %s.", path.parent, error.strerror or error
            )
        return None

    def remove(self) -> None:
        """It ended, and nothing is left to do."""
        with _gate(self.path.parent):
            self.close()  # first: Windows removes no file that is open
            with suppress(PermissionError):  # another program reads it
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """It ended, for now or for good."""
        self.file.close()


def unfinished(service: Service) -> list[Path]:
    """The journals of loads of this service that ended before all was done, and
    that no process works on now.
    """
    folder = _folder(service)
    if not folder.is_dir():
        return []
    with _gate(folder):
        return [journal for _, journal, running in _entries(folder) if not running]


async def require_none_cut_off(
    journals: Journals,
    service: Service,
    own: Path,
    *,
    now: Moment,
    rests: float,
    takes_back: str | None = None,
) -> None:
    """See that no other load of this service was cut off a moment ago. A load that
    continues is not held up.

    :param own: the journal of the load that begins
    :param rests: the quarantine, in which what a load that was cut off had
        sent may still be applied
    :param takes_back: of an undo, the journal of its load; the undo's rows say what that had sent
    :raises UnfinishedLoad: where one was; it is named.
    """
    for path, ended in await journals.clock.aside(partial(_cut_off, service, own, now)):
        sent = await _last_sent(journals, path, ended) if str(path) != takes_back else None
        if sent is not None:
            require_rested(service, str(path), sent, now.wall, rests)


def require_rested(service: Service, journal: str, sent: float, now: float, rests: float) -> None:
    """See that what a load that was cut off sent last, by then, is not applied any more.

    :raises UnfinishedLoad: where it may be.
    """
    if (left := sent + rests - now) > 0:
        raise UnfinishedLoad(
            f"The load of the journal {journal!r} into collection {service[1]}, service {service[2]} was cut off, "
            f"and what it sent last may still be applied until {datetime.fromtimestamp(sent + rests, UTC):%H:%M:%S} UTC, "
            f"for {duration(ceil(left))} (the quarantine). Resume it, or wait until then, also with --since (since=)."
        )


def _cut_off(service: Service, own: Path, now: Moment) -> list[tuple[Path, Moment]]:
    """The journals of loads that no process works on now, each with the time when that was first
    seen, which is written down.
    """
    path = _path_of(service, own)
    if path.exists() or not path.parent.is_dir():
        return []
    found = list[tuple[Path, Moment]]()
    try:
        with _gate(path.parent):
            for one, journal, running in _entries(path.parent):
                if not running:
                    found.append((journal, _seen_ended(one, now)))
    except OSError as error:
        _log.warning(
            "Loads that were cut off are not all seen: %s: %s.", path.parent, error.strerror or error
        )
    return found


def _seen_ended(path: Path, now: Moment) -> Moment:
    """When the load of this file was first seen to have ended; now, where no
    clock of this boot says it.
    """
    with closing(OwnFile(path)) as file:
        entry = _entry_of(file)
        with suppress(TypeError):
            seen = Moment(**entry.get("ended", {}))
            if seen.boot == now.boot and seen.mono <= now.mono:
                return seen
        file.replace(json.dumps({**entry, "ended": attrs.asdict(now)}).encode())
    return now


def _require_alone(service: Service, own: Path, address: str) -> None:
    for path, journal, running in _entries(own.parent):
        if running and path != own and str(journal) != address:
            raise in_use(service, str(journal))


def in_use(service: Service, journal: str) -> ServiceInUse:
    """The error that names another load which is under way."""
    return ServiceInUse(
        f"Another load into collection {service[1]}, service {service[2]} is under way: that of the journal {journal!r}."
    )


async def _last_sent(journals: Journals, path: Path, ended: Moment) -> float | None:
    """Until when, in civil seconds, a load that had ended by then may have sent
    what is of unknown outcome.
    """
    try:
        async with journals.opened(path, reading=True) as journal:
            return await journal.last_sent(ended)
    except AlmaError:  # in use or damaged: nothing can be said of it
        return None


def _entries(folder: Path) -> Iterator[tuple[Path, Path, bool]]:
    """All that is registered: its file, its journal, and whether it is under way. What has no
    journal any more is removed.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with closing(OwnFile(path)) as file:
            running = not file.lock()
            name = _entry_of(file).get("journal")
            journal = Path(name) if isinstance(name, str) else None
        if running or (journal is not None and journal.is_file()):
            yield path, journal or path, running
        else:
            path.unlink()


def _entered(path: Path, journal: Path, wall: float) -> OwnFile:
    """The open file of a load, locked."""
    file = OwnFile(path)
    try:
        if not file.lock():
            raise JournalInUse(
                f"The journal {journal.name} is in use by another load, or by another process."
            )
        entry = {
            "journal": address_of(journal),
            "pid": os.getpid(),
            "since": datetime.fromtimestamp(wall, UTC).isoformat(),
        }
        file.replace(json.dumps(entry).encode())
    except BaseException:
        file.close()
        raise
    return file


def _entry_of(file: OwnFile) -> dict[str, Any]:
    """What the file says; nothing, where it was cut off while it was written."""
    try:
        entry = json.loads(file.read(_MOST))
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


@contextmanager
def _gate(folder: Path) -> Iterator[None]:
    """One process at a time reads what is registered and enters."""
    with closing(OwnFile(folder / "gate")) as file, file.locked():
        yield


def _path_of(service: Service, journal: Path) -> Path:
    """The file of a load. Of one in the store each process has its own: the store knows whose the load
    is, and a process that stands still keeps its lock.
    """
    process = (str(os.getpid()),) if stored(journal) else ()
    return _folder(service) / f"{_digest(address_of(journal), *process)}{_SUFFIX}"


def _folder(service: Service) -> Path:
    return state_dir() / "loads" / _digest(*service)


def _digest(*names: str) -> str:
    return sha256("\0".join(names).encode()).hexdigest()[:32]
