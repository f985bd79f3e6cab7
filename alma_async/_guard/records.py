"""How a ledger's records are rows of tables, in whatever database keeps them.

Decides which rows can matter now, and whether a row can be believed: each carries a seal
(``_storage.sqlite.Seal``), and one that nothing here can have written is damage, whatever its seal
says. Leaves transactions and connections to the ledgers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Final, Protocol, TypeAlias

import attrs

from alma_async._guard.server_clock import ServerClock
from alma_async._guard.state import COUNTS, EVERY_JOB, OCCUPIES, Block, Book, Polls, Run, Waiter, Why
from alma_async._storage.failures import Damaged
from alma_async._storage.seal import Seal
from alma_async._storage.sqlite import Columns

__all__ = ["Record", "Records", "lost"]

Record: TypeAlias = Run | Waiter | Block | ServerClock | Polls


class _Connection(Protocol):
    def execute(self, statement: str, values: Any = ..., /) -> Iterable[Columns]: ...


# What a column holds by the field's annotation; enums and booleans are judged by their converters.
_KINDS: Final[Mapping[str, Any]] = {
    "str": str,
    "str | None": (str, NoneType),
    "float": float,
    "float | None": (float, NoneType),
}


class _Part:
    """One table: the class of its records, their key, and the statements for them."""

    def __init__(self, kind: type[Record], key: str, records: Records, where: str = "") -> None:
        self.kind, self.key, self.narrowed = kind, key, bool(where)
        self.columns = tuple(field.name for field in attrs.fields(kind))
        self.kinds = tuple(_KINDS.get(str(field.type), object) for field in attrs.fields(kind))
        table, mark = f"{records.place}{kind.__name__.lower()}", records.mark
        own, keys = (f"institution = {mark}", f"institution, {key}") if records.owner else ("", key)
        chosen = " AND ".join(each for each in (own, f"({where})" if where else "") if each)
        # "offset" is a word of PostgreSQL's
        names = ", ".join(f'"{name}"' for name in (*self.columns, "seal"))
        values = ", ".join([mark] * (len(self.columns) + 1 + bool(own)))
        changed = ", ".join(f'"{name}" = excluded."{name}"' for name in (*self.columns, "seal"))
        self.select = f"SELECT {names} FROM {table}" + (f" WHERE {chosen}" if chosen else "")  # noqa: S608 - our own names
        self.insert = (
            f"INSERT INTO {table} ({'institution, ' if own else ''}{names}) VALUES ({values}) "  # noqa: S608
            f"ON CONFLICT ({keys}) DO UPDATE SET {changed}"
        )
        self.delete = f"DELETE FROM {table} WHERE {f'{own} AND ' if own else ''}{key} = {mark}"  # noqa: S608


def _states(states: Iterable[Any]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(state.value for state in states))


class Records:
    """The statements for one kind of database.

    :param place: the schema that the tables are in
    :param mark: a value's place in a statement
    :param owner: the institution whose rows these are, where the tables hold those of several
    """

    def __init__(self, *, place: str = "", mark: str = "?", owner: str = "") -> None:
        self.place, self.mark, self.owner = place, mark, owner
        self._own: tuple[str, ...] = (owner,) if owner else ()
        matter = f"state IN ({_states(OCCUPIES)}) OR key = {mark}"
        recent = f"latest_start > {mark} AND state IN ({_states(COUNTS - OCCUPIES)})"
        self._parts = {
            "runs": _Part(Run, "key", self, f"{matter} OR ({recent})"),
            "waiters": _Part(Waiter, "key", self),
            "blocks": _Part(Block, "job_id", self),
            "clocks": _Part(ServerClock, "key", self),
            "polls": _Part(Polls, "key", self),
        }

    def load(
        self, db: _Connection, seal: Seal, since: float, key: str | None, known: Mapping[Columns, Record]
    ) -> tuple[Book, dict[Columns, Record]]:
        """The book, and its records by row: a row that was read before is a record that was checked
        before.

        :param since: runs that ended and started before it are not read
        :param key: of a run that is read all the same
        :raises Damaged: where a record cannot be believed.
        """
        book, read = Book(), {}
        for name, part in self._parts.items():
            records = getattr(book, name)
            for row in db.execute(part.select, (*self._own, key, since) if part.narrowed else self._own):
                record = known.get(row) or self._record(part, row, seal)
                read[row] = records[getattr(record, part.key)] = record
        return book, read

    def save(self, db: _Connection, seal: Seal, before: Book, after: Book) -> None:
        """Write what was changed."""
        for name, part in self._parts.items():
            old: Mapping[str, Record] = getattr(before, name)
            new: Mapping[str, Record] = getattr(after, name)
            for key in old.keys() - new.keys():
                db.execute(part.delete, (*self._own, key))
            for key, record in new.items():
                if old.get(key) is not record and old.get(key) != record:
                    values = [_plain(getattr(record, column)) for column in part.columns]
                    db.execute(part.insert, [*self._own, *values, self._sealed(seal, values)])

    def _record(self, part: _Part, row: Columns, seal: Seal) -> Record:
        *values, sealed = row
        if sealed != self._sealed(seal, values):
            raise Damaged("a record does not fit its seal")
        try:
            record = part.kind(**dict(zip(part.columns, values, strict=True)))
            written = [_plain(getattr(record, column)) for column in part.columns]
            if written == values and all(map(isinstance, values, part.kinds)):
                return record
        except (TypeError, ValueError):
            pass
        raise Damaged("a record is none that was ever written")

    def _sealed(self, seal: Seal, values: Iterable[Any]) -> bytes:
        return seal((*self._own, *map(_number, values)))


def lost() -> Book:
    """What a new ledger begins with in place of one that was lost: no job may start yet."""
    return Book(blocks={EVERY_JOB: Block(job_id=EVERY_JOB, until=math.inf, why=Why.LOST)})


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")  # which PostgreSQL keeps in no text
    return int(value) if isinstance(value, bool) else value


def _number(value: Any) -> Any:
    """A number as any column may give it back."""
    return float(value) if isinstance(value, (int, float)) else value
