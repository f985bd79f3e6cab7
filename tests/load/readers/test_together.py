"""Rows of a table that end at one portfolio are one row, or none of them is written."""

from __future__ import annotations

import random
from itertools import permutations

import attrs
import pytest

from alma_async.load.row import BadRow, Coverage, Row
from tests.load.readers.test_kbart import TIDES, Opened, kbart

NAMED = "portfolio_id,mms_id,coverage_from,coverage_until,public_note\n"
NAMED_LOADER = "LOCALIZED,PORTFOLIO_PID,MMS,FROM_YEAR,TO_YEAR,PUBLIC_NOTES\n"
NATIVE = "mms_id,url,coverage_from,coverage_until,public_note,embargo\n"
LOADER = "LOCALIZED,MMS,ISSN,URL,FROM_YEAR,TO_YEAR,PUBLIC_NOTES\n"
A, B = "https://e.example/a", "https://e.example/b"
RANGES = (Coverage(from_year="1990", until_year="1994"), Coverage(from_year="2001"))

# Lines → what becomes of them: the rows by URL, coverage and note; "rejected" for those that are.
KINDS: dict[str, tuple[str, list[str], list[object]]] = {
    "a line without URL": (NATIVE, [f"991,{A},,,,", "991,,,,x,"], [(A, None, "x")]),
    "two ranges": (NATIVE, [f"991,{A},2001,,,", f"991,{A},1990,1994,,"], [(A, RANGES, None)]),
    "two ranges without URL": (NATIVE, ["991,,2001,,,", "991,,1990,1994,,"], [(None, RANGES, None)]),
    "ranges and a note": (
        NATIVE,
        [f"991,{A},2001,,,", "991,,1990,1994,,", f"991,{A},,,x,"],
        [(A, RANGES, "x")],
    ),
    "two portfolios": (NATIVE, [f"991,{A},2001,,,", f"991,{B},1990,1994,,"], [(A, RANGES[1:], None), (B, RANGES[:1], None)]),
    "one of two portfolios": (
        NATIVE,
        [f"991,{A},2001,,,", f"991,{B},1990,1994,,", "991,,,,x,"],
        [(A, RANGES[1:], None), (B, RANGES[:1], None), "rejected"],
    ),
    "another URL to be emptied": (NATIVE, [f"991,{A},,,,", "991,<clear>,,,x,"], ["rejected"]),
    "a bad range": (NATIVE, [f"991,{A},2001,,,", f"991,{A},soon,,,"], ["rejected"]),
    "a bad range, its URL in another spelling": (
        NATIVE,
        ["991,https://e.example/a b,2001,,,", "991,https://e.example/a%20b,soon,,,"],
        ["rejected"],
    ),
    "an embargo on one range": (NATIVE, [f"991,{A},2001,,,P1Y", "991,,1990,1994,,"], ["rejected"]),
    "coverage to be emptied": (NATIVE, [f"991,{A},2001,,,", "991,,<clear>,<clear>,,"], ["rejected"]),
    "other records": (NATIVE, [f"991,{A},2001,,,", "992,,1990,1994,,"], [(A, RANGES[1:], None), (None, RANGES[:1], None)]),
    "ranges of the loader": (LOADER, [f"Y,991,,{A},2001,,", f"Y,991,,{A},1990,1994,"], [(A, RANGES, None)]),
    "an ISSN of the loader": (LOADER, [f"Y,,2049-3630,{A},2001,,", "Y,,20493630,,1990,1994,x"], [(A, RANGES, "x")]),
    "ranges of a portfolio by its id": (NAMED, ["531,991,2001,,x", "531,991,1990,1994,"], [(None, RANGES, "x")]),
    "ranges of portfolios of one record": (
        NAMED, ["531,991,2001,,x", "532,991,1990,1994,"], [(None, RANGES[1:], "x"), (None, RANGES[:1], None)]
    ),
    "a bad range of a portfolio by its id": (NAMED, ["531,991,2001,,", "531,991,soon,,"], ["rejected"]),
    "ranges of a portfolio of the loader": (
        NAMED_LOADER, ["Y,531,991,2001,,", "Y,531,991,1990,1994,x"], [(None, RANGES, "x")]
    ),
    "a line that asks for nothing": (LOADER, [f"Y,991,,{A},2001,,", f"N,991,,{A},1990,1994,"], [(A, RANGES[1:], None)]),
}  # fmt: skip


