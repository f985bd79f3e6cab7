"""The journal: one load and all its rows, durable. What a load needs of it,
whichever store keeps it.

Theory of operation
-------------------
Alma has no idempotency keys: a create that is sent twice makes two records. So a row is written
down *before* it is sent (its intent), and again when its outcome is known. An intent is durable
before a byte is sent; an outcome is written soon after, in order. Whatever moment the process dies
at, one of these is true of each row, and the journal says which::

    PENDING ── intent ──▶ INTENT ── outcome ──▶ DONE | REJECTED | UNKNOWN | back to PENDING
    UNKNOWN ── after the quarantine, read back ──▶ PENDING (adopted, or to be sent again) | REVIEW

* PENDING: no call of this step is under way; sending is safe.
* INTENT: it was about to be sent. Found at start-up, the process died there: nobody
  knows whether it was applied.
* UNKNOWN: it was sent and the answer was lost. It waits for the quarantine (longer than Alma may
  take to apply what it holds), is then read back, and only then decided. Reading back too early
  makes duplicates, as does an intent that is not durable.

A row's work has two steps, since coverage given on create was ignored in practice: ``create``, then
``update``. A finished create leaves its row PENDING in step ``update`` with the new portfolio's id.

One process owns a journal at a time, and each commit proves that it is still the owner's. The
journal holds ids and hashes, titles and warnings for the report, the before-images of what was
changed, what was sent only if asked to, and no key.

Decides nothing but this protocol and which store keeps a journal (``Journals``): ``sqlite_journal``
keeps it in one SQLite file, ``postgres_journal`` in the store that machines share. No other module of a
load knows a store.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, Self, TypeAlias

import attrs

from alma_async._clock import Clock
from alma_async.errors import AlmaError, ConfigurationError, StoreUnavailable
from alma_async.load.entries import Entry, Moment, State
from alma_async.load.matching import Carrier, Title
from alma_async.load.row import Row
from alma_async.store import Store

__all__ = [
    "MESSAGES",
    "SLICE",
    "Held",
    "HeldBefore",
    "Ingested",
    "Journal",
    "JournalAway",
    "JournalDamaged",
    "JournalError",
    "JournalInUse",
    "Journals",
    "Kept",
    "Listed",
    "Service",
    "address_of",
    "is_foreign",
    "slices",
    "stored",
]

SLICE: Final = 1000
"""Rows in memory at once, where all of a journal are read."""

Service: TypeAlias = tuple[str, str, str]
"""Origin, collection and service."""

MESSAGES: Final = "message."
"""How the names begin of journals of the store that hold one message each: there may be many."""

Kept: TypeAlias = Literal["asked", "before_image", "sent"]
"""What is kept of a row beside its entry: what it asks for, its before-image,
the object as it was sent.
"""


class JournalError(AlmaError):
    """The journal could not be written or read; the load stopped before sending
    anything it could not write down.
    """

    advice = "Free the disk or move the journal to a local file system, then resume."


class JournalDamaged(JournalError):
    """The journal is not what was written."""

    advice = (
        "A journal that was moved needs the files that end in .lock and, where there is one, in -wal beside it; an older copy "
        "is of no use, since what was sent since would be sent again. Wait ten minutes and begin with a new journal: it first "
        "reads what Alma holds, and makes nothing twice."
    )


class JournalAway(JournalError, StoreUnavailable):
    """The database that keeps the journal does not answer. The load stopped before sending anything it
    could not write down; what came of the last commit is not known here, and is read when the load goes
    on.
    """

    advice = "Resume the load once the database answers."


class JournalInUse(ConfigurationError):
    """Another process, or another load of this one, works on this journal.

    ``retry_at``: when its owner's lease ends, unless it is renewed; None where there is no lease.
    """

    retry_at: datetime | None = None

    advice = "Wait for it to end; two loads must never share a journal."


@attrs.frozen
class Ingested:
    """A row on its way into the journal: where it stands, what it asks for (None where it was
    rejected, or is kept already), and the before-image that an earlier load kept of it.
    """

    entry: Entry
    row: Row | None = None
    before: bytes | None = None


class Journal(Protocol):
    """One open journal, owned by this process.

    A method that is awaited is done after all that was asked for before it, and what it changed is
    durable when it returns. ``record_soon`` and ``keep`` return at once: what they write follows in
    order, before whatever is asked for after them. Being cancelled undoes nothing: what was to be
    written is written.

    After one failure nothing more is written.

    :raises JournalError: from every method that is awaited, where the journal cannot be read
        or written, now or earlier.
    :raises JournalInUse: where it is not ours any more.
    """

    @property
    def name(self) -> str:
        """What people know it by."""

    @property
    def address(self) -> str:
        """By which another journal can name it and find it."""

    def moment(self, clock: Clock, at: float | None = None) -> Moment:
        """Now, or at that moment of the client's clock, on the clock that quarantines are counted by."""

    async def enter(
        self, service: Service, *, alone: bool, rests: float | None, takes_back: str | None = None
    ) -> None:
        """Have the load known as one of its service's, where the store knows of others.

        :param alone: no other one may be under way
        :param rests: the quarantine, for which one that was cut off is left to rest before this one begins
        :param takes_back: of an undo, the journal of its load, which is not waited for
        :raises ServiceInUse, UnfinishedLoad: where there is another; it is named.
        """

    async def leave(self) -> None:
        """Nothing is left to do."""

    # --- the load's own facts

    async def check(self) -> None:
        """See that all records are there and are what was written.

        :raises JournalDamaged: at the first that is not.
        """

    async def meta(self) -> dict[str, str]:
        """Where the load goes to, its options, how far its preparation came."""

    async def note(self, facts: Mapping[str, str]) -> None:
        """Write facts down, over older ones of the same name."""

    # --- ingest

    async def clear(self) -> None:
        """Forget all rows, since not all were ingested; nothing was sent for them."""

    async def ingest(self, rows: Sequence[Ingested], *, repeats: bool, replacing: bool = False) -> None:
        """Add rows, or replace those of the same number.

        With ``replacing`` rows of the same titles and portfolios that have ended stand for nothing
        any more: what they made is what the service held before.

        A key that another row has makes a row DUPLICATE, naming that row's line, or with
        ``repeats`` gets it a key of its own. Two rows with one key that say different things end in
        REVIEW, both: none is chosen by its place.
        """

    async def nameless(self, *, limit: int) -> list[Entry]:
        """The first pending rows for which a record has yet to be found."""

    # --- rows

    async def entries(self, *, after: int, limit: int) -> list[Entry]:
        """The next rows, in order."""

    async def entries_of(self, ns: Collection[int]) -> list[Entry]:
        """The rows of these numbers."""

    async def open_entries(self, *, after: int, limit: int) -> list[Entry]:
        """The next rows that have not ended, in order."""

    async def rows(self, entries: Sequence[Entry]) -> list[tuple[Entry, Row]]:
        """What these ask for; those that were rejected when they were ingested are left out."""

    async def of_key(self, key: str) -> Entry | None:
        """The first row of which the caller gave this key."""

    async def of_natural_keys(self, keys: Collection[bytes]) -> dict[bytes, Entry]:
        """The rows that have these natural keys."""

    async def of_portfolios(self, portfolio_ids: Collection[str]) -> list[Entry]:
        """The rows that stand for these portfolios."""

    async def counts(self) -> dict[tuple[State, str | None], int]:
        """How many rows stand where, by state and action."""

    async def last(self) -> int:
        """The number of the last row; 0 where there is none."""

    async def is_untouched(self) -> bool:
        """Whether no row was ever about to be sent, nor found to be done already."""

    async def kept(self, ns: Collection[int], *, of: Kept = "before_image") -> dict[int, bytes]:
        """What was kept of the rows of these numbers, of those where anything was."""

    async def last_sent(self, ended: Moment) -> float | None:
        """When the last of the rows of unknown outcome may have been sent by a process that had
        ended by then, in civil seconds; None where there is no such row.
        """

    # --- what a row's work writes

    async def record(self, entry: Entry) -> None:
        """Write down where a row stands, durable before this returns: an intent."""

    def record_soon(self, entry: Entry) -> None:
        """Write down where a row stands: an outcome. Lost with the process, the row
        is found with its intent.
        """

    def keep(self, n: int, body: bytes, *, of: Kept = "before_image") -> None:
        """Keep an object of row ``n``, before the intent that follows."""

    @property
    def unwritten(self) -> list[Entry]:
        """After a failure: the outcomes that are known and could not be written."""

    async def flush(self) -> None:
        """Have written what was to be written soon, unless writing has failed. For who closes it."""

    async def orphaned(self, now: Moment) -> int:
        """Rows whose sender died between intent and outcome become UNKNOWN; how many."""

    async def amend(
        self, entries: Iterable[Entry], *, existing: HeldBefore = (), facts: Mapping[str, str]
    ) -> None:
        """Write where these rows stand, portfolios that are not the load's own,
        and facts: all or nothing.
        """

    # --- what the service holds

    async def add_existing(self, portfolios: HeldBefore) -> None:
        """Add what the service held before the load. What a row of this load made, or
        may have made, is left out.
        """

    async def forget_existing(self) -> None:
        """Drop what is known of the service, but for titles whose portfolios may be ours by now."""

    async def settle_known(self, *, gone: bool) -> None:
        """Rows that an earlier load had done become DONE where the list of the service shows that it is
        so still: their portfolios are there, of the same title and with the availability that that
        load left; or, with ``gone``, neither they nor others of the title are. The others are to be
        done again.
        """

    async def held_of(self, mms_ids: Collection[str]) -> list[Held]:
        """What the service held of these titles before the load, and what rows of it stand for."""

    async def existing(self, mms_ids: Collection[str], portfolio_ids: Collection[str]) -> list[Held]:
        """The portfolios of these titles, and of these ids, that the service held before the load."""

    async def unmatched(self) -> int:
        """How many open rows have no portfolio yet, and nothing was decided for them."""

    async def held(self) -> int:
        """How many portfolios the service held before the load, where that was listed."""

    async def fewest_left(self, *, inactive: str | None) -> int:
        """How many of what the service held the rows leave over at least, each of which stands for
        one portfolio of its title.

        :param inactive: the availability of those that are not counted
        """

    async def unsearched(self) -> int:
        """How many rows repeat a key of the caller's, say something else than the first row with it,
        and name no title by an id: nobody has searched for the record that they mean.
        """

    async def add_left(
        self, make: Callable[[int, Held], Ingested], *, inactive: str | None, most: int | None
    ) -> int:
        """Add a row for each portfolio that the service held and no row stands for, and the fact
        ``SURPLUS``: all or nothing. How many they are; none is added where they are more than
        ``most``.

        :param make: the row, from its number and the portfolio
        :param inactive: the availability of those that are left out
        """

    async def of_title(self, mms_id: str, *, n: int) -> Title:
        """What is known of row ``n``'s title."""

    async def unbound(self, portfolio_ids: Iterable[str], *, but: int = 0, is_new: bool) -> list[str]:
        """Those that stand for no other row than ``but``; with ``is_new`` only those that
        came since the load began.
        """

    async def claimed(self, keys: Iterable[bytes], *, but: int) -> list[bytes]:
        """Those of these natural keys that another row than ``but`` has."""

    # --- the index of identifiers

    async def unread(self) -> list[tuple[str, str | None]]:
        """Portfolios whose identifiers are not known yet, each with the MMS id that the service's
        list gave: those the service held, and those that rows stand for.
        """

    async def add_carriers(self, carriers: Iterable[tuple[Carrier, Sequence[str]]]) -> None:
        """Add the identifiers of portfolios; that one has none is worth knowing too."""

    async def forget_carriers(self) -> None:
        """Forget all identifiers of portfolios: they are read anew."""

    async def identifiers(self, *, after: str, limit: int) -> list[tuple[str, Carrier, str]]:
        """The next of all identifiers, each with the portfolio that carries it, and before both
        what they are ordered by.
        """

    async def carriers(self, identifiers: Iterable[str]) -> dict[str, list[Carrier]]:
        """The portfolios that carry each of these."""


