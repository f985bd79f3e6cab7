"""KBART lists with odd cells: what is written is what the line says for sure, and the rest is told."""

from __future__ import annotations

from itertools import permutations

import pytest

from alma_async.load.rows import CLEAR
from tests.load.readers.test_kbart import TIDES, WITH_ID, Opened, kbart, only, refused

FIRST, LAST = "date_first_issue_online", "date_last_issue_online"


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ("title_url", ("", "https://e.example/j", "https://e.example/k")),
        ("publication_type", ("", "monograph", "serial")),
        ("title_url", ("", "", "https://e.example/j", "https://e.example/k")),
    ],
)
def test_a_blank_value_does_not_choose(opened: Opened, column: str, texts: tuple[str, ...]) -> None:
    """Lines of one title that name two values are for review, wherever a line stands that names none."""
    for order in permutations(texts):
        bad = refused(opened(kbart(*(TIDES | {column: text} for text in order))))
        assert {problem.column for problem in bad.problems} == {column}


def test_a_monograph_has_no_coverage(opened: Opened) -> None:
    """A title that one of its lines calls a monograph has no coverage, also of a line that leaves its type blank."""
    lines = [
        TIDES | {"publication_type": "", FIRST: "1999"},
        TIDES | {"publication_type": "monograph"},
    ]
    for order in permutations(lines):
        row = only(opened(kbart(*order)))
        assert (row.values["material_type"], row.coverage) == ("BOOK", None)
        assert "the coverage of a monograph is not loaded" in row.warnings


NO_EMBARGO = ["P0Y", "P0M", "0", "R0D", "P0Y0M", "0 months", "none", "No embargo", "kein", "aucun", ""]


@pytest.mark.parametrize("text", NO_EMBARGO)
def test_no_embargo_is_said(opened: Opened, text: str) -> None:
    """A line that says there is no embargo is told where one stays, and empties it where blanks do."""
    line = kbart(TIDES | {"embargo_info": text})
    assert "embargo" in only(opened(line)).blank
    assert only(opened(line, blanks="clear")).embargo is CLEAR


def test_dates_of_zeros_are_blank(opened: Opened) -> None:
    """Dates that stand for none are as blank ones: the coverage that stays is told, or emptied."""
    line = kbart(TIDES | {FIRST: "0000", LAST: "0000"})
    assert "coverage" in only(opened(line)).blank
    assert only(opened(line, blanks="clear")).coverage is CLEAR


@pytest.mark.parametrize("missing", [FIRST, LAST])
@pytest.mark.parametrize("blanks", ["keep", "clear"])
def test_a_date_column_that_is_missing(opened: Opened, missing: str, blanks: str) -> None:
    """A column that is missing or misspelt says nothing: no coverage is written over the one there is, and that is told."""
    for header in (
        [name for name in WITH_ID if name != missing],
        [name.replace(missing, missing[:-7]) for name in WITH_ID],
    ):
        row = only(opened(kbart(TIDES | {FIRST: "1999", LAST: "2010"}, header=header), blanks=blanks))
        assert row.coverage is None
        assert any(warning.startswith("the coverage is not written") for warning in row.warnings)
