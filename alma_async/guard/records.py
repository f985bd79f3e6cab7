"""The records of a ledger as rows of tables, each with a seal (``_storage.sqlite``). Knows SQL, but no driver."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Final, Protocol, TypeAlias

import attrs

from alma_async._storage.sqlite import Columns, Damaged, Seal
from alma_async.guard.allowance import Looks
from alma_async.guard.book import Block, Book, Run, Waiter
from alma_async.guard.lifecycle import COUNTS, OCCUPIES
from alma_async.guard.server_clock import ServerClock

__all__ = ["Record", "load", "save"]

Record: TypeAlias = Run | Waiter | Block | ServerClock | Looks


class _Connection(Protocol):
    def execute(self, sql: str, parameters: Any = ..., /) -> Iterable[Columns]: ...


# What a column holds by the field's annotation; enums and booleans are judged by their converters.
_KINDS: Final[Mapping[str, Any]] = {
    "str": str,
    "str | None": (str, NoneType),
    "float": float,
    "float | None": (float, NoneType),
}


class _Part:
    """One table: the class of its records, their key, which rows can matter, and the statements for them."""

    def __init__(self, kind: type[Record], key: str, where: str = "") -> None:
        table = kind.__name__.lower()
        self.kind, self.key, self.where = kind, key, where
        self.columns = tuple(field.name for field in attrs.fields(kind))
        self.kinds = tuple(_KINDS.get(str(field.type), object) for field in attrs.fields(kind))
        names = f"{', '.join(self.columns)}, seal"
        places = ", ".join("?" * (len(self.columns) + 1))
        self.select = f"SELECT {names} FROM {table} {where}"  # noqa: S608 - these are all our own names
        self.insert = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({places})"  # noqa: S608
        self.delete = f"DELETE FROM {table} WHERE {key} = ?"  # noqa: S608


_OPEN: Final = ", ".join(f"'{state.value}'" for state in sorted(OCCUPIES, key=lambda state: state.value))
_OVER: Final = ", ".join(
    f"'{state.value}'" for state in sorted(COUNTS - OCCUPIES, key=lambda state: state.value)
)
_PARTS: Final = {
    "runs": _Part(
        Run,
        "key",
        f"WHERE state IN ({_OPEN}) OR key = :key OR (latest_start > :since AND state IN ({_OVER}))",
    ),
    "waiters": _Part(Waiter, "key"),
    "blocks": _Part(Block, "job_id"),
    "clocks": _Part(ServerClock, "key"),
    "looks": _Part(Looks, "key"),
}


def load(
    db: _Connection, seal: Seal, since: float, key: str | None, known: Mapping[Columns, Record]
) -> tuple[Book, dict[Columns, Record]]:
    """The book, and its records by row: a row that was read before is a record that was checked before."""
    book, read = Book(), {}
    for name, part in _PARTS.items():
        records = getattr(book, name)
        for row in db.execute(part.select, {"since": since, "key": key} if part.where else {}):
            record = known.get(row) or _record(part, row, seal)
            read[row] = records[getattr(record, part.key)] = record
    return book, read


def _record(part: _Part, row: Columns, seal: Seal) -> Record:
    *values, sealed = row
    if sealed != seal(map(_number, values)):
        raise Damaged("a record does not fit its seal")
    try:
        record = part.kind(**dict(zip(part.columns, values, strict=True)))
        written = [_plain(getattr(record, column)) for column in part.columns]
        if written == values and all(map(isinstance, values, part.kinds)):
            return record
    except (TypeError, ValueError):
        pass
    raise Damaged("a record is none that was ever written")


def save(db: _Connection, seal: Seal, before: Book, after: Book) -> None:
    """Write what was changed."""
    for name, part in _PARTS.items():
        _save(db, part, seal, getattr(before, name), getattr(after, name))


def _save(
    db: _Connection, part: _Part, seal: Seal, before: Mapping[str, Record], after: Mapping[str, Record]
) -> None:
    for key in before.keys() - after.keys():
        db.execute(part.delete, (key,))
    for key, record in after.items():
        if before.get(key) is not record and before.get(key) != record:
            values = [_plain(getattr(record, column)) for column in part.columns]
            db.execute(part.insert, [*values, seal(map(_number, values))])


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return int(value) if isinstance(value, bool) else value


def _number(value: Any) -> Any:
    """A number as any column may give it back."""
    return float(value) if isinstance(value, (int, float)) else value