def told(row: Row | BadRow) -> object:
    """A row by what it writes."""
    if isinstance(row, BadRow):
        return "rejected"
    return row.values.get("url"), row.coverage, row.values.get("public_note")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_one_portfolio(opened: Opened, kind: str) -> None:
    """In every order, rows of one record and URL, and those of it without URL, are one row or rejected together."""
    header, lines, wanted = KINDS[kind]
    for order in permutations(lines):
        rows = list(opened(header + "\n".join(order) + "\n"))
        assert sorted(map(told, rows), key=repr) == sorted(wanted, key=repr)


def test_repeats_and_contradictions_are_for_the_load(opened: Opened) -> None:
    """Rows that are alike, or differ in a note at one URL, stay as they are: the load knows both."""
    for lines in (["991,,,,x,", "991,,,,x,"], [f"991,{A},,,x,", f"991,{A},,,y,"]):
        assert [row.line for row in opened(NATIVE + "\n".join(lines) + "\n")] == [2, 3]


def test_all_lines_are_named(opened: Opened) -> None:
    """The joined row has all its lines, wherever they stand, and the file's warnings tell of them."""
    source = opened(NATIVE + f"991,{A},,,,\n992,{B},,,,\n991,,,,x,\n")
    assert sorted(row.lines for row in source) == [(2, 4), (3,)]
    assert "line 4: joined with other lines of the same title or portfolio to one row" in source.warnings


@pytest.mark.parametrize("share", ["mms_id", "identifiers"])
def test_kbart_lines_without_url(opened: Opened, share: str) -> None:
    """A KBART line without URL is of the one title that has its record or identifiers; of several it is none for sure."""
    base = TIDES | {"title_id": "", "notes": "", "mms_id": "991" if share == "mms_id" else ""}
    other = {"print_identifier": "", "online_identifier": "0028-0836"} if share == "mms_id" else {}
    lines = [
        base | {"title_url": A},
        base | other | {"title_url": "", "date_first_issue_online": "1950", "date_last_issue_online": "1951"},
    ]
    for order in permutations(lines):
        (row,) = opened(kbart(*order))
        assert isinstance(row, Row)
        assert (row.values["url"], row.lines) == (A, (2, 3))
    lines.append(lines[0] | {"title_url": B})
    for order in permutations(lines):
        rows = list(opened(kbart(*order)))
        assert {row.values["url"] for row in rows if isinstance(row, Row)} == {A, B}
        (bad,) = [row for row in rows if isinstance(row, BadRow)]
        assert "several" in bad.reason


