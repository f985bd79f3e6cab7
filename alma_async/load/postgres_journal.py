"""Journals in the store that machines share (PostgreSQL): one load is one row of ``load`` and the
records that name it.

Decides who owns a load, and how its records are read and written there; leaves the statements to
``journal_tables``, connections and the schema to ``store``.

Theory of operation
-------------------
**Epoch.** Who opens a journal for work raises the load's epoch. Each transaction that writes
begins with one statement that proves the epoch and locks the load's row until the commit. Where it
proves nothing, the load was taken over: the transaction is rolled back, ``JournalInUse`` is raised,
and nothing is sent. So no two owners' writes are ever mixed, whoever was paused, cut off or late.

**Lease.** An owner is seen with each commit, and every five seconds where there is none, by the
database's clock. A load whose owner was seen within the lease is not taken over. The lease keeps
machines from taking loads from each other; what nothing is doubled by is the epoch, and:

**Quarantine.** An owner that was paused between its intent's commit and the send may still live.
Nothing begins to leave after ``begin_by``, which is compared right before the bytes leave
(``_core.session``), nor is anything on its way after the attempt's deadline. That deadline stands in
the intent (``Entry.sent_by``), by the database's clock, and a taker-over counts the quarantine from
it, not from its own start: the lock of a file proves that the sender is dead, a lease does not.

**Clock.** ``moment`` is this machine's monotonic clock plus what the database's clock was ahead of it
when the journal was opened, rounded up by the time that the question took: a second at most is
worth another question. So a civil clock that is set while a load runs changes nothing for it.

**Failures.** A transaction that fails, or whose answer does not come, is never tried again in place:
the load stops and can be resumed, and what may have been written is read then. A journal that is
only read belongs to nobody, and each of its transactions sees one state of it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs

from alma_async._clock import Clock, ended, shielded, started
from alma_async._storage.failures import Away, Damaged
from alma_async._storage.sqlite import Columns
from alma_async.errors import AlmaError, StoreUnavailable
from alma_async.load import records
from alma_async.load.entries import Moment, State
from alma_async.load.group_commit import GroupedJournal
from alma_async.load.journal import (
    MESSAGES,
    Journal,
    JournalAway,
    JournalDamaged,
    JournalInUse,
    Listed,
    Service,
)
from alma_async.load.journal_tables import JournalTables, state_of
from alma_async.load.register import in_use, require_rested
from alma_async.load.row import InputError
from alma_async.store import Connection, Store, translated

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["LEASE", "abandoned", "exists", "is_busy", "listed", "opened", "remove", "reserve", "unfinished"]

LEASE: Final = 20.0  # chosen: seconds for which an owner that is not seen may only be slow
_AFTER: Final = 0.5  # chosen: seconds after the end of a lease
_BEAT: Final = 5.0  # chosen: seconds after which an owner is seen at the latest
_WITHIN: Final = 60.0  # chosen: seconds in which a database that stands still may go on before the load stops
_TO_OPEN: Final = 10.0  # chosen: seconds
_IDLE: Final = 1.0  # chosen: seconds after which a connection may be gone without a word
_AGAIN: Final = 1.0  # chosen: seconds
_PAGE: Final = 5000  # records of one statement
_FAST: Final = 1.0  # seconds that the question for the time may take

_TYPES: Final = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea", "REAL": "double precision"}
_TABLE: Final = re.compile(r"\b(?:FROM|JOIN) (\w+)")
_NAMES: Final = {table: ", ".join(f'"{name}"' for name in names) for table, names in records.COLUMNS.items()}


def _put(table: str) -> str:
    """The statement that writes records of a load, given column by column, over what is there under
    their keys.
    """
    key, *others = records.COLUMNS[table]
    types = [_TYPES[column.split()[1]] for column in records.TABLES[table]]
    marks = ", ".join(f"%s::{one}[]" for one in (*types, "bytea"))
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in (*others, "seal"))
    return (
        f"INSERT INTO alma_async.{table} (load, {_NAMES[table]}, seal) "  # noqa: S608 - our own names
        f"SELECT %s, * FROM unnest({marks}) "
        f'ON CONFLICT (load, "{key}") DO UPDATE SET {changes}'
    )


_PUT: Final = {table: _put(table) for table in records.TABLES}
_OWN: Final = (
    "UPDATE alma_async.load SET epoch = epoch + 1, owner = %s, seen = alma_async.clock() "
    "WHERE name = %s AND (owner IS NULL OR seen < alma_async.clock() - %s) RETURNING id, epoch"
)
_PROVE: Final = (
    "UPDATE alma_async.load SET commits = commits + 1, seen = alma_async.clock() WHERE id = %s AND epoch = %s"
)
_RELEASE: Final = (
    "UPDATE alma_async.load SET owner = NULL, seen = alma_async.clock() WHERE id = %s AND epoch = %s"
)
# The row is locked, so that its owner does not write between the question and the transaction's end.
_OWNED: Final = (
    "WITH held AS (SELECT owner, seen FROM alma_async.load WHERE name = %s FOR UPDATE) "
    "SELECT count(*) > 0 FROM held WHERE owner IS NOT NULL AND seen >= alma_async.clock() - %s"
)
_RESTING: Final = (
    "SELECT count(*) > 0 FROM alma_async.entry JOIN alma_async.load ON load.id = entry.load WHERE name = %s "
    "AND state IN ('intent', 'unknown') AND wall > alma_async.clock() - %s"
)
_BUSY: Final = (
    "SELECT count(*) > 0 FROM alma_async.load WHERE name = %s AND (owner IS NOT NULL OR EXISTS (SELECT 1 FROM "
    "alma_async.entry WHERE entry.load = load.id AND (state IN ('intent', 'unknown') OR (state = 'pending' "
    "AND action IN ('created', 'updated', 'deleted')))))"
)
_DISOWN: Final = "UPDATE alma_async.load SET epoch = epoch + 1, owner = NULL WHERE name = %s"
_FIND: Final = "SELECT id, epoch, owner, alma_async.clock() - seen FROM alma_async.load WHERE name = %s"

# Loads of one service: which may send something, or may have sent it.
_OF_SERVICE: Final = "(origin, collection, service) = (%s, %s, %s)"
_ENTERED: Final = "SELECT origin IS NOT NULL FROM alma_async.load WHERE id = %s"
_ENTER: Final = "UPDATE alma_async.load SET origin = %s, collection = %s, service = %s WHERE id = %s"
_OTHERS: Final = (
    "SELECT name, owner IS NOT NULL AND seen >= alma_async.clock() - %s FROM alma_async.load "  # noqa: S608 - our own words
    f"WHERE {_OF_SERVICE} AND id <> %s ORDER BY name"
)
_CUT_OFF: Final = (
    "SELECT name, max(entry.wall), alma_async.clock() FROM alma_async.load "  # noqa: S608 - our own words
    f"JOIN alma_async.entry ON entry.load = load.id WHERE {_OF_SERVICE} AND load.id <> %s "
    "AND entry.state IN ('intent', 'unknown') GROUP BY name ORDER BY name"
)


_LISTED: Final = (
    "SELECT id, name, owner, owner IS NOT NULL AND seen >= alma_async.clock() - %s, alma_async.clock() - seen "
    "FROM alma_async.load WHERE NOT starts_with(name, %s) ORDER BY name"
)
_META: Final = "SELECT load, name, value FROM alma_async.meta WHERE load = ANY(%s)"
_COUNTS: Final = "SELECT load, state, action, count(*) FROM alma_async.entry WHERE load = ANY(%s) GROUP BY load, state, action"


@asynccontextmanager
async def opened(clock: Clock, store: Store, name: str, *, reading: bool = False) -> AsyncIterator[Journal]:
    """The journal of this name, owned until this ends unless it is only read.

    :raises InputError: where there is none to read.
    :raises JournalInUse: where another process works on it.
    :raises JournalAway: where the database does not answer.
    """
    connection = Connection(store, "journal")
    owned = StoredRecords(store, name, clock, reading=reading)
    aside = partial(_aside, connection, owned, within=_WITHIN, again=True)
    journal = GroupedJournal(JournalTables(owned), aside)
    beats = None
    try:
        await _aside(connection, owned, owned.open, within=_TO_OPEN)
        if not reading:
            beats = started(_beat(clock, owned, journal))
        yield journal
    finally:
        await shielded(_close(connection, owned, beats))


async def _close(connection: Connection, owned: StoredRecords, beats: Any) -> None:
    try:
        if beats is not None:
            beats.cancel()
            await ended(beats)
        if owned.epoch:
            await _aside(connection, owned, owned.release, within=_TO_OPEN)
    except AlmaError:
        pass  # the lease ends by itself
    finally:
        await connection.aclose()


async def _beat(clock: Clock, owned: StoredRecords, journal: GroupedJournal) -> None:
    """Have the owner seen, also while nothing is written."""
    try:
        while True:
            await anyio.sleep(max(owned.seen_at + _BEAT - clock.now(), 0.01))
            if clock.now() - owned.seen_at >= _BEAT:
                await journal.prove()
    except AlmaError:
        pass  # raised by all that is asked of the journal from now on


async def _aside(
    connection: Connection,
    owned: StoredRecords,
    work: Callable[[], None],
    *,
    within: float,
    again: bool = False,
) -> None:
    """Work on the journal, on its connection.

    :param again: where the connection was gone before the work began, it is tried once more, for as
        long as the work may take: the last work may be hours ago
    """
    clock, begun = owned.clock, False
    until, is_idle = clock.now() + within, again and clock.now() - owned.used_at > _IDLE

    def on(link: Link) -> None:
        nonlocal begun
        if is_idle:
            link.execute("SELECT 1")
        begun = True
        owned.link = link
        work()
        if link.is_lost:  # which the work has kept to itself
            raise Away("the connection was lost")

    with owned.mapped():
        while True:
            try:
                await connection.do(on, within=until - clock.now(), whole=True)
                break
            except Away:
                # after all the time that it may take, a thread may still be at it
                if begun or not again or clock.now() + _AGAIN >= until:
                    raise
            await shielded(anyio.sleep(_AGAIN))
    owned.used_at = clock.now()


async def exists(store: Store, name: str) -> bool:
    """Whether the store has a journal of this name."""
    found: bool = await _once(store, lambda link: link.execute(_FIND, (name,)).fetchone() is not None)
    return found


async def reserve(store: Store, name: str) -> bool:
    """Make an empty journal, so that nobody else takes its name; False where something has it."""
    query = "INSERT INTO alma_async.load (name) VALUES (%s) ON CONFLICT (name) DO NOTHING"
    made: int = await _once(store, lambda link: link.execute(query, (name,)).rowcount)
    return made == 1


async def listed(store: Store) -> list[Listed]:
    """The journals of the store, by name, but for those of single messages; what each says is read
    without comparing seals.
    """

    def work(link: Link) -> list[Listed]:
        with link.transaction():
            link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found = link.execute(_LISTED, (LEASE, MESSAGES)).fetchall()
            ids = [one[0] for one in found]
            meta, counts = (link.execute(query, (ids,)).fetchall() for query in (_META, _COUNTS))
        facts: dict[int, dict[str, str]] = {one[0]: {} for one in found}
        stand: dict[int, dict[tuple[State, str | None], int]] = {one[0]: {} for one in found}
        for load, name, value in meta:
            facts[load][name] = value
        for load, state, action, count in counts:
            stand[load][state_of(state, action), action] = count
        return [
            Listed(name, owner, alive, unseen, facts[load], stand[load])
            for load, name, owner, alive, unseen in found
        ]

    result: list[Listed] = await _once(store, work)
    return result


async def remove(store: Store, name: str) -> None:
    """Remove a journal that nobody uses, if it is there."""
    query = "DELETE FROM alma_async.load WHERE name = %s AND owner IS NULL"
    await _once(store, lambda link: link.execute(query, (name,)))


def abandoned(link: Link, name: str, *, quarantine: float) -> bool:
    """Whether nobody works on a journal, and what it may have sent has rested for so many seconds.
    Where it is so, whoever had it does not own it any more. Within a transaction.
    """
    (owned,) = link.execute(_OWNED, (name, LEASE)).fetchall()[0]
    (resting,) = link.execute(_RESTING, (name, quarantine)).fetchall()[0]
    if owned or resting:
        return False
    link.execute(_DISOWN, (name,))
    return True


def is_busy(link: Link, name: str) -> bool:
    """Whether somebody works on a journal, or what was sent for its rows has not ended."""
    return bool(link.execute(_BUSY, (name,)).fetchall()[0][0])


async def unfinished(store: Store, service: Service) -> list[Path]:
    """The journals whose loads of this service have something left to do, and that nobody works on."""

    def work(link: Link) -> list[Columns]:
        return link.execute(_OTHERS, (LEASE, *service, 0)).fetchall()

    return [Path(f"store:{name}") for name, alive in await _once(store, work) if not alive]


async def _once(store: Store, work: Callable[[Link], Any]) -> Any:
    connection = Connection(store, "journals")
    try:
        with _failures(store, "in the store"):
            return await connection.do(work, within=_TO_OPEN)
    finally:
        await connection.aclose()


@contextmanager
def _failures(store: Store, name: str) -> Iterator[None]:
    """The store's failures become the journal's, once, here."""
    from alma_async._storage.postgres import failures

    error: AlmaError
    try:
        with translated(store):
            try:
                with failures():
                    yield
            except (Damaged, UnicodeDecodeError) as found:
                error = JournalDamaged(
                    f"The journal {name} is damaged: {found} is not what was written.", advice=_DAMAGED
                )
            else:
                return
    except JournalAway:
        raise
    except StoreUnavailable as found:
        error = JournalAway(found.message, retry_at=found.retry_at, firm=False)
    raise error from None


_DAMAGED: Final = (
    "Nothing more was sent. Wait ten minutes and begin with a new journal: it first reads what Alma holds, "
    "and makes nothing twice."
)


_ESCAPE: Final = "\x1a"


def _storable(value: Any) -> Any:
    """A value as PostgreSQL takes it: the character 0 of a text is escaped."""
    value = records.storable(value)
    if isinstance(value, str) and not {"\0", _ESCAPE}.isdisjoint(value):
        return value.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")
    return value


def _kept(value: Any) -> Any:
    """The value that was made storable."""
    if isinstance(value, str) and _ESCAPE in value:
        return value.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)
    return value


class StoredRecords:
    """The records of one load in the store (``journal_tables.Records``). ``link`` is set for each
    piece of work.
    """

    link: Link

    def __init__(self, store: Store, name: str, clock: Clock, *, reading: bool = False) -> None:
        self._store, self._name, self._reading = store, name, reading
        self.clock: Clock = clock
        self.has_sent = False
        self.epoch: int = 0  # ours
        self.seen_at: float = clock.now()  # of our clock
        self.used_at: float = self.seen_at  # the connection was seen to work
        self._id = 0
        self._ahead = 0.0  # of the database's clock
        self._boot = ""
        self._is_within, self._is_proved = False, False

    @property
    def name(self) -> str:
        """What people know the journal by."""
        return self._name

    @property
    def address(self) -> str:
        """By which another journal can name it and find it."""
        return f"store:{self._name}"

    def moment(self, clock: Clock, at: float | None) -> Moment:
        """Now, or at that moment of the clock, by the database's."""
        then = (clock.now() if at is None else at) + self._ahead
        return Moment(wall=then, mono=then, boot=self._boot)

    def mapped(self) -> Any:
        """The store's failures become the journal's."""
        return _failures(self._store, self._name)

    # --- who owns it

    def open(self) -> None:
        """Own it from now on, or find it to be read.

        :raises JournalInUse: where somebody else has it.
        """
        with self.mapped():
            self._boot = f"store {self.link.seal.name}"
            if self._reading:
                self._find()
            else:
                self._own()
            self._read_clock()

    def _find(self) -> None:
        found = self.link.execute(_FIND, (self._name,)).fetchone()
        if found is None:
            raise InputError(f"There is no journal {self.address!r} in the store.", advice="Check its name.")
        self._id, _, owner, unseen = found
        if owner is not None and unseen <= LEASE:
            raise self._in_use(owner, unseen)

    def _own(self) -> None:
        link, me = self.link, f"{socket.gethostname()}, process {os.getpid()}"
        own = _OWN, (me, self._name, LEASE)
        found = link.execute(*own).fetchone()
        if found is None:
            link.execute(
                "INSERT INTO alma_async.load (name) VALUES (%s) ON CONFLICT (name) DO NOTHING", (self._name,)
            )
            found = link.execute(*own).fetchone()
        if found is None:
            other = link.execute(_FIND, (self._name,)).fetchone()
            raise self._in_use(*(other[2:] if other else ("another process", 0.0)))
        self._id, self.epoch = found
        self.seen_at = self.clock.now()

    def _in_use(self, owner: str | None, unseen: float) -> JournalInUse:
        error = JournalInUse(
            f"The journal {self.address} is in use by {owner or 'another process'}, seen {max(unseen, 0.0):.0f} s ago; where that "
            f"has ended without a word, it is free after {LEASE:.0f} s."
        )
        left = max(LEASE - unseen, 0.0) + _AFTER
        error.retry_at = self.clock.utc() + timedelta(seconds=left)
        return error

    def _read_clock(self) -> None:
        quickest = float("inf")
        while quickest > _FAST:
            asked = self.clock.now()
            ((clock,),) = self.link.execute("SELECT alma_async.clock()").fetchall()
            took = self.clock.now() - asked
            if took < quickest:
                quickest, self._ahead = took, clock - asked

    def release(self) -> None:
        """It is nobody's from now on, if it still is ours."""
        with self.mapped():
            self.link.execute(_RELEASE, (self._id, self.epoch))

    def prove(self) -> None:
        """Have the transaction be the owner's: before its first write.

        :raises JournalInUse: where it was taken over.
        """
        if self._is_proved:
            return
        asked = self.clock.now()
        if self._reading or self.link.execute(_PROVE, (self._id, self.epoch)).rowcount != 1:
            raise JournalInUse(f"The journal {self.address} was taken over by another process.")
        self._is_proved, self.seen_at = True, asked

    def enter(
        self, service: Service, *, alone: bool, rests: float | None, takes_back: str | None = None
    ) -> None:
        """Have the load known as one of its service's; see that no other one is under way, or was cut
        off a moment ago.

        :raises ServiceInUse, UnfinishedLoad: where one is; it is named.
        """
        with self.mapped():
            self.link.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (" ".join(service),))
            self.prove()
            goes_on = self.link.execute(_ENTERED, (self._id,)).fetchone() == (True,)
            self.link.execute(_ENTER, (*service, self._id))
            for name, alive in self.link.execute(_OTHERS, (LEASE, *service, self._id)) if alone else ():
                if alive:
                    raise in_use(service, f"store:{name}")
            if rests is not None and not goes_on:
                for name, sent, now in self.link.execute(_CUT_OFF, (*service, self._id)):
                    if f"store:{name}" != takes_back:
                        require_rested(service, f"store:{name}", sent, now, rests)

    def leave(self) -> None:
        """Nothing is left to do."""
        with self.mapped():
            self.prove()
            self.link.execute(_ENTER, (None, None, None, self._id))

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing, durable when it ends, and the owner's."""
        if self._is_within:
            yield
            return
        with self.mapped(), self.link.transaction():
            self._is_within, self._is_proved = True, False
            try:
                if self._reading:
                    self.link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                yield
            finally:
                self._is_within = self._is_proved = False

    def last_sent(self, sent_by: Moment | None, now: Moment) -> Moment:
        """When what was to be sent by then left at the latest, or never will: then, since its sender may
        only be paused. By another journal's clock that is now, and what is left until then.
        """
        if sent_by is None or sent_by.boot != self._boot:
            return now
        if now.boot == self._boot:
            return sent_by
        left = max(sent_by.mono - self.moment(self.clock, None).mono, 0.0)
        return attrs.evolve(now, wall=now.wall + left, mono=now.mono + left)

    # --- records

    def query(self, statement: str, values: Columns = ()) -> list[Columns]:
        """What a statement gives of several tables; no seal is compared."""
        return [tuple(map(_kept, one)) for one in self._query(statement, values)]

    def _query(self, statement: str, values: Columns) -> list[Columns]:
        with self.mapped():
            return self.link.execute(self._of_load(statement), tuple(map(_storable, values))).fetchall()

    def read(self, table: str, where: str = "", values: Columns = ()) -> list[Columns]:
        """Columns of a table's records, each seen to be what was written."""
        found = self._query(f"SELECT * FROM {table} {where}", values)  # noqa: S608 - our own words
        with self.mapped():
            return [self._seen(table, one) for one in found]

    def _seen(self, table: str, record: Columns) -> Columns:
        *columns, seal = record
        if self.link.seal((self._id, table, *columns)) != seal:
            raise Damaged(f"a record of {table} ({str(columns[0])[:40]})")
        return tuple(map(_kept, columns))

    def put_all(self, table: str, rows: Iterable[Columns]) -> None:
        """Write records, each over what is there under its key; within ``together``."""
        stored = {row[0]: row for one in rows if (row := tuple(map(_storable, one)))}
        if not stored:
            return
        self.prove()
        sealed = [(*row, self.link.seal((self._id, table, *row))) for row in stored.values()]
        for first in range(0, len(sealed), _PAGE):
            columns = map(list, zip(*sealed[first : first + _PAGE], strict=True))
            self.link.execute(_PUT[table], (self._id, *columns))

    def remove(self, table: str, where: str = "") -> None:
        """Remove records; within ``together``."""
        self.prove()
        ours = f"{table}.load = {self._id:d}" + (f" AND ({where})" if where else "")
        self.link.execute(self._of_load(f"DELETE FROM alma_async.{table} AS {table} WHERE {ours}"))  # noqa: S608 - our own words

    def _of_load(self, statement: str) -> str:
        """The statement over this load's records alone."""
        tables = sorted(set(_TABLE.findall(statement)) & records.TABLES.keys())
        views = (
            f"{one} AS NOT MATERIALIZED (SELECT {_NAMES[one]}, seal FROM alma_async.{one} "  # noqa: S608 - our own words
            f"WHERE load = {self._id:d})"
            for one in tables
        )
        within = f"WITH {', '.join(views)} " if tables else ""
        return (within + statement).replace("?", "%s")

    def check(self) -> None:
        """See that all records are there and are what was written."""
        with self.mapped():
            for table in records.TABLES:
                found = sum(map(len, self._pages(table)))
                ((written,),) = self.link.execute(
                    f"SELECT {table} FROM alma_async.load WHERE id = %s",  # noqa: S608 - our own names
                    (self._id,),
                ).fetchall()
                if found != written:
                    raise Damaged(f"the number of its records of {table} ({found}, not {written})")

    def _pages(self, table: str) -> Iterator[list[Columns]]:
        key = records.COLUMNS[table][0]
        where, values = "", tuple[Any, ...]()
        while found := self.read(table, f"{where} ORDER BY {key} LIMIT {_PAGE:d}", values):
            yield found
            where, values = f"WHERE {key} > ?", (found[-1][0],)

    def close(self) -> None:
        """The connection is closed by who opened it."""
