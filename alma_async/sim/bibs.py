"""The bib records of the simulated institution: just enough of them to carry portfolios, also as MARCXML or binary MARC (ISO 2709).

Decides whether an MMS id names a record, and how records are answered, one or up to 100 in a call. Unless only known records
count, any plausible MMS id (`99` and 6 to 17 digits) has a record, made on first use with a title. In MARC a record has control
number, author, title and identifiers.

Recorded of `GET /bibs?mms_id=`: records come in another order than their ids; ids without a record are left out, and one of
them alone gets an empty list; the total may be null; an id that is no number rejects the whole call (402204), and so do more
than 100; `issn` and `isbn` hold one value, the last of its field with its qualifier; the MARCXML in `anies` declares UTF-16
though it is a text inside JSON. Documented: `view=brief` leaves it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import attrs

from alma_async.sim.codes import Rejection
from alma_async.sim.fields import ROOT, Json

_PLAUSIBLE = re.compile(r"99[0-9]{6,17}", re.ASCII)
_KINDS = ("Journal of", "Annals of", "Archives of", "Advances in", "Handbook of", "Letters in")
_TOPICS = ("Applied Hydrology", "Comparative Law", "Medieval Music", "Polymer Science", "Rural Economics")
_SUBFIELD, _END_OF_FIELD, _END_OF_RECORD = "\x1f", "\x1e", "\x1d"
_LEADER = 24
_ENTRY = 12


@attrs.define
class Bib:
    """One title. ``issn`` is what portfolios show of it; the rest stands in the record alone."""

    mms_id: str
    title: str = attrs.field(kw_only=True)
    author: str = attrs.field(default="", kw_only=True)
    issn: str = attrs.field(default="", kw_only=True)
    isbns: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    """Each as the record has it, with its qualifier: `1929355734 (pbk.)`."""
    cluster_issns: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    """MARC 023 (recorded in 2026: the print ISSN of an electronic title)."""
    cancelled: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    """ISSN and ISBN that the record names as wrong: 022 $y and 020 $z."""
    other_forms: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    """ISSN and ISBN of the title's other forms: 776 $x and $z."""
    linked: str = attrs.field(default="", kw_only=True)
    """The id of its record in the Community Zone."""
    suppressed: bool = attrs.field(default=False, kw_only=True)


def _invented_title(mms_id: str) -> str:
    number = int(mms_id)
    return f"{_KINDS[number % len(_KINDS)]} {_TOPICS[number // 7 % len(_TOPICS)]} {mms_id[-5:]}"


@attrs.define
class Bibs:
    """All records by MMS id; a deleted one stays gone."""

    known_only: bool = False
    _records: dict[str, Bib | None] = attrs.field(factory=dict, init=False)

    def add(self, bib: Bib) -> Bib:
        self._records[bib.mms_id] = bib
        return bib

    def find(self, mms_id: str) -> Bib | None:
        if mms_id in self._records:
            return self._records[mms_id]
        if self.known_only or _PLAUSIBLE.fullmatch(mms_id) is None:
            return None
        return self.add(Bib(mms_id, title=_invented_title(mms_id)))

    def delete(self, mms_id: str) -> None:
        self._records[mms_id] = None


# --- as answers


def one_record(bibs: Bibs, mms_id: str, query: Mapping[str, str]) -> Json:
    """The answer to `GET /bibs/{mms_id}`."""
    bib = bibs.find(mms_id)
    if bib is None:
        raise Rejection("402203", mms_id)
    return _answered(bib, full=query.get("view") != "brief")


def many_records(bibs: Bibs, query: Mapping[str, str], *, total: bool = True, most: int = 100) -> Json:
    """The answer to `GET /bibs?mms_id=`."""
    asked = asked_for(query)
    for mms_id in asked:
        if not (mms_id.isascii() and mms_id.isdigit()):
            raise Rejection("402204", mms_id)
    if not 0 < len(asked) <= most:
        raise Rejection("402203", query.get("mms_id", "")[:100])
    found = [bib for mms_id in reversed(dict.fromkeys(asked)) if (bib := bibs.find(mms_id)) is not None]
    records = [_answered(bib, full=query.get("view") != "brief") for bib in found]
    return {"bib": records, "total_record_count": len(records) if total or not records else None}


