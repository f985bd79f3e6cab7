"""The tables of a journal: what one statement reads and writes. Synchronous.

The same for all stores, in SQL that SQLite and PostgreSQL understand alike; ``Records`` is what a
store has to offer. Leaves who may open a journal and when it is believed to the stores, the thread
and the grouping of commits to ``group_commit``, the form of a record to ``records``, and what all of
it means to ``journal``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Protocol, get_args

import attrs

from alma_async._clock import Clock
from alma_async._storage.sqlite import (
    Columns,
    Damaged,
)
from alma_async.load import records
from alma_async.load.entries import KNOWN, OPEN, Entry, Moment, State, Step, replaced
from alma_async.load.facts import SURPLUS
from alma_async.load.journal import (
    SLICE,
    Held,
    HeldBefore,
    Ingested,
    Kept,
    Service,
)
from alma_async.load.matching import Carrier, Title
from alma_async.load.reasons import EndReason
from alma_async.load.row import Row

__all__ = ["JournalTables", "Records", "state_of"]

# what a row may have done
_ACTIONS: Final = (None, "created", "updated", "unchanged", "deleted", KNOWN)
_MOST_VALUES: Final = 500  # of one statement; older SQLite takes 999
_KEY_AT: Final = {name: records.COLUMNS["entry"].index(name) for name in ("natural_key", "key")}
_LEFT: Final = (
    "WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.portfolio_id = existing.portfolio_id) "
    "AND (CAST(? AS TEXT) IS NULL OR COALESCE(availability, '') <> ?) AND (availability IS NULL OR availability <> '')"
)
_CLEAR: Final = (
    "COALESCE(existing.mms_id, '') <> '' AND "  # else nobody knows which title it is of
    "NOT EXISTS (SELECT 1 FROM entry WHERE entry.mms_id = existing.mms_id AND entry.portfolio_id IS NULL "
    "AND (entry.state <> 'duplicate' OR entry.key IS NOT NULL))"
)
_UNSEARCHED: Final = "state = 'duplicate' AND key IS NOT NULL AND mms_id IS NULL AND portfolio_id IS NULL"
_STANDS: Final = "(natural_key IS NULL OR LENGTH(natural_key) <> 8)"  # as ``Entry.is_replaced``
# Rows for which something may have been made that they do not stand for yet; as ``_may_have_made``.
_CREATING: Final = (
    "SELECT 1 FROM entry WHERE entry.step = 'create' AND entry.mms_id = existing.mms_id AND (state IN ('intent', 'unknown') "
    "OR lost_answers > 0 OR (state = 'review' AND action IS NULL AND differences IS NOT NULL))"
)


class Records(Protocol):
    """The records of one journal, wherever they are kept: tables of ``records.TABLES``.

    Values are marked with ``?``.
    """

    has_sent: bool

    @property
    def name(self) -> str:
        """What people know the journal by."""

    @property
    def address(self) -> str:
        """By which another journal can name it and find it."""

    def moment(self, clock: Clock, at: float | None) -> Moment:
        """Now, or at that moment of the clock, on the clock that quarantines are counted by."""

    def check(self) -> None:
        """See that all records are there and are what was written."""

    def enter(
        self, service: Service, *, alone: bool, rests: float | None, takes_back: str | None = None
    ) -> None:
        """Have the load known as one of its service's; within ``together``."""

    def leave(self) -> None:
        """Nothing is left to do; within ``together``."""

    def prove(self) -> None:
        """See that the journal still is ours; within ``together``."""

    def together(self) -> AbstractContextManager[None]:
        """All or nothing, durable when it ends, and the owner's."""

    def mapped(self) -> AbstractContextManager[None]:
        """The store's failures become the journal's."""

    def query(self, statement: str, values: Columns = ()) -> list[Columns]:
        """What a statement gives of several tables; no seal is compared."""

    def read(self, table: str, where: str = "", values: Columns = ()) -> list[Columns]:
        """Columns of a table's records, each seen to be what was written."""

    def put_all(self, table: str, rows: Iterable[Columns]) -> None:
        """Write records, each over what is there under its key; within ``together``."""

    def remove(self, table: str, where: str = "") -> None:
        """Remove records; within ``together``."""

    def last_sent(self, sent_by: Moment | None, now: Moment) -> Moment:
        """When what was to be sent by then left at the latest, or never will, if its sender owns
        the journal no more.
        """

    def close(self) -> None:
        """Nobody owns the journal any more."""


