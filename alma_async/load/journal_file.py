"""The tables of a journal: what one statement reads and writes. Synchronous.

Leaves who may open the file and when it is believed to ``owned_database``, the thread and the
grouping of commits to ``sqlite_journal``, the form of a record to ``records``, and what all of it
means to ``journal``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self, get_args

import attrs

from alma_async._storage.sqlite import (
    Columns,
    Damaged,
)
from alma_async.load import records
from alma_async.load.entries import KNOWN, Entry, Moment, State
from alma_async.load.facts import SURPLUS
from alma_async.load.journal import (
    SLICE,
    Held,
    Ingested,
    Kept,
    Listed,
)
from alma_async.load.matching import Carrier, Title
from alma_async.load.owned_database import OwnedDatabase
from alma_async.load.reasons import EndReason
from alma_async.load.row import Row

__all__ = ["JournalFile"]

# what a row may have done
_ACTIONS: Final = (None, "created", "updated", "unchanged", "deleted", KNOWN)
_MOST_VALUES: Final = 500  # of one statement; older SQLite takes 999
_MADE: Final = "SELECT 1 FROM entry WHERE portfolio_id = ? AND action = 'created'"
_LEFT: Final = (
    "WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.portfolio_id = existing.portfolio_id) "
    "AND (?1 IS NULL OR availability IS NOT ?1)"
)
_UNCLEAR: Final = (
    "SELECT mms_id FROM entry WHERE mms_id IS NOT NULL AND portfolio_id IS NULL "
    "AND (state <> 'duplicate' OR key IS NOT NULL)"
)
_CREATING: Final = "SELECT 1 FROM entry WHERE step = 'create' AND mms_id = "


class JournalFile:
    """One open file. What its methods do is said by ``journal.Journal``, in whose words they are
    named; all are short, and what they changed is on the disk when they return.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open or create, and own it from now on.

        :param reading: nothing is written into it.
        :raises: what ``OwnedDatabase`` raises
        """
        self.path = path
        self._file = OwnedDatabase(path, reading=reading)
        self._db = self._file.db

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the lock."""
        self._file.close()

    def check(self) -> None:
        self._file.check()

    def together(self) -> AbstractContextManager[None]:
        """All or nothing, and on the disk when it ends."""
        return self._file.together()

    # --- what the load is about, and its rows

    def meta(self) -> dict[str, str]:
        with self._file.mapped():
            return dict(self._file.read("meta"))

    def note(self, facts: Mapping[str, str]) -> None:
        with self.together():
            for name, value in facts.items():
                self._file.put("meta", name, value)

    def clear(self) -> None:
        with self.together():
            for table in ("entry", *get_args(Kept)):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names

    def ingest(self, rows: Iterable[Ingested], *, repeats: bool = False) -> None:
        rows = list(rows)
        asked = ((one.entry.n, records.packed(records.dump_row(one.row))) for one in rows if one.row)
        before = ((one.entry.n, records.packed(one.before)) for one in rows if one.before is not None)
        with self.together():
            if self._are_new([one.entry for one in rows]):
                self._file.put_all("entry", (records.values_of(one.entry) for one in rows))
            else:
                for one in rows:
                    self._add(one.entry, repeats=repeats)
            self._file.put_all("asked", asked)
            self._file.put_all("before_image", before)

    def _are_new(self, entries: Sequence[Entry]) -> bool:
        """Whether none of these rows has a key that another one has, here or in the journal."""
        for column in ("natural_key", "key"):
            keys = [records.storable(key) for one in entries if (key := getattr(one, column)) is not None]
            if len(set(keys)) < len(keys):
                return False
            for part in range(0, len(keys), _MOST_VALUES):
                some = tuple(keys[part : part + _MOST_VALUES])
                marks = ", ".join("?" * len(some))
                if self._holds(f"SELECT 1 FROM entry WHERE {column} IN ({marks}) LIMIT 1", some):  # noqa: S608 - our own names
                    return False
        return True

    def amend(self, entries: Iterable[Entry], *, existing: Listed = (), facts: Mapping[str, str]) -> None:
        with self.together():
            for entry in entries:
                self.write(entry)
            self.add_existing(existing)
            self.note(facts)

    def _add(self, entry: Entry, *, repeats: bool) -> None:
        known, why = self._of_key(entry.key), EndReason.DUPLICATE
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
        return {key: entry for key in keys if (entry := self.of_natural_key(key)) is not None}

    def of_natural_key(self, key: bytes | None) -> Entry | None:
        """The row of this natural key."""
        found = self._select("WHERE natural_key = ?", (key,)) if key is not None else []
        return found[0] if found else None

    def _of_key(self, key: str | None) -> Entry | None:
        """The row of which the caller gave this key."""
        found = (
            self._select("WHERE key = ? ORDER BY n LIMIT 1", (records.storable(key),))
            if key is not None
            else []
        )
        return found[0] if found else None

    def of_portfolios(self, portfolio_ids: Collection[str]) -> list[Entry]:
        where = "WHERE portfolio_id = ?"
        return [entry for one in portfolio_ids for entry in self._select(where, (one,))]

    def write(self, entry: Entry) -> None:
        """Write down where one row stands now, in place of what was there."""
        self._file.has_sent = self._file.has_sent or entry.state is State.INTENT
        self._file.put("entry", *records.values_of(entry))

    def keep(self, n: int, body: bytes, *, of: Kept = "before_image") -> None:
        self._file.put(of, n, records.packed(body))

    def kept(self, ns: Collection[int], *, of: Kept = "before_image") -> dict[int, bytes]:
        return {n: body for n in ns if (body := self.body(n, of=of)) is not None}

    def body(self, n: int, *, of: Kept = "before_image") -> bytes | None:
        """What was kept of one row."""
        with self._file.mapped():
            found = list(self._file.read(of, "WHERE n = ?", (n,)))
            return records.unpacked(found[0][1]) if found else None

    def add_existing(self, portfolios: Listed) -> None:
        with self.together():
            for one in (Held(*listed) for listed in portfolios):
                if not self._holds(_MADE, one[:1]) and not self._holds(f"{_CREATING} ?", one[1:2]):
                    self._file.put("existing", *one)

    def forget_existing(self) -> None:
        with self.together():
            query = f"DELETE FROM existing WHERE NOT EXISTS ({_CREATING} existing.mms_id)"  # noqa: S608 - our own words
            self._db.execute(query)

    def settle_known(self, *, compared: bool) -> None:
        stands = (
            "SELECT 1 FROM existing WHERE existing.portfolio_id = entry.portfolio_id AND (existing.availability IS NULL "
            "OR entry.availability IS NULL OR existing.availability = entry.availability)"
        )
        known = "WHERE state = 'pending' AND action = ?"
        with self.together():
            drifted = self._select(f"{known} AND NOT EXISTS ({stands})", (KNOWN,)) if compared else []
            for entry, row in self.rows(drifted):
                again = attrs.evolve(entry, action=None, reason=None, availability=None)
                self.write(attrs.evolve(again, portfolio_id=row.portfolio_id))
            for entry in self._select(known, (KNOWN,)):
                self.write(attrs.evolve(entry, state=State.DONE))

    def existing(self, mms_ids: Collection[str], portfolio_ids: Collection[str]) -> list[Held]:
        found = dict[str, Held]()
        with self._file.mapped():
            for column, values in (("mms_id", mms_ids), ("portfolio_id", portfolio_ids)):
                for value in values:
                    for one in self._file.read("existing", f"WHERE {column} = ?", (value,)):
                        found[one[0]] = Held._make(one)
        return list(found.values())

    def identifiers(self, *, after: str, limit: int) -> list[tuple[str, Carrier, str]]:
        with self._file.mapped():
            found = self._file.read("identifier", "WHERE pair > ? ORDER BY pair LIMIT ?", (after, limit))
            return [(one[0], _carrier(one), one[1]) for one in found]

    def held(self) -> int:
        with self._file.mapped():
            return int(self._db.execute("SELECT COUNT(*) FROM existing").fetchone()[0])

    def fewest_left(self, *, inactive: str | None) -> int:
        """How many of what the service held the rows leave over at least: of each title, those that
        stand for no row by their ids, but for one for each row that may mean one of them.
        """
        rows = "SELECT mms_id, COUNT(*) AS n FROM entry WHERE portfolio_id IS NULL AND state <> 'duplicate' GROUP BY mms_id"
        held = f"SELECT mms_id, COUNT(*) AS n FROM existing {_LEFT} GROUP BY mms_id"  # noqa: S608 - our own words
        query = f"SELECT SUM(MAX(held.n - COALESCE(rows.n, 0), 0)) FROM ({held}) held LEFT JOIN ({rows}) rows USING (mms_id)"  # noqa: S608
        with self._file.mapped():
            return int(self._db.execute(query, (inactive,)).fetchone()[0] or 0)

    def add_left(
        self, make: Callable[[int, Held], Ingested], *, inactive: str | None, most: int | None
    ) -> int:
        """Add a row for each portfolio that the service held and no row stands for, unless they are
        too many. A title of which a row stands for no portfolio that is known, or repeats a key of
        the caller's, keeps all that it has.
        """
        unclear = f"{_LEFT} AND (mms_id IS NULL OR mms_id NOT IN ({_UNCLEAR})) ORDER BY portfolio_id"
        with self.together():
            found = [Held._make(one) for one in self._file.read("existing", unclear, (inactive,))]
            if most is not None and len(found) > most:
                return len(found)
            (last,) = self._db.execute("SELECT COALESCE(MAX(n), 0) FROM entry").fetchone()
            for first in range(0, len(found), SLICE):
                part = enumerate(found[first : first + SLICE], last + 1 + first)
                self.ingest(make(n, one) for n, one in part)
            self.note({SURPLUS: str(len(found))})
        return len(found)

    # --- the work

    def orphaned(self, now: Moment) -> int:
        """Rows whose sender died between intent and outcome become UNKNOWN; how many. The
        lock proves that it is dead.

        Its last byte left before the send's deadline and before now, so the quarantine counts from
        the earlier of the two. After a reboot no clock can be believed to say how long ago that
        was, so the quarantine begins anew.
        """
        found = self._sent(now)
        with self.together():
            for entry, sent_by in found:
                self.write(attrs.evolve(entry, state=State.UNKNOWN, sent_by=sent_by))
        return sum(entry.state is State.INTENT for entry, _ in found)

    def last_sent(self, ended: Moment) -> float | None:
        return max((sent_by.wall for _, sent_by in self._sent(ended)), default=None)

    def _sent(self, ended: Moment) -> list[tuple[Entry, Moment]]:
        """The rows of unknown outcome, each with the last moment at which a process that had ended
        by then may have sent it.
        """
        found = self._select("WHERE state IN ('intent', 'unknown')", ())
        return [(entry, _earlier(entry.sent_by, ended)) for entry in found]

    def open_entries(self, *, after: int, limit: int) -> list[Entry]:
        return self._select(
            "WHERE state IN ('pending', 'intent', 'unknown') AND n > ? ORDER BY n LIMIT ?", (after, limit)
        )

    def entries(self, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        return self._select("WHERE n > ? ORDER BY n LIMIT ?", (after, limit))

    def rows(self, entries: Iterable[Entry]) -> list[tuple[Entry, Row]]:
        found = [(entry, self.body(entry.n, of="asked")) for entry in entries]
        with self._file.mapped():
            return [(entry, records.row_of(asked, entry)) for entry, asked in found if asked is not None]

    def entries_of(self, ns: Collection[int]) -> list[Entry]:
        return [self.get(n) for n in ns]

    def get(self, n: int) -> Entry:
        """One row."""
        return self._select("WHERE n = ?", (n,))[0]

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Entry]:
        with self._file.mapped():
            return [records.entry_of(columns) for columns in self._file.read("entry", where, values)]

    def of_title(self, mms_id: str, *, n: int) -> Title:
        with self._file.mapped():
            query = "SELECT portfolio_id FROM existing WHERE mms_id = ? ORDER BY portfolio_id"
            existing = [row[0] for row in self._db.execute(query, (mms_id,))]
            query = "SELECT COUNT(*) FROM entry WHERE mms_id = ? AND state <> 'duplicate'"
            count = self._db.execute(query, (mms_id,)).fetchone()[0]
        free = [found for found in existing if not self.bound(found, but=n)]
        return Title(rows=count, existing=tuple(free), taken=tuple(f for f in existing if f not in free))

    def is_untouched(self) -> bool:
        return not self._holds("SELECT 1 FROM entry WHERE differences IS NOT NULL OR action IS NOT NULL", ())

    def nameless(self, *, limit: int) -> list[Entry]:
        return self._select("WHERE state = 'pending' AND natural_key IS NULL ORDER BY n LIMIT ?", (limit,))

    def unread(self) -> list[tuple[str, str | None]]:
        query = (
            "SELECT portfolio_id, mms_id FROM existing WHERE portfolio_id NOT IN (SELECT portfolio_id FROM identifier) UNION "
            "SELECT portfolio_id, NULL FROM entry WHERE portfolio_id IS NOT NULL AND portfolio_id NOT IN "
            "(SELECT portfolio_id FROM existing UNION SELECT portfolio_id FROM identifier)"
        )
        with self._file.mapped():
            return list(self._db.execute(query))

    def add_carriers(self, carriers: Iterable[tuple[Carrier, Sequence[str]]]) -> None:
        with self.together():
            for carrier, identifiers in carriers:
                for value in identifiers or ("",):
                    pair = f"{carrier.portfolio_id} {value}"
                    columns = (carrier.portfolio_id, carrier.mms_id, carrier.url, int(carrier.suggested))
                    self._file.put("identifier", pair, value, *columns)

    def forget_carriers(self) -> None:
        with self.together():
            self._db.execute("DELETE FROM identifier")

    def carriers(self, identifiers: Iterable[str]) -> dict[str, list[Carrier]]:
        with self._file.mapped():
            where = "WHERE value = ? ORDER BY pair"
            return {
                one: list(map(_carrier, self._file.read("identifier", where, (one,)))) for one in identifiers
            }

    def unbound(self, portfolio_ids: Iterable[str], *, but: int = 0, is_new: bool) -> list[str]:
        free = (one for one in portfolio_ids if not self.bound(one, but=but))
        return [one for one in free if not (is_new and self.was_there(one))]

    def was_there(self, portfolio_id: str) -> bool:
        """Whether the service held this portfolio before the load."""
        return self._holds("SELECT 1 FROM existing WHERE portfolio_id = ?", (portfolio_id,))

    def bound(self, portfolio_id: str, *, but: int = 0) -> bool:
        """Whether another row than ``but`` stands for this portfolio."""
        return self._holds("SELECT 1 FROM entry WHERE portfolio_id = ? AND n <> ?", (portfolio_id, but))

    def claimed(self, keys: Iterable[bytes], *, but: int) -> list[bytes]:
        query = "SELECT 1 FROM entry WHERE natural_key = ? AND n <> ?"
        return [key for key in keys if self._holds(query, (key, but))]

    def _holds(self, query: str, values: tuple[Any, ...]) -> bool:
        with self._file.mapped():
            return self._db.execute(query, values).fetchone() is not None

    def counts(self) -> dict[tuple[State, str | None], int]:
        with self._file.mapped():
            rows = self._db.execute("SELECT state, action, COUNT(*) FROM entry GROUP BY state, action")
            return {(_state(state, action), action): count for state, action, count in rows}


def _carrier(columns: Columns) -> Carrier:
    _, _, portfolio_id, mms_id, url, suggested = columns
    return Carrier(portfolio_id, mms_id, url, bool(suggested))


def _earlier(sent_by: Moment | None, now: Moment) -> Moment:
    """The earlier of the two; now, where no clock says which it is."""
    if sent_by is None or sent_by.boot != now.boot or sent_by.mono > now.mono:
        return now
    return sent_by


def _state(state: str, action: str | None) -> State:
    """The state of rows that are counted, which no seal is compared for: what cannot be is damage."""
    if action in _ACTIONS and (found := next((one for one in State if one.value == state), None)):
        return found
    raise Damaged(f"where its rows stand ({state}, {action})")