def asked_for(query: Mapping[str, str]) -> list[str]:
    """The ids in `mms_id`."""
    named = query.get("mms_id", "")
    return [mms_id.strip() for mms_id in named.split(",")] if named else []


def _answered(bib: Bib, *, full: bool) -> Json:
    """A record in the shape recorded; links that an answer of many leaves empty are null."""
    numbers = [f"(EXLCZ){bib.linked}"] if bib.linked else None
    linked: dict[str, Any] = {"value": bib.linked, "type": "CZ"} if bib.linked else {"value": "", "type": ""}
    record: Json = {
        "mms_id": bib.mms_id,
        "record_format": "marc21",
        "linked_record_id": linked,
        "title": bib.title,
        "author": bib.author or None,
        "issn": bib.issn or None,
        "isbn": bib.isbns[-1] if bib.isbns else None,
        "network_number": numbers,
        "holdings": {"value": None, "link": f"{ROOT}/bibs/{bib.mms_id}/holdings"},
        "created_by": "import",
        "created_date": "2020-08-24Z",
        "last_modified_by": "System",
        "last_modified_date": "2024-02-29Z",
        "suppress_from_publishing": str(bib.suppressed).lower(),
        "suppress_from_external_search": "false",
        "originating_system": "ILS",
        "originating_system_id": bib.mms_id,
        "link": None,
    }
    if full:
        record["anies"] = [f'<?xml version="1.0" encoding="UTF-16"?>{_xml_record(bib)}']
    return record


# --- as MARC


def _is_issn(number: str) -> bool:
    return len(number.partition(" ")[0].replace("-", "")) == len("12345678")


def _fields(bib: Bib) -> list[tuple[str, list[tuple[str, str]]]]:
    """Tags, each with its subfields, without what is empty."""
    cancelled_issns = [("y", one) for one in bib.cancelled if _is_issn(one)]
    issn = [("a", bib.issn)] if bib.issn else []
    return [
        *(("020", [("a", one)]) for one in bib.isbns),
        *(("020", [("z", one)]) for one in bib.cancelled if not _is_issn(one)),
        *([("022", [*issn, *cancelled_issns])] if issn or cancelled_issns else []),
        *(("023", [("a", one)]) for one in bib.cluster_issns),
        *([("100", [("a", bib.author)])] if bib.author else []),
        *([("245", [("a", bib.title)])] if bib.title else []),
        *(
            ("776", [("i", "Other form:"), ("t", bib.title), ("x" if _is_issn(one) else "z", one)])
            for one in bib.other_forms
        ),
    ]


def as_xml(bibs: Iterable[Bib]) -> bytes:
    records = "".join(map(_xml_record, bibs))
    return f'<?xml version="1.0"?><collection xmlns="http://www.loc.gov/MARC21/slim">{records}</collection>'.encode()


def _xml_record(bib: Bib) -> str:
    fields = "".join(
        f'<datafield ind1=" " ind2=" " tag="{tag}">'
        + "".join(f'<subfield code="{code}">{escape(value)}</subfield>' for code, value in subfields)
        + "</datafield>"
        for tag, subfields in _fields(bib)
    )
    leader, number = "00000nam a2200000 a 4500", escape(bib.mms_id)
    return (
        f'<record><leader>{leader}</leader><controlfield tag="001">{number}</controlfield>{fields}</record>'
    )


def as_binary(bibs: Iterable[Bib]) -> bytes:
    return b"".join(_binary_record(bib) for bib in bibs)


def _binary_record(bib: Bib) -> bytes:
    """Leader, directory, fields: lengths and starts count bytes."""
    contents = [("001", bib.mms_id)]
    for tag, subfields in _fields(bib):
        contents.append((tag, "  " + "".join(f"{_SUBFIELD}{code}{value}" for code, value in subfields)))
    directory, data = "", b""
    for tag, content in contents:
        field = (content + _END_OF_FIELD).encode()
        directory += f"{tag}{len(field):04d}{len(data):05d}"
        data += field
    base = _LEADER + _ENTRY * len(contents) + 1
    leader = f"{base + len(data) + 1:05d}nam a22{base:05d} a 4500"
    return f"{leader}{directory}{_END_OF_FIELD}".encode() + data + _END_OF_RECORD.encode()