class JournalTables:
    """What its methods do is said by ``journal.Journal``, in whose words they are named; all are
    short, and what they changed is durable when they return.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    @property
    def name(self) -> str:
        return self._records.name

    @property
    def address(self) -> str:
        return self._records.address

    def moment(self, clock: Clock, at: float | None = None) -> Moment:
        return self._records.moment(clock, at)

    def enter(
        self, service: Service, *, alone: bool, rests: float | None, takes_back: str | None = None
    ) -> None:
        self._records.enter(service, alone=alone, rests=rests, takes_back=takes_back)

    def leave(self) -> None:
        self._records.leave()

    def prove(self) -> None:
        """See that the journal still is ours."""
        with self.together():
            self._records.prove()

    def check(self) -> None:
        self._records.check()

    def together(self) -> AbstractContextManager[None]:
        """All or nothing, and durable when it ends."""
        return self._records.together()

    def _put(self, table: str, *values: Any) -> None:
        with self.together():
            self._records.put_all(table, (values,))

    def _read_of(
        self, table: str, column: str, values: Iterable[Any], *, order: str = ""
    ) -> Iterator[Columns]:
        """The records that have one of these values."""
        named = list(dict.fromkeys(values))
        for first in range(0, len(named), _MOST_VALUES):
            some = tuple(named[first : first + _MOST_VALUES])
            marks = ", ".join("?" * len(some))
            yield from self._records.read(table, f"WHERE {column} IN ({marks}) {order}", some)

    # --- what the load is about, and its rows

    def meta(self) -> dict[str, str]:
        with self._records.mapped():
            return dict(self._records.read("meta"))

    def note(self, facts: Mapping[str, str]) -> None:
        with self.together():
            self._records.put_all("meta", facts.items())

    def clear(self) -> None:
        with self.together():
            for table in ("entry", *get_args(Kept)):
                self._records.remove(table)

    def ingest(self, rows: Iterable[Ingested], *, repeats: bool = False, replacing: bool = False) -> None:
        rows = list(rows)
        asked = ((one.entry.n, records.packed(records.dump_row(one.row))) for one in rows if one.row)
        before = ((one.entry.n, records.packed(one.before)) for one in rows if one.before is not None)
        with self.together():
            if replacing:
                self._replace([one.entry for one in rows])
            repeated = self._repeated([one.entry for one in rows])
            alone = (one.entry for one in rows if one.entry.n not in repeated)
            self._records.put_all("entry", map(records.values_of, alone))
            for one in rows:
                if one.entry.n in repeated:
                    self._add(one.entry, repeats=repeats)
            self._records.put_all("asked", asked)
            self._records.put_all("before_image", before)

    def _replace(self, entries: Sequence[Entry]) -> None:
        """Rows of these titles and portfolios that have ended stand for nothing any more. Nor does one
        that was done unread and is to be read now: that is too late for it.
        """
        why = EndReason.UNREAD
        late = partial(
            attrs.evolve, state=State.REVIEW, reason=why.code, message=why.says("all of its fields")
        )
        for column in ("mms_id", "portfolio_id"):
            olds = self._entries(column, [its for one in entries if (its := getattr(one, column))])
            doubted = [late(one) for one in olds if one.state is State.PENDING and one.step is Step.CHECK]
            ended = [one for one in olds if one.state not in OPEN and not one.is_replaced]
            self._write_all(map(replaced, (*ended, *doubted)))
            self.add_existing(
                Held(one.portfolio_id, one.mms_id, one.availability)
                for one in (*ended, *doubted)
                if one.portfolio_id and one.mms_id and one.action != "deleted"
            )

    def _repeated(self, entries: Sequence[Entry]) -> set[int]:
        """The numbers of these rows that have a key which another one has, here or in the journal."""
        found = set[int]()
        for column in ("natural_key", "key"):
            of = [
                (records.storable(key), one.n) for one in entries if (key := getattr(one, column)) is not None
            ]
            counted = Counter(key for key, _ in of)
            there = {columns[_KEY_AT[column]] for columns in self._read_of("entry", column, counted)}
            found |= {n for key, n in of if counted[key] > 1 or key in there}
        return found

    def amend(self, entries: Iterable[Entry], *, existing: HeldBefore = (), facts: Mapping[str, str]) -> None:
        with self.together():
            self._write_all(entries)
            self.add_existing(existing)
            self.note(facts)

    def _add(self, entry: Entry, *, repeats: bool) -> None:
        known, why = self.of_key(entry.key), EndReason.DUPLICATE
        if known is not None and known.n != entry.n:
            said = why.says("key", known.line)
            self.write(
                attrs.evolve(entry, state=State.DUPLICATE, natural_key=None, reason=why.code, message=said)
            )
            return
        old = self.of_natural_key(entry.natural_key)
        while repeats and old is not None and old.n != entry.n and entry.portfolio_id is None:
            entry = attrs.evolve(entry, natural_key=records.next_key(old.natural_key))
            old = self.of_natural_key(entry.natural_key)
        if old is None:
            self.write(entry)
        elif old.n != entry.n:
            what = "portfolio" if entry.portfolio_id else "title"
            same = old.payload == entry.payload
            state, why = (
                (State.DUPLICATE, EndReason.DUPLICATE) if same else (State.REVIEW, EndReason.CONTRADICTS)
            )
            # which of the two is right is not for their order to say
            if not same and old.state is State.PENDING:
                said = why.says(what, entry.line)
                self.write(attrs.evolve(old, state=state, reason=why.code, message=said))
            said = why.says(what, old.line)
            self.write(attrs.evolve(entry, state=state, natural_key=None, reason=why.code, message=said))

    def of_natural_keys(self, keys: Collection[bytes]) -> dict[bytes, Entry]:
        return {key: one for one in self._entries("natural_key", keys) if (key := one.natural_key)}

    def of_natural_key(self, key: bytes | None) -> Entry | None:
        """The row of this natural key."""
        found = self._select("WHERE natural_key = ?", (key,)) if key is not None else []
        return found[0] if found else None

    def of_key(self, key: str | None) -> Entry | None:
        """The row of which the caller gave this key."""
        found = (
            self._select("WHERE key = ? ORDER BY n LIMIT 1", (records.storable(key),))
            if key is not None
            else []
        )
        return found[0] if found else None

    def of_portfolios(self, portfolio_ids: Collection[str]) -> list[Entry]:
        return self._entries("portfolio_id", portfolio_ids)

    def write(self, entry: Entry) -> None:
        """Write down where one row stands now, in place of what was there."""
        self._records.has_sent = self._records.has_sent or entry.state is State.INTENT
        self._put("entry", *records.values_of(entry))

    def _write_all(self, entries: Iterable[Entry]) -> None:
        found = list(entries)
        self._records.has_sent = self._records.has_sent or any(one.state is State.INTENT for one in found)
        self._records.put_all("entry", map(records.values_of, found))

    def keep(self, n: int, body: bytes, *, of: Kept = "before_image") -> None:
        self._put(of, n, records.packed(body))

    def kept(self, ns: Collection[int], *, of: Kept = "before_image") -> dict[int, bytes]:
        with self._records.mapped():
            return {n: records.unpacked(body) for n, body in self._read_of(of, "n", ns)}

    def body(self, n: int, *, of: Kept = "before_image") -> bytes | None:
        """What was kept of one row."""
        return self.kept([n], of=of).get(n)

    def add_existing(self, portfolios: HeldBefore) -> None:
        found = [Held(*listed) for listed in portfolios]
        if not found:
            return
        made = {
            one.portfolio_id
            for one in self._entries("portfolio_id", [one.portfolio_id for one in found])
            if one.action == "created" and not one.is_replaced
        }
        creating = {
            one.mms_id
            for one in self._entries("mms_id", [one.mms_id for one in found if one.mms_id])
            if _may_have_made(one) and not one.is_replaced
        }
        known = {one.portfolio_id for one in self.existing([], [one.portfolio_id for one in found])}
        with self.together():
            theirs = (one for one in found if one.mms_id not in creating or one.portfolio_id in known)
            self._records.put_all("existing", (one for one in theirs if one.portfolio_id not in made))

    def forget_existing(self) -> None:
        with self.together():
            self._records.remove("existing", f"NOT EXISTS ({_CREATING})")

    def settle_known(self, *, gone: bool) -> None:
        same = (
            "(COALESCE(existing.mms_id, '') = '' OR entry.mms_id IS NULL OR existing.mms_id = entry.mms_id)"
        )
        stands = (
            f"existing.portfolio_id = entry.portfolio_id AND {same} AND (existing.availability IS NULL "
            "OR entry.availability IS NULL OR existing.availability = entry.availability)"
        )
        if gone:
            stands = "existing.portfolio_id = entry.portfolio_id OR existing.mms_id = entry.mms_id"
        known = "WHERE state = 'pending' AND action = ?"
        there = f"EXISTS (SELECT 1 FROM existing WHERE {stands})"  # noqa: S608 - our own words
        with self.together():
            drifted = self._select(f"{known} AND {'' if gone else 'NOT '}{there}", (KNOWN,))
            again = partial(attrs.evolve, action=None, reason=None, availability=None)
            self._write_all(again(entry, portfolio_id=row.portfolio_id) for entry, row in self.rows(drifted))
            self._write_all(attrs.evolve(entry, state=State.DONE) for entry in self._select(known, (KNOWN,)))

    def held_of(self, mms_ids: Collection[str]) -> list[Held]:
        """What the service held of these titles before the load, and what rows of it stand for."""
        rows = [one for one in self._entries("mms_id", mms_ids) if one.state is State.DONE or one.is_begun]
        stand = [one for one in rows if one.portfolio_id and one.action != "deleted"]
        return [*self.existing(mms_ids, []), *(Held(str(one.portfolio_id), one.mms_id) for one in stand)]

    def existing(self, mms_ids: Collection[str], portfolio_ids: Collection[str]) -> list[Held]:
        found = dict[str, Held]()
        with self._records.mapped():
            for column, values in (("mms_id", mms_ids), ("portfolio_id", portfolio_ids)):
                for one in self._read_of("existing", column, values):
                    found[one[0]] = Held._make(one)
        return list(found.values())

    def identifiers(self, *, after: str, limit: int) -> list[tuple[str, Carrier, str]]:
        with self._records.mapped():
            found = self._records.read("identifier", "WHERE pair > ? ORDER BY pair LIMIT ?", (after, limit))
            return [(one[0], _carrier(one), one[1]) for one in found]

    def unmatched(self) -> int:
        return self._number(
            "SELECT COUNT(*) FROM entry WHERE state = 'pending' AND step = 'match' AND portfolio_id IS NULL"
        )

    def held(self) -> int:
        return self._number("SELECT COUNT(*) FROM existing")

    def _number(self, query: str, values: Columns = ()) -> int:
        return int(self._records.query(query, values)[0][0] or 0)

    def fewest_left(self, *, inactive: str | None) -> int:
        """How many of what the service held the rows leave over at least: of each title, those that
        stand for no row by their ids, but for one for each row that may mean one of them.
        """
        ours = "SELECT mms_id, COUNT(*) AS n FROM entry WHERE portfolio_id IS NULL AND state <> 'duplicate' GROUP BY mms_id"
        theirs = f"SELECT mms_id, COUNT(*) AS n FROM existing {_LEFT} GROUP BY mms_id"  # noqa: S608 - our own words
        left = "theirs.n - COALESCE(ours.n, 0)"
        query = (
            f"SELECT SUM(CASE WHEN {left} > 0 THEN {left} ELSE 0 END) "  # noqa: S608 - our own words
            f"FROM ({theirs}) theirs LEFT JOIN ({ours}) ours USING (mms_id)"
        )
        return self._number(query, (inactive, inactive))

    def unsearched(self) -> int:
        found = self._select(f"WHERE {_UNSEARCHED}", ())
        return sum(_says(one) != _says(first) for one in found if (first := self.of_key(one.key)))

    def add_left(
        self, make: Callable[[int, Held], Ingested], *, inactive: str | None, most: int | None
    ) -> int:
        """Add a row for each portfolio that the service held and no row stands for, unless they are
        too many. A title of which a row stands for no portfolio that is known, or repeats a key of
        the caller's, keeps all that it has.
        """
        clear = f"{_LEFT} AND {_CLEAR} ORDER BY portfolio_id"
        with self.together():
            found = [Held._make(one) for one in self._records.read("existing", clear, (inactive, inactive))]
            if most is not None and len(found) > most:
                return len(found)
            last = self.last()
            for first in range(0, len(found), SLICE):
                part = enumerate(found[first : first + SLICE], last + 1 + first)
                self.ingest(make(n, one) for n, one in part)
            self.note({SURPLUS: str(len(found))})
        return len(found)

    # --- the work

    def orphaned(self, now: Moment) -> int:
        """Rows whose sender died between intent and outcome become UNKNOWN; how many."""
        found = self._sent(now)
        with self.together():
            self._write_all(
                attrs.evolve(entry, state=State.UNKNOWN, sent_by=sent_by) for entry, sent_by in found
            )
        return sum(entry.state is State.INTENT for entry, _ in found)

    def last_sent(self, ended: Moment) -> float | None:
        return max((sent_by.wall for _, sent_by in self._sent(ended)), default=None)

    def _sent(self, ended: Moment) -> list[tuple[Entry, Moment]]:
        """The rows of unknown outcome, each with the last moment at which a process that had ended
        by then may have sent it.
        """
        found = self._select("WHERE state IN ('intent', 'unknown')", ())
        return [(entry, self._records.last_sent(entry.sent_by, ended)) for entry in found]

    def open_entries(self, *, after: int, limit: int) -> list[Entry]:
        return self._select(
            "WHERE state IN ('pending', 'intent', 'unknown') AND n > ? ORDER BY n LIMIT ?", (after, limit)
        )

    def entries(self, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        return self._select("WHERE n > ? ORDER BY n LIMIT ?", (after, limit))

    def rows(self, entries: Iterable[Entry]) -> list[tuple[Entry, Row]]:
        entries = list(entries)
        asked = self.kept([entry.n for entry in entries], of="asked")
        with self._records.mapped():
            return [(entry, records.row_of(asked[entry.n], entry)) for entry in entries if entry.n in asked]

    def entries_of(self, ns: Collection[int]) -> list[Entry]:
        found = {entry.n: entry for entry in self._entries("n", ns)}
        return [found[n] for n in ns]

    def get(self, n: int) -> Entry:
        """One row."""
        return self._select("WHERE n = ?", (n,))[0]

    def _select(self, where: str, values: Columns) -> list[Entry]:
        with self._records.mapped():
            return [records.entry_of(columns) for columns in self._records.read("entry", where, values)]

    def _entries(self, column: str, values: Iterable[Any]) -> list[Entry]:
        """The rows that have one of these values."""
        with self._records.mapped():
            return [records.entry_of(columns) for columns in self._read_of("entry", column, values)]

    def of_title(self, mms_id: str, *, n: int) -> Title:
        query = "SELECT portfolio_id FROM existing WHERE mms_id = ? ORDER BY portfolio_id"
        existing = [one for (one,) in self._records.query(query, (mms_id,))]
        count = self._number(
            f"SELECT COUNT(*) FROM entry WHERE mms_id = ? AND state <> 'duplicate' AND {_STANDS}",  # noqa: S608 - our own words
            (mms_id,),
        )
        free = self.unbound(existing, but=n, is_new=False)
        return Title(rows=count, existing=tuple(free), taken=tuple(f for f in existing if f not in free))

    def last(self) -> int:
        return self._number("SELECT MAX(n) FROM entry")

    def is_untouched(self) -> bool:
        return not self._holds(
            "SELECT 1 FROM entry WHERE differences IS NOT NULL OR action IS NOT NULL LIMIT 1"
        )

    def nameless(self, *, limit: int) -> list[Entry]:
        return self._select("WHERE state = 'pending' AND natural_key IS NULL ORDER BY n LIMIT ?", (limit,))

    def unread(self) -> list[tuple[str, str | None]]:
        theirs = (
            "SELECT existing.portfolio_id, existing.mms_id FROM existing LEFT JOIN identifier USING (portfolio_id) "
            "WHERE identifier.portfolio_id IS NULL"
        )
        ours = (
            "SELECT entry.portfolio_id, NULL FROM entry LEFT JOIN existing USING (portfolio_id) "
            "LEFT JOIN identifier USING (portfolio_id) WHERE entry.portfolio_id IS NOT NULL "
            "AND existing.portfolio_id IS NULL AND identifier.portfolio_id IS NULL"
        )
        return [(one, mms_id) for one, mms_id in self._records.query(f"{theirs} UNION {ours}")]

    def add_carriers(self, carriers: Iterable[tuple[Carrier, Sequence[str]]]) -> None:
        with self.together():
            self._records.put_all(
                "identifier",
                (
                    (
                        f"{one.portfolio_id} {value}",
                        value,
                        one.portfolio_id,
                        one.mms_id,
                        one.url,
                        int(one.suggested),
                    )
                    for one, identifiers in carriers
                    for value in identifiers or ("",)
                ),
            )

    def forget_carriers(self) -> None:
        with self.together():
            self._records.remove("identifier")

    def carriers(self, identifiers: Iterable[str]) -> dict[str, list[Carrier]]:
        found: dict[str, list[Carrier]] = {one: [] for one in identifiers}
        with self._records.mapped():
            for one in self._read_of("identifier", "value", found, order="ORDER BY pair"):
                found[one[1]].append(_carrier(one))
        return found

    def unbound(self, portfolio_ids: Iterable[str], *, but: int = 0, is_new: bool) -> list[str]:
        asked = list(portfolio_ids)
        bound = {
            one.portfolio_id
            for one in self._entries("portfolio_id", asked)
            if one.n != but and not one.is_replaced
        }
        there = {one[0] for one in self._read_of("existing", "portfolio_id", asked)} if is_new else ()
        return [one for one in asked if one not in bound and one not in there]

    def claimed(self, keys: Iterable[bytes], *, but: int) -> list[bytes]:
        asked = list(keys)
        claimed = {one.natural_key for one in self._entries("natural_key", asked) if one.n != but}
        return [key for key in asked if key in claimed]

    def _holds(self, query: str) -> bool:
        return bool(self._records.query(query))

    def counts(self) -> dict[tuple[State, str | None], int]:
        rows = self._records.query("SELECT state, action, COUNT(*) FROM entry GROUP BY state, action")
        with self._records.mapped():
            return {(state_of(state, action), action): count for state, action, count in rows}


def _may_have_made(entry: Entry) -> bool:
    """Whether something may have been made for a row that it does not stand for yet. Where it only
    may be sent, its intent is written down first.
    """
    is_sent = entry.state in (State.INTENT, State.UNKNOWN) or entry.lost_answers > 0
    is_unclear = entry.state is State.REVIEW and entry.action is None and bool(entry.differences)
    return entry.step is Step.CREATE and (is_sent or is_unclear)


def _says(entry: Entry) -> tuple[Any, ...]:
    """What a row names its title by, and asks of it."""
    return entry.payload, entry.source.identifiers if entry.source else ()


def _carrier(columns: Columns) -> Carrier:
    _, _, portfolio_id, mms_id, url, suggested = columns
    return Carrier(portfolio_id, mms_id, url, bool(suggested))


def state_of(state: str, action: str | None) -> State:
    """The state of rows that are counted, which no seal is compared for: what cannot be is damage."""
    if action in _ACTIONS and (found := next((one for one in State if one.value == state), None)):
        return found
    raise Damaged(f"where its rows stand ({state}, {action})")
