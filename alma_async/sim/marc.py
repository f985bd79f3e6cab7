"""The records of an import as a file: MARCXML or binary MARC (ISO 2709).

Decides how a title becomes a record: control number, author, title, ISSN; no more of it is simulated.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

from alma_async.sim.bibs import Bib

__all__ = ["as_binary", "as_xml"]

_SUBFIELD, _END_OF_FIELD, _END_OF_RECORD = "\x1f", "\x1e", "\x1d"
_LEADER = 24
_ENTRY = 12


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