KBART = (
    "publication_title",
    "online_identifier",
    "date_first_issue_online",
    "date_last_issue_online",
    "title_url",
    "coverage_depth",
)
RANGE = {
    "title": "Annals",
    "issn": "2049-3630",
    "url": A,
    "depth": "fulltext",
    "mms": "991234567890",
    "y": "Y",
}
FORMS = {
    "kbart": ((*KBART, "mms_id"), "\t", ("title", "issn", "first", "last", "url", "depth", "mms")),
    "kbart by ISSN": (KBART, "\t", ("title", "issn", "first", "last", "url", "depth")),
    "csv": (
        ("title", "coverage_from", "coverage_until", "url", "mms_id"),
        ",",
        ("title", "first", "last", "url", "mms"),
    ),
    "alma-loader": (
        ("LOCALIZED", "TITLE", "FROM_YEAR", "TO_YEAR", "URL", "MMS"),
        ",",
        ("y", "title", "first", "last", "url", "mms"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("torn", [0, 1])
def test_a_title_of_which_a_line_is_torn(opened: Opened, form: str, torn: int) -> None:
    """Where a missing delimiter shifts one line of a title, the others are not written as if they were all of it."""
    header, delimiter, names = FORMS[form]
    ranges = [RANGE | {"first": "1990", "last": "1994"}, RANGE | {"first": "2001", "last": "2004"}]
    other = ranges[0] | {"issn": "0028-0836", "url": B, "mms": "991234567999"}
    for place in range(len(names) - 1):
        lines = [[said[name] for name in names] for said in (*ranges, other)]
        del lines[torn][place]
        rows = list(opened("".join(delimiter.join(line) + "\n" for line in (header, *lines))))
        (good,) = [row for row in rows if isinstance(row, Row)]
        assert good.values["url"] == B
        assert sorted(line for row in rows for line in row.lines) == [2, 3, 4]


def test_one_torn_line_costs_no_other_title(opened: Opened) -> None:
    """Titles at the same address as a line that is torn are written: what names a title is its record, then its ISSN."""
    lines = [
        TIDES
        | {
            "mms_id": f"99123456789{n}",
            "title_id": f"t{n}",
            "online_identifier": issn,
            "print_identifier": "",
        }
        for n, issn in enumerate(("2049-3630", "0028-0836", "1234-5679"))
    ]
    text = kbart(*lines).replace("fulltext\t", "fulltext", 1)
    rows = list(opened(text))
    assert [isinstance(row, Row) for row in rows] == [False, True, True]


CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "kbart": {
        "publication_title": ("A", "B"),
        "print_identifier": ("", "2049-3630", "0028-0836", "bad"),
        "online_identifier": ("", "2049-3630", "0028-0836"),
        "date_first_issue_online": ("", "1990", "2001", "soon"),
        "date_last_issue_online": ("", "2002"),
        "title_url": ("", A, B),
        "title_id": ("", "t1"),
        "embargo_info": ("", "", "P1Y"),
        "notes": ("", "x", "y"),
        "publication_type": ("", "serial", "serial", "monograph"),
        "access_type": ("", "F", "P"),
        "mms_id": ("", "", "991234567890", "991234567891"),
    },
    "csv": {
        "portfolio_id": ("", "", "", "531"),
        "mms_id": ("", "991234567890", "991234567891"),
        "url": ("", A, B, "<clear>"),
        "coverage_from": ("", "1990", "2001", "soon"),
        "coverage_until": ("", "2002", "<clear>"),
        "public_note": ("", "x", "y", "<clear>"),
        "embargo": ("", "", "P1Y"),
    },
    "alma-loader": {
        "LOCALIZED": ("Y", "Y", "Y", "N"),
        "MMS": ("", "991234567890", "991234567891"),
        "ISSN": ("", "2049-3630", "0028-0836", "bad"),
        "URL": ("", A, B),
        "FROM_YEAR": ("", "1990", "2001", "soon"),
        "TO_YEAR": ("", "2002"),
        "PUBLIC_NOTES": ("", "x", "y"),
    },
}


@pytest.mark.parametrize("form", CHOICES)
def test_no_order_decides(opened: Opened, form: str) -> None:
    """Lines that share a few values, some of them damaged, make the same rows in every order."""
    draw = random.Random(form)
    for _ in range(60):
        lines = [[draw.choice(texts) for texts in CHOICES[form].values()] for _ in range(draw.randint(2, 5))]
        if draw.random() < 0.2:
            del lines[0][draw.randrange(len(lines[0]))]
        found = []
        for _ in range(3):
            order = draw.sample(range(len(lines)), len(lines))
            text = "".join(
                "\t".join(line) + "\n" for line in (CHOICES[form], *(lines[place] for place in order))
            )
            rows = list(opened(text, format=form))
            found.append(
                sorted((sorted(order[line - 2] for line in row.lines), content(row)) for row in rows)
            )
        assert found[0] == found[1] == found[2], lines


def content(row: Row | BadRow) -> str:
    """What a row writes."""
    if isinstance(row, BadRow):
        return "rejected"
    return repr(attrs.evolve(row, line=0, lines=(), title=None, warnings=()))
