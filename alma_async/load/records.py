"""The form of a journal's records on the disk: tables, columns, checksums, packing. Pure.

Each record ends in a seal (``_storage.sqlite``), and each table's number of records is kept, so
that one that is gone is missed. ``journal`` reads and writes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final

import attrs

from alma_async._http.json_text import LARGEST, dumps, loads
from alma_async._storage.sqlite import Damaged
from alma_async.errors import AlmaError
from alma_async.load.entries import (
    BeforeImage,
    Difference,
    Entry,
    Moment,
    Planned,
    Source,
    State,
    Step,
)
from alma_async.load.row import CLEAR, Clear, Coverage, Embargo, Period, Row

__all__ = [
    "COLUMNS",
    "FORMAT",
    "INSERT",
    "TABLES",
    "dump_row",
    "entry_of",
    "next_key",
    "packed",
    "row_of",
    "schema",
    "unpacked",
    "values_of",
]

FORMAT: Final = 15

# Table → its first column, which is its key, and its other columns; a seal follows in each.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "meta": ("name TEXT PRIMARY KEY", "value TEXT NOT NULL"),
    "entry": (
        *("n INTEGER PRIMARY KEY", "line INTEGER NOT NULL", "state TEXT NOT NULL", "step TEXT NOT NULL"),
        *("may_resend INTEGER NOT NULL", "mms_id TEXT"),
        *("natural_key BLOB", "payload BLOB", "portfolio_id TEXT", "key TEXT", "action TEXT"),
        *("lost_answers INTEGER NOT NULL", "code TEXT"),
        *("reason TEXT", "message TEXT", "tracking_id TEXT", "differences BLOB", "left BLOB", "availability TEXT"),
        *("source BLOB",),
        *("wall REAL", "mono REAL", "boot TEXT"),
    ),
    "asked": ("n INTEGER PRIMARY KEY", "body BLOB NOT NULL"),
    "before_image": ("n INTEGER PRIMARY KEY", "body BLOB NOT NULL"),
    "sent": ("n INTEGER PRIMARY KEY", "body BLOB NOT NULL"),
    "existing": ("portfolio_id TEXT PRIMARY KEY", "mms_id TEXT", "availability TEXT", "title TEXT"),
    "identifier": (
        *("pair TEXT PRIMARY KEY", "value TEXT NOT NULL", "portfolio_id TEXT NOT NULL", "mms_id TEXT NOT NULL"),
        *("url TEXT", "suggested INTEGER NOT NULL"),
    ),
}  # fmt: skip

_INDEXES: Final = """
CREATE UNIQUE INDEX entry_natural_key ON entry (natural_key) WHERE natural_key IS NOT NULL;
CREATE INDEX entry_open ON entry (state, n) WHERE state IN ('pending', 'intent', 'unknown');
CREATE INDEX entry_title ON entry (mms_id) WHERE mms_id IS NOT NULL;
CREATE INDEX entry_key ON entry (key) WHERE key IS NOT NULL;
CREATE INDEX entry_portfolio ON entry (portfolio_id) WHERE portfolio_id IS NOT NULL;
CREATE INDEX existing_mms ON existing (mms_id);
CREATE INDEX identifier_value ON identifier (value);
"""

_MOMENT: Final = ("wall", "mono", "boot")
# Fields of a row that are plain.
# of what a plan decided
_ENDED: Final = (
    *("state", "step", "mms_id", "portfolio_id", "action", "code", "reason", "message", "tracking_id"),
    "availability",
)
_NAMED: Final = ("mms_id", "portfolio_id", "partial", "keeps", "blank", "action", "surplus")
COLUMNS: Final = {table: tuple(column.split()[0] for column in columns) for table, columns in TABLES.items()}
_COLUMNS: Final = COLUMNS["entry"]
_PLAIN: Final = attrgetter(*(name for name in _COLUMNS if name not in _MOMENT))

_STATEMENT: Final = tuple(field.name for field in attrs.fields(Coverage))
_RAW: Final = -zlib.MAX_WBITS  # without zlib's header and checksum

# What most portfolios and differences say, so that a before-image takes some 400 bytes instead of
# 2,000. Part of the format.
_USUAL: Final = (
    b'[["material_type",""],["library",""],["po_line",""],["license",""],["proxy",""],["authentication_note",""],'
    b'["internal_description",""],["embargo","years=1 months=6 operator="],["coverage_in_use","","0"],["url","","https://www."],'
    b'["availability","","11"],["proxy_enabled","false",""],["public_note",""],'
    b'["coverage","from_year=1999 from_month=1 from_volume=1 from_issue=1 until_year=20"]]'
    b'"public_note":"","notes":[],"link":"https://api","description":"","desc":null},"material_type":{"value":"JOURNAL",'
    b'"desc":"Journal"},"library":{"value":"","link":null},"license":{"value":"","link":null},"po_line":{"value":"","link":null},'
    b'"interface":{"name":null},"group_settings":[],"pda":{"value":null},"access_type":{"value":"","desc":null},'
    b'"coverage_details":{"coverage_in_use":{"value":"0","desc":"Only local"},"global_date_coverage_parameters":[],'
    b'"local_date_coverage_parameters":[{"from_year":"2000","from_month":"","from_day":"","until_year":"","until_month":"",'
    b'"until_day":"","from_volume":"1","until_volume":"","from_issue":"1","until_issue":""}],"perpetual_date_coverage_parameters":[],'
    b'"global_embargo_information":null,"local_embargo_information":{"embargo_operator":{"value":""},"number_of_years":0,'
    b'"number_of_months":0}},"linking_details":{"url_type":{"value":"static"},"url_type_override":{"value":""},'
    b'"dynamic_url":"","dynamic_url_override":"","static_url":"jkey=https://www.","static_url_override":"","parser_parameters":"",'
    b'"parser_parameters_override":"","proxy_enabled":{"value":"false"},"proxy":""},"authentication_note":"",'
    b'"internal_description":"","availability":{"value":"11","desc":"Available"},"activation_date":"20","expected_activation_date":null,'
    b'"is_local":true,"is_standalone":false,"resource_metadata":{"mms_id":{"value":"99","link":"https://api"},"title":"Journal ",'
    b'"author":null,"issn":"","isbn":null,"publisher":null,"publication_place":null,"publication_year":null},'
    b'"electronic_collection":{"id":{"value":"61","link":null},"service":{"value":"62","link":null}},"id":"53'
)


# A window of 4 KB, which holds that and most objects: a larger one costs more to make than to fill.
_PACKER: Final = zlib.compressobj(9, wbits=-12, memLevel=4, zdict=_USUAL)


def schema() -> Iterator[str]:
    """The statements that make an empty journal.

    ``owner`` has one record: the journal's own random id, which secret seals the others, whose the
    journal is, the number of its last commit, and how many records each table has, which its
    triggers keep.
    """
    yield (
        "CREATE TABLE owner (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT, secret TEXT, boot TEXT, pid INTEGER, nonce BLOB, "
        "commits INTEGER NOT NULL DEFAULT 0, "
        + ", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in TABLES)
        + ")"
    )
    yield "INSERT INTO owner (one) VALUES (1)"
    for table, columns in TABLES.items():
        rowid = "" if columns[0].startswith("n ") else " WITHOUT ROWID"
        yield f"CREATE TABLE {table} ({', '.join(columns)}, seal BLOB NOT NULL){rowid}"
        for event, by in (("INSERT", "+ 1"), ("DELETE", "- 1")):
            body = f"UPDATE owner SET {table} = {table} {by};"  # noqa: S608 - our own names
            yield f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} BEGIN {body} END"
    yield from filter(str.strip, _INDEXES.split(";"))


def _insert(table: str) -> str:
    key, *others = (column.split()[0] for column in (*TABLES[table], "seal"))
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    marks = ", ".join("?" * (len(others) + 1))
    return f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {changes}"  # noqa: S608 - our own names


# writes one record, over what is there under its key
INSERT: Final = {table: _insert(table) for table in TABLES}


def storable(value: Any) -> Any:
    """A value as both stores keep it: half a character in a text is spelled out."""
    if isinstance(value, str) and not value.isascii():
        return value.encode(errors="backslashreplace").decode()
    return value


def values_of(entry: Entry) -> tuple[Any, ...]:
    """An entry as columns: enums by value, differences as packed JSON, a moment as its three parts."""
    differences = (
        packed(dumps([attrs.astuple(d) for d in entry.differences], lone_surrogates=True))
        if entry.differences
        else None
    )
    n, line, state, step, may_resend, *others, _, left, availability, source = _PLAIN(entry)
    said = (
        dumps((source.lines, source.title, source.identifiers, source.warnings), lone_surrogates=True)
        if source
        else None
    )
    moment = entry.sent_by and (entry.sent_by.wall, entry.sent_by.mono, entry.sent_by.boot)
    return (
        n,
        line,
        state.value,
        step.value,
        int(may_resend),
        *others,
        differences,
        left,
        availability,
        said,
        *(moment or (None, None, None)),
    )


def entry_of(columns: tuple[Any, ...]) -> Entry:
    """The entry that a record's columns hold.

    :raises Damaged: where they hold none.
    """
    values = dict(zip(_COLUMNS, columns, strict=True))
    try:
        return _entry(values)
    except (ValueError, TypeError, LookupError, AlmaError):
        pass
    raise Damaged(f"a record of entry ({str(columns[0])[:40]})")


def _entry(values: dict[str, Any]) -> Entry:
    wall, mono, boot = (values.pop(part) for part in _MOMENT)
    values["state"], values["step"] = State(values["state"]), Step(values["step"])
    values["may_resend"] = bool(values["may_resend"])
    values["sent_by"] = None if wall is None else Moment(wall=wall, mono=mono, boot=boot)
    differences = values["differences"]
    values["differences"] = (
        tuple(Difference(*d) for d in loads(unpacked(differences), lone_surrogates=True))
        if differences
        else ()
    )
    values["source"] = _source(loads(values["source"], lone_surrogates=True)) if values["source"] else None
    return Entry(**values)


def _source(parts: list[Any]) -> Source:
    lines, title, identifiers, warnings = parts
    return Source(
        tuple(map(int, lines)), title and str(title), tuple(map(str, identifiers)), tuple(map(str, warnings))
    )


def dump_row(row: Row) -> bytes:
    """What a row asks for, as JSON of the fields that it names; what a person knows it by is in its
    entry. ``null`` empties one.
    """
    asked: dict[str, Any] = {name: value for name in _NAMED if (value := getattr(row, name))}
    if row.values:
        asked["values"] = {name: None if value is CLEAR else value for name, value in row.values.items()}
    if row.coverage is not None:
        asked["coverage"] = None if isinstance(row.coverage, Clear) else [_given(one) for one in row.coverage]
    if row.embargo is not None:
        walls = () if isinstance(row.embargo, Clear) else (row.embargo.last, row.embargo.except_last)
        asked["embargo"] = [wall and attrs.astuple(wall) for wall in walls] or None
    if row.before_image is not None:
        before_image = attrs.asdict(row.before_image, recurse=False)
        left, body = row.before_image.left, row.before_image.body
        before_image |= {"left": left and left.hex(), "body": body and body.decode()}
        asked["before_image"] = before_image | {
            "differences": [attrs.astuple(one) for one in row.before_image.differences]
        }
    if row.planned is not None:
        asked["planned"] = _dumped(row.planned)
    return dumps(asked, lone_surrogates=True)


def _dumped(planned: Planned) -> dict[str, Any]:
    """A plan's word on a row; the keys and the source of its entry are the row's own."""
    ended = planned.ended
    said = {name: getattr(ended, name) for name in _ENDED}
    return {
        "at": planned.at,
        "ended": said | {"state": ended.state.value, "step": ended.step.value},
        "differences": [attrs.astuple(one) for one in ended.differences],
        "seen": planned.seen,
        "carriers": planned.carriers,
        "before": planned.before and planned.before.decode(),
    }


def _planned(said: dict[str, Any], entry: Entry) -> Planned:
    ended = said["ended"] | {"state": State(said["ended"]["state"]), "step": Step(said["ended"]["step"])}
    before = said["before"]
    return Planned(
        at=float(said["at"]),
        ended=Entry(
            n=entry.n,
            line=entry.line,
            differences=tuple(Difference(*one) for one in said["differences"]),
            **ended,
        ),
        seen=tuple((str(one), str(code)) for one, code in said["seen"]),
        carriers=tuple(map(str, said["carriers"])),
        before=before and before.encode(),
    )


def _given(parts: Coverage) -> dict[str, str]:
    return {name: part for name in _STATEMENT if (part := getattr(parts, name)) is not None}


def row_of(asked: bytes, entry: Entry) -> Row:
    """The row that was dumped, of this entry.

    :raises Damaged: where it is none.
    """
    try:
        return _row_of(loads(asked, lone_surrogates=True), entry)
    except (ValueError, TypeError, LookupError, AttributeError, AlmaError):
        pass
    raise Damaged(f"what row {entry.n} asks for")


def _row_of(asked: dict[str, Any], entry: Entry) -> Row:
    source = entry.source or Source(lines=(entry.line,))
    more: dict[str, Any] = {name: asked[name] for name in _NAMED if name in asked}
    if "values" in asked:
        more["values"] = {
            name: CLEAR if value is None else str(value) for name, value in asked["values"].items()
        }
    if "coverage" in asked:
        coverage = asked["coverage"]
        more["coverage"] = CLEAR if coverage is None else tuple(Coverage(**one) for one in coverage)
    if "embargo" in asked:
        walls = asked["embargo"]
        last, but = [wall and Period(*wall) for wall in walls or (None, None)]
        more["embargo"] = CLEAR if walls is None else Embargo(last=last, except_last=but)
    if "before_image" in asked:
        before_image = asked["before_image"]
        left, body = before_image["left"], before_image["body"]
        before_image |= {"left": left and bytes.fromhex(left), "body": body and body.encode()}
        more["before_image"] = BeforeImage(
            **before_image | {"differences": tuple(Difference(*one) for one in before_image["differences"])}
        )
    if "planned" in asked:
        more["planned"] = _planned(asked["planned"], entry)
    return Row(
        line=entry.line, key=entry.key, lines=source.lines, title=source.title, identifiers=source.identifiers,
        warnings=source.warnings,
        **more | {name: tuple(more.get(name, ())) for name in ("keeps", "blank")},
    )  # fmt: skip


def next_key(key: bytes | None) -> bytes:
    """The key of a row that repeats the one with this key and is meant to be one of its own."""
    return blake2b(key or b"", digest_size=16, person=b"alma_async.again").digest()


def packed(body: bytes) -> bytes:
    """A before-image or differences, small. The record's seal covers it."""
    packer = _PACKER.copy()
    return packer.compress(body) + packer.flush()


def unpacked(small: bytes) -> bytes:
    """What was packed.

    :raises Damaged: where it is not, or would become larger than any object.
    """
    unpacker = zlib.decompressobj(wbits=_RAW, zdict=_USUAL)
    try:
        body = unpacker.decompress(small, LARGEST)
    except (zlib.error, TypeError):
        body = b""
    if not unpacker.eof:
        raise Damaged("a packed value")
    return body
