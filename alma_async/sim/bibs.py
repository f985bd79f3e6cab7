"""The bib records of the simulated institution: just enough of them to carry portfolios, also as MARCXML or binary MARC (ISO 2709).

Decides whether an MMS id names a record; the error code is the caller's, since it differs by path. Unless only known records
count, any plausible MMS id (`99` and 6 to 17 digits) has a record, made on first use with a title. In MARC a record has control
number, author, title and ISSN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

import attrs

_PLAUSIBLE = re.compile(r"99[0-9]{6,17}", re.ASCII)
_KINDS = ("Journal of", "Annals of", "Archives of", "Advances in", "Handbook of", "Letters in")
_TOPICS = ("Applied Hydrology", "Comparative Law", "Medieval Music", "Polymer Science", "Rural Economics")
_SUBFIELD, _END_OF_FIELD, _END_OF_RECORD = "\x1f", "\x1e", "\x1d"
_LEADER = 24
_ENTRY = 12


@attrs.define
class Bib:
    """One title."""

    mms_id: str
    title: str = attrs.field(kw_only=True)
    author: str = attrs.field(default="", kw_only=True)
    issn: str = attrs.field(default="", kw_only=True)
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


def _fields(bib: Bib) -> list[tuple[str, str]]:
    """Tag and subfield a, without what is empty."""
    named = [("022", bib.issn), ("100", bib.author), ("245", bib.title)]
    return [(tag, value) for tag, value in named if value]


def as_xml(bibs: Iterable[Bib]) -> bytes:
    records = "".join(_xml_record(bib) for bib in bibs)
    return f'<?xml version="1.0"?><collection xmlns="http://www.loc.gov/MARC21/slim">{records}</collection>'.encode()


def _xml_record(bib: Bib) -> str:
    fields = "".join(
        f'<datafield tag="{tag}" ind1=" " ind2=" "><subfield code="a">{escape(value)}</subfield></datafield>'
        for tag, value in _fields(bib)
    )
    leader, number = "00000nam a2200000 a 4500", escape(bib.mms_id)
    return (
        f'<record><leader>{leader}</leader><controlfield tag="001">{number}</controlfield>{fields}</record>'
    )


def as_binary(bibs: Iterable[Bib]) -> bytes:
    return b"".join(_binary_record(bib) for bib in bibs)


def _binary_record(bib: Bib) -> bytes:
    """Leader, directory, fields: lengths and starts count bytes."""
    contents = [("001", bib.mms_id), *((tag, f"  {_SUBFIELD}a{value}") for tag, value in _fields(bib))]
    directory, data = "", b""
    for tag, content in contents:
        field = (content + _END_OF_FIELD).encode()
        directory += f"{tag}{len(field):04d}{len(data):05d}"
        data += field
    base = _LEADER + _ENTRY * len(contents) + 1
    leader = f"{base + len(data) + 1:05d}nam a22{base:05d} a 4500"
    return f"{leader}{directory}{_END_OF_FIELD}".encode() + data + _END_OF_RECORD.encode()
