"""Workbooks made for tests, part by part: what Excel writes and no library's writer would, and the old binary kind."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr
from zipfile import ZIP_DEFLATED, ZipFile

import attrs

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
CONTENT = "http://schemas.openxmlformats.org/package/2006/content-types"
SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml"
RELS = "application/vnd.openxmlformats-package.relationships+xml"

DAY = 1
"""The style of a cell that shows a date; 0 shows anything as it is, 2 is a date by a pattern of its own, 3 is a number in words."""
STYLES = f"""<styleSheet xmlns="{MAIN}"><numFmts>
<numFmt numFmtId="170" formatCode="[$-409]yyyy\\-mm&quot;x&quot;"/>
<numFmt numFmtId="171" formatCode="[Red]0&quot;days&quot;"/>
<numFmt numFmtId="172" formatCode="yyyy"/></numFmts>
<fonts><font/><font><strike/></font></fonts><fills><fill><patternFill/></fill></fills><borders><border/></borders>
<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>
<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="170"/><xf numFmtId="171"/>
<xf numFmtId="172"/><xf numFmtId="17"/><xf numFmtId="0" fontId="1"/></cellXfs>
<cellStyles><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"""


@attrs.frozen
class Raw:
    """A cell by its markup: attributes and content of ``<c>``."""

    attributes: str
    content: str


def xlsx(
    path: Path,
    sheets: Mapping[str, Iterable[Sequence[Any]]],
    *,
    hidden_sheets: Iterable[str] = (),
    hidden_rows: Iterable[int] = (),
    since_1904: bool = False,
    first_row: int = 1,
    hidden_columns: str = "",
) -> Path:
    """A workbook as Excel lays it out, all texts shared. ``None`` is a cell that is not there, an empty row is no row."""
    strings: dict[str, int] = {}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", _types(len(sheets)))
        archive.writestr("_rels/.rels", _links([("officeDocument", "xl/book.xml")]))
        archive.writestr("xl/book.xml", _book(sheets, set(hidden_sheets), since_1904=since_1904))
        parts = [("worksheet", f"/xl/worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)]
        parts += [("styles", "styles.xml"), ("sharedStrings", "sharedStrings.xml")]
        archive.writestr("xl/_rels/book.xml.rels", _links(parts))
        archive.writestr("xl/styles.xml", STYLES)
        for number, rows in enumerate(sheets.values(), 1):
            with archive.open(f"xl/worksheets/sheet{number}.xml", "w") as part:
                part.write(f'<worksheet xmlns="{MAIN}">{_columns(hidden_columns)}<sheetData>'.encode())
                for place, row in enumerate(rows, first_row):
                    hidden = ' hidden="1"' if place in hidden_rows else ""
                    cells = "".join(
                        _cell(cell, f"{_letters(n)}{place}", strings) for n, cell in enumerate(row)
                    )
                    if row:
                        part.write(f'<row r="{place}" spans="1:9" ht="15"{hidden}>{cells}</row>'.encode())
                part.write(b"</sheetData></worksheet>")
        texts = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{texts}</sst>')
    return path


def _columns(hidden: str) -> str:
    ranges = (one.split("-") for one in hidden.split())
    found = "".join(f'<col min="{low}" max="{high}" width="9.1" hidden="1"/>' for low, high in ranges)
    return f"<cols>{found}</cols>" if found else ""


def _types(sheets: int) -> str:
    kinds = {"book": "sheet.main", "styles": "styles", "sharedStrings": "sharedStrings"}
    kinds |= {f"worksheets/sheet{n}": "worksheet" for n in range(1, sheets + 1)}
    names = "".join(
        f'<Override PartName="/xl/{name}.xml" ContentType="{SPREADSHEET}.{kind}+xml"/>'
        for name, kind in kinds.items()
    )
    return f'<Types xmlns="{CONTENT}"><Default Extension="rels" ContentType="{RELS}"/>{names}</Types>'


def _links(parts: Iterable[tuple[str, str]]) -> str:
    links = "".join(
        f'<Relationship Id="rId{n}" Type="{DOCUMENT}/{kind}" Target="{part}"/>'
        for n, (kind, part) in enumerate(parts, 1)
    )
    return f'<Relationships xmlns="{PACKAGE}">{links}</Relationships>'


def _book(names: Iterable[str], hidden: set[str], *, since_1904: bool) -> str:
    sheets = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{n}"{" state=" + quoteattr("hidden") if name in hidden else ""} r:id="rId{n}"/>'
        for n, name in enumerate(names, 1)
    )
    return (
        f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><workbookPr date1904="{int(since_1904)}"/>'
        f"<sheets>{sheets}</sheets></workbook>"
    )


def _letters(place: int) -> str:
    return ("" if place < 26 else _letters(place // 26 - 1)) + chr(65 + place % 26)


def _cell(cell: Any, reference: str, strings: dict[str, int]) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Raw):
        return f'<c r="{reference}" {cell.attributes}>{cell.content}</c>'
    if isinstance(cell, str):
        return f'<c r="{reference}" t="s"><v>{strings.setdefault(cell, len(strings))}</v></c>'
    return f'<c r="{reference}"><v>{cell}</v></c>'


@attrs.frozen
class Dated:
    """A cell of an old workbook that shows a day number as a date."""

    value: float


NO_TEXT = b"\x03" + bytes(5) + b"\xff\xff"
"""The result of a formula of an old workbook that is a text of no characters."""


@attrs.frozen
class Formula:
    """A cell of an old workbook that holds the formula 1, with this result."""

    result: bytes = NO_TEXT


def xls(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]]) -> Path:
    """A workbook of Excel 97 to 2003: records (BIFF8) in a compound file. A cell is a text, a number or None."""
    bodies = [_biff_sheet(rows) for rows in sheets.values()]
    lists = [
        _biff(0x85, struct.pack("<IHBB", 0, 0, len(name), 0) + name.encode("latin-1")) for name in sheets
    ]
    head = _biff(0x809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 0)) + _biff(0x42, struct.pack("<H", 1200))
    head += b"".join(_biff(0xE0, struct.pack("<HHH14x", 0, form, 0)) for form in (0, 14))
    start = len(head) + sum(map(len, lists)) + 4
    for place, body in enumerate(bodies):
        lists[place] = lists[place][:4] + struct.pack("<I", start) + lists[place][8:]
        start += len(body)
    path.write_bytes(compound("Workbook", head + b"".join(lists) + _biff(0x0A) + b"".join(bodies)))
    return path


def _biff(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def _biff_sheet(rows: Sequence[Sequence[Any]]) -> bytes:
    found = [_biff(0x809, struct.pack("<HHHHII", 0x600, 0x10, 0, 0, 0, 0))]
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            place = struct.pack("<HHH", row, column, 0)
            if isinstance(cell, str):
                text = cell.encode("utf-16-le")
                found.append(_biff(0x204, place + struct.pack("<HB", len(text) // 2, 1) + text))
            elif isinstance(cell, Dated):
                found.append(_biff(0x203, struct.pack("<HHHd", row, column, 1, cell.value)))
            elif isinstance(cell, Formula):
                found.append(_biff(0x6, place + cell.result + struct.pack("<HIHBH", 0, 0, 3, 0x1E, 1)))
            elif cell is not None:
                found.append(_biff(0x203, place + struct.pack("<d", cell)))
    return b"".join(found) + _biff(0x0A)


def compound(name: str, stream: bytes) -> bytes:
    """A compound file of one stream: header, one sector of directory, the stream, the table of sectors."""
    stream = stream.ljust(4096, b"\0")  # shorter ones live elsewhere
    sectors = -(-len(stream) // 512)
    tables = -(-(sectors + 2) // 127)
    chain = [0xFFFFFFFE, *range(2, sectors + 1), 0xFFFFFFFE, *[0xFFFFFFFD] * tables]
    chain += [0xFFFFFFFF] * (tables * 128 - len(chain))
    places = list(range(sectors + 1, sectors + 1 + tables))
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
        + bytes(6)
    )
    header += struct.pack("<IIIIIIIII", 0, tables, 0, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<109I", *places, *[0xFFFFFFFF] * (109 - tables))
    entries = _entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + _entry(name, 2, 0xFFFFFFFF, 1, len(stream))
    table = struct.pack(f"<{len(chain)}I", *chain)
    return header + entries.ljust(512, b"\0") + stream.ljust(sectors * 512, b"\0") + table


def _entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    text = name.encode("utf-16-le")
    none = 0xFFFFFFFF
    return (
        text.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(text) + 2, kind, 1, none, none, child)
        + bytes(36)
        + struct.pack("<IQ", start, size)
    )