NEW: Final = ""
"""The availability of a portfolio that is no surplus, since it came after the service was listed."""


class Held(NamedTuple):
    """A portfolio of the service, as its list says it."""

    portfolio_id: str
    mms_id: str | None = None
    availability: str | None = None
    title: str | None = None


HeldBefore: TypeAlias = Iterable[Held | tuple[str, str | None]]
"""Portfolios, at least by their ids and MMS ids."""


@attrs.frozen
class Listed:
    """What the store says of one of its journals: who owns it, whether that one is alive, and how many
    seconds ago it was seen; the facts, and how many rows stand where.
    """

    name: str
    owner: str | None
    alive: bool
    unseen: float
    meta: Mapping[str, str]
    counts: Mapping[tuple[State, str | None], int]


@attrs.frozen
class Journals:
    """Where journals are: files, and those of the store that machines share, if there is one, which are
    named ``store:NAME``.
    """

    clock: Clock
    store: Store | None = None

    @classmethod
    def from_env(cls) -> Self:
        """Those that a command finds.

        :raises ConfigurationError: where ``ALMA_STORE`` cannot be what it is.
        """
        return cls(Clock(), Store.from_env())

    def opened(self, path: Path, *, reading: bool = False) -> AbstractAsyncContextManager[Journal]:
        """The journal at ``path``, opened and closed beside the event loop.

        :param reading: nothing is written into it, and there must be one
        :raises InputError: where there is none to read.
        :raises JournalError: where it cannot be opened.
        :raises JournalInUse: where another process works on it.
        :raises ConfigurationError: where it is in a store, and there is none.
        """
        if (name := stored(path)) is None:
            from alma_async.load.sqlite_journal import opened as in_sqlite

            return in_sqlite(self.clock, path, reading=reading)
        from alma_async.load.postgres_journal import opened as in_store

        return in_store(self.clock, self._required(path), name, reading=reading)

    async def exists(self, path: str | Path) -> bool:
        """Whether there is a journal at ``path``."""
        if (name := stored(path)) is None:
            return await self.clock.aside(Path(path).is_file)
        from alma_async.load.postgres_journal import exists as in_store

        return await in_store(self._required(path), name)

    async def unfinished(self, service: Service) -> list[Path]:
        """The journals of the store whose loads of this service ended before all was done, and that no
        process works on now.
        """
        if self.store is None:
            return []
        from alma_async.load.postgres_journal import unfinished as in_store

        return await in_store(self.store, service)

    async def listed(self) -> list[Listed]:
        """The journals of the store, by name, but for those of single messages."""
        if self.store is None:
            return []
        from alma_async.load.postgres_journal import listed as in_store

        return await in_store(self.store)

    async def reserve(self, path: Path) -> bool:
        """Make an empty journal, so that nobody else takes its path; False where something has it.

        :raises OSError: where none can be made.
        """
        if (name := stored(path)) is None:
            from alma_async.load.sqlite_journal import reserve as in_sqlite

            return await self.clock.aside(partial(in_sqlite, path))
        from alma_async.load.postgres_journal import reserve as in_store

        return await in_store(self._required(path), name)

    async def remove(self, path: Path) -> None:
        """Remove a journal that nobody uses, if it is there."""
        if (name := stored(path)) is None:
            from alma_async.load.sqlite_journal import remove as in_sqlite

            await self.clock.aside(partial(in_sqlite, path))
        else:
            from alma_async.load.postgres_journal import remove as in_store

            await in_store(self._required(path), name)

    def _required(self, path: str | Path) -> Store:
        if self.store is None:
            raise ConfigurationError(
                f"The journal {path} is in a store, and none is named.",
                advice="Name it: ALMA_STORE (store=).",
            )
        return self.store


_STORED: Final = re.compile(r"store:([A-Za-z0-9_][A-Za-z0-9._-]{0,99})")


def stored(path: str | Path) -> str | None:
    """The name of a journal in a store; None where it is a file.

    :raises ConfigurationError: where it is no name.
    """
    if not str(path).startswith("store:"):
        return None
    if found := _STORED.fullmatch(str(path)):
        return found[1]
    raise ConfigurationError(
        f"{str(path)!r} names no journal in a store: store: and up to 100 letters, digits, dots, hyphens or underscores."
    )


def address_of(path: Path) -> str:
    """By which another journal can name this one and find it."""
    return str(path if stored(path) else path.absolute())


def is_foreign(path: Path) -> bool:
    """Whether something that is no journal has this path."""
    if stored(path) is not None:
        return False
    from alma_async.load.sqlite_journal import is_foreign as in_sqlite

    return in_sqlite(path)


async def slices(read: Callable[..., Awaitable[list[Entry]]]) -> AsyncIterator[list[Entry]]:
    """All that ``read`` gives (``Journal.entries``, ``Journal.open_entries``), a slice at a time."""
    after = 0
    while entries := await read(after=after, limit=SLICE):
        yield entries
        after = entries[-1].n
