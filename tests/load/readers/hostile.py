"""Workbooks that nobody means well with: a few KB to a few MB that would take all memory or all day, and damaged ones."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile

import attrs

from tests.load.readers.workbooks import MAIN, xls, xlsx

MOST_BYTES: Final = 512 * 2**20
MOST_SECONDS: Final = 20.0

_BOOK: Final = "xl/book.xml"
_STYLES: Final = "xl/styles.xml"
_STRINGS: Final = "xl/sharedStrings.xml"
_SHEET: Final = "xl/worksheets/sheet1.xml"
_HEAD: Final = f'<worksheet xmlns="{MAIN}"><sheetData>'
_END: Final = "</sheetData></worksheet>"
_REMARK: Final = "<!--%s-->"
_HEADER: Final = "<row><c t='inlineStr'><is><t>mms_id</t></is></c></row>"


def _with(path: Path, part: str, *pieces: str | Iterator[str], encoding: str = "utf-8") -> Path:
    """A small workbook, one part of which is these pieces; they are never in memory whole."""
    plain = xlsx(path.with_suffix(".plain"), {"A": [["mms_id"], ["991"]]})
    with ZipFile(plain) as source, ZipFile(path, "w", ZIP_DEFLATED) as made:
        for name in source.namelist():
            if name != part:
                made.writestr(name, source.read(name))
        with made.open(part, "w") as file:
            for piece in chain.from_iterable((one,) if isinstance(one, str) else one for one in pieces):
                file.write(piece.encode(encoding))
    return path


def _times(piece: str, count: int, between: str = "") -> Iterator[str]:
    """So many pieces; ``between`` each thousand stands a number that no packing makes smaller, so no ratio tells of it."""
    draw = random.Random(1)
    block = piece * 1000
    for _ in range(count // 1000):
        yield block + (between % f"{draw.getrandbits(2400):x}" if between else "")


def big_book(path: Path) -> Path:
    return _with(
        path, _BOOK, f'<workbook xmlns="{MAIN}"><!--', _times(" " * 100, 1_000_000), "--></workbook>"
    )


def many_sheets(path: Path) -> Path:
    sheet = '<sheet name="x" sheetId="1" xmlns:r="urn:r" r:id="rId1"/>'
    return _with(
        path, _BOOK, f'<workbook xmlns="{MAIN}"><sheets>', _times(sheet, 200_000), "</sheets></workbook>"
    )


def many_styles(path: Path) -> Path:
    styles = _times('<xf numFmtId="0"/>', 800_000, _REMARK)
    return _with(path, _STYLES, f'<styleSheet xmlns="{MAIN}"><cellXfs>', styles, "</cellXfs></styleSheet>")


def long_pattern(path: Path) -> Path:
    pattern = "".join(_times("[" * 100, 30_000, "%s"))
    form = f'<numFmt numFmtId="170" formatCode="{pattern}"/>'
    styles = f'<numFmts>{form}</numFmts><cellXfs><xf numFmtId="170"/></cellXfs>'
    return _with(path, _STYLES, f'<styleSheet xmlns="{MAIN}">{styles}</styleSheet>')


def one_row(path: Path) -> Path:
    cells = _times("<c><v>1</v></c>", 3_000_000, _REMARK)
    return _with(path, _SHEET, _HEAD, _HEADER, "<row>", cells, "</row>", _END)


def one_text(path: Path) -> Path:
    runs = _times("<r><t>a</t></r>", 3_000_000, _REMARK)
    return _with(path, _STRINGS, f'<sst xmlns="{MAIN}"><si>', runs, "</si></sst>")


def patient_rows(path: Path) -> Path:
    rows = _times(f"<row>{'<c/>' * 100}<c><v>1</v></c></row>", 500_000, _REMARK)
    return _with(path, _SHEET, _HEAD, _HEADER, rows, _END)


def wide_rows(path: Path) -> Path:
    row = "<row>" + "<c/>" * 16_000 + "<c><v>1</v></c></row>"
    return _with(path, _SHEET, _HEAD, _HEADER, (row for _ in range(1000)), _END)


def many_columns(path: Path) -> Path:
    row = "<row>" + "".join("<c t='inlineStr'><is><t>c</t></is></c>" for _ in range(60_000)) + "</row>"
    return _with(path, _SHEET, _HEAD, row, _END)


def long_text(path: Path) -> Path:
    return _with(
        path, _STRINGS, f'<sst xmlns="{MAIN}"><si><t>', _times("a" * 100, 10_000_000, "%s"), "</t></si></sst>"
    )


def many_texts(path: Path) -> Path:
    return _with(
        path, _STRINGS, f'<sst xmlns="{MAIN}">', _times("<si><t>a</t></si>", 3_000_000, _REMARK), "</sst>"
    )


def long_name(path: Path) -> Path:
    return _with(
        path,
        _SHEET,
        f'<worksheet xmlns="{MAIN}" x="',
        _times("a" * 1000, 100_000, "%s"),
        '"><sheetData>',
        _END,
    )


def deep(path: Path) -> Path:
    return _with(path, _SHEET, _HEAD, "<row>", _times("<c>", 3_000_000, _REMARK), _END)


def many_parts(path: Path) -> Path:
    xlsx(path, {"A": [["mms_id"]]})
    with ZipFile(path, "a") as archive:
        for number in range(20_000):
            archive.writestr(zipfile.ZipInfo(f"xl/{number}"), b"")
    return path


def beyond(path: Path) -> Path:
    """A shared text by a negative number."""
    return _with(path, _SHEET, _HEAD, _HEADER, "<row><c t='s'><v>-1</v></c></row>", _END)


def typed(encoding: str, part: str) -> Callable[[Path], Path]:
    """A document type, in an encoding of XML."""

    def made(path: Path) -> Path:
        begin = f'<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE sst [<!ENTITY a "b">]>'
        return _with(path, part, f'{begin}<sst xmlns="{MAIN}"><si><t>&a;</t></si></sst>', encoding=encoding)

    return made


HOSTILE: Final[dict[str, Callable[[Path], Path]]] = {
    "a workbook.xml of 100 MB": big_book,
    "200,000 sheets": many_sheets,
    "800,000 styles": many_styles,
    "a pattern of 3 million brackets": long_pattern,
    "one row of 3 million cells": one_row,
    "one text of 3 million runs": one_text,
    "500,000 rows of 100 blank cells": patient_rows,
    "1,000 rows of 16,000 cells": wide_rows,
    "60,000 columns": many_columns,
    "a text of 1 GB": long_text,
    "3 million texts": many_texts,
    "an attribute of 100 MB": long_name,
    "3 million levels": deep,
    "20,000 parts": many_parts,
    "a negative text": beyond,
    **{
        f"a document type in {encoding} in {part}": typed(encoding, part)
        for encoding in ("utf-8", "utf-16", "iso-8859-1")
        for part in (_STRINGS, _BOOK, _STYLES, _SHEET)
    },
}


def old_book(path: Path) -> Path:
    """A sound old workbook with texts, numbers and several sectors."""
    rows: list[list[object]] = [
        ["mms_id", "url", "public_note"],
        *([f"99{n:06}", f"https://x.example/{n}", 1.5] for n in range(60)),
    ]
    return xls(path, {"S": rows, "T": [["x", 1]]})


def mutated(sound: bytes, seed: int) -> bytes:
    """One to three bytes changed, or some of the sizes and offsets that a reader trusts most."""
    draw = random.Random(seed)
    found = bytearray(sound)
    for _ in range(draw.randint(1, 3)):
        place = (
            draw.randrange(len(found)) if draw.random() < 0.6 else draw.randrange(0, min(len(found), 1024))
        )
        found[place] = draw.choice((0, 0xFF, 0x7F, found[place] ^ (1 << draw.randrange(8))))
    if draw.random() < 0.2:
        place = draw.randrange(0, len(found) - 4)
        struct.pack_into("<I", found, place, draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000)))
    return bytes(found)


@attrs.frozen
class Cost:
    """What came of reading a file in a process of its own, and what that took."""

    outcome: str
    seconds: float
    peak: int


_PROGRAM: Final = """
import resource, sys, time
from alma_async.errors import AlmaError
from alma_async.load.readers import read_rows
for line in sys.stdin:
    begun = time.perf_counter()
    try:
        outcome = f"{len(list(read_rows(line.strip())))} rows"
    except AlmaError as error:
        outcome = ascii(str(error))
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"{time.perf_counter() - begun:.2f}\\t{peak * 1024}\\t{outcome}", flush=True)
"""


_SMALL: Final = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"


def costs(paths: list[Path]) -> list[Cost]:
    """Read the files one after the other in one process; the peak is that of this process and of its largest child.

    A process begins with the peak of the one that starts it, so a small one stands between it and us.
    """
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _SMALL, _PROGRAM],
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [Cost(outcome, float(seconds), int(peak)) for seconds, peak, outcome in lines]


SLOW: Final = ("3 million texts", "a text of 1 GB")


def main(count: int, folder: Path) -> None:
    """Read all hostile workbooks and so many mutated old ones, and say what came of them."""
    for name, make in HOSTILE.items():
        path = make(folder / "a.xlsx")
        (cost,) = costs([path])
        sys.stdout.write(f"{name}: {cost.seconds:.1f} s, {cost.peak / 2**20:.0f} MiB, {cost.outcome[:150]}\n")
        path.unlink()
    sound = old_book(folder / "sound.xls").read_bytes()
    tally: dict[str, int] = {}
    slowest = peak = 0.0
    for first in range(0, count, 100):
        paths = [folder / f"{seed}.xls" for seed in range(first, min(first + 100, count))]
        for seed, path in enumerate(paths, first):
            path.write_bytes(mutated(sound, seed))
        for path, cost in zip(paths, costs(paths), strict=True):
            said = cost.outcome.replace(str(path), "X")[:70]
            tally[said] = tally.get(said, 0) + 1
            slowest, peak = max(slowest, cost.seconds), max(peak, cost.peak)
            path.unlink()
    for said, number in sorted(tally.items(), key=lambda one: -one[1]):
        sys.stdout.write(f"{number:6} {said}\n")
    sys.stdout.write(f"slowest {slowest:.1f} s, peak {peak / 2**20:.0f} MiB\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
