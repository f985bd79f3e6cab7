"""The native CSV: every column, blank and clear, and what is rejected."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alma_async.load.readers import RowSource
from alma_async.load.readers.native import COLUMNS, COVERAGE
from alma_async.load.row import CLEAR, PARTS, BadRow, Clear, Coverage, Embargo, InputError, Period, Row

Opened = Callable[..., RowSource]

# "#N/A" and "Err:502" are errors of a formula, and no words
words = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufffd"), min_size=1, max_size=12
).filter(lambda text: not text.casefold().startswith(("#", "err:")))
notes = st.lists(words, min_size=1, max_size=3).map("\n".join)
ids = st.from_regex("[1-9][0-9]{0,14}", fullmatch=True)
periods = st.builds(Period, st.integers(1, 999), st.sampled_from(["D", "M", "Y"]))
text_cells = st.fixed_dictionaries(
    {},
    optional={
        "url": st.builds("https://example.org/{}".format, ids),
        "availability": st.sampled_from(["10", "11"]),
        "material_type": words,
        "library": words,
        "po_line": words,
        "license": words,
        "proxy_enabled": st.sampled_from(["true", "false"]),
        "proxy": words,
        "public_note": notes,
        "authentication_note": notes,
        "internal_description": notes,
    },
)


def _some_cleared(found: dict[str, str]) -> st.SearchStrategy[dict[str, str | Clear]]:
    """The same cells, some of them to be emptied."""
    return st.fixed_dictionaries({name: st.sampled_from([text, CLEAR]) for name, text in found.items()})


values = text_cells.flatmap(_some_cleared)
dates = (
    st.dates(min_value=date(1000, 1, 1), max_value=date(2098, 12, 31))
    .map(lambda day: str(day).split("-"))
    .flatmap(lambda parts: st.integers(0, 3).map(lambda known: parts[:known]))
)


@st.composite
def coverages(draw: st.DrawFn) -> Coverage:
    """A statement whose first date is not after its last."""
    begins, ends = sorted([draw(dates), draw(dates)])
    parts = zip(("from_year", "from_month", "from_day"), begins, strict=False)
    until = zip(("until_year", "until_month", "until_day"), ends, strict=False)
    others = {
        part: draw(st.none() | words.filter(lambda text: text[0] not in "=#"))
        for part in ("from_volume", "from_issue", "until_volume", "until_issue")
    }
    return Coverage(**dict(parts), **dict(until), **others)


rows = st.builds(
    Row,
    line=st.just(2),
    lines=st.just((2,)),
    mms_id=ids,
    portfolio_id=st.none() | ids,
    title=st.none() | words,
    values=values,
    coverage=st.none()
    | st.just(CLEAR)
    | coverages().filter(lambda found: found != Coverage()).map(lambda found: (found,)),
    embargo=st.none() | st.just(CLEAR) | st.builds(Embargo, last=periods, except_last=st.none() | periods),
)


def encode(row: Row) -> str:
    """The row as a CSV file with all columns."""
    cells: dict[str, object] = {"mms_id": row.mms_id, "portfolio_id": row.portfolio_id, "title": row.title}
    cells |= {name: value.value if isinstance(value, Clear) else value for name, value in row.values.items()}
    cells["embargo"] = row.embargo.value if isinstance(row.embargo, Clear) else row.embargo
    if isinstance(row.coverage, Clear):
        cells |= dict.fromkeys(COVERAGE, row.coverage.value)
    for statement in row.coverage or () if not isinstance(row.coverage, Clear) else ():
        known = {name: text for name, text in attrs.asdict(statement).items() if text}
        for side in ("from", "until"):
            cells[f"coverage_{side}"] = "-".join(
                known[f"{side}_{part}"] for part in ("year", "month", "day") if f"{side}_{part}" in known
            )
            cells |= {f"coverage_{side}_{part}": known.get(f"{side}_{part}") for part in ("volume", "issue")}
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, sorted(COLUMNS))
    writer.writeheader()
    writer.writerow(cells)
    return stream.getvalue()


@given(row=rows)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_round_trip(opened: Opened, row: Row) -> None:
    """A row written as CSV is read back as the same row, whatever it sets, clears or leaves alone."""
    (found,) = opened(encode(row), format="csv")
    assert isinstance(found, Row)
    said = row.coverage[0] if isinstance(row.coverage, tuple) else None
    keeps = [name for name, parts in PARTS.items() if said and not any(getattr(said, part) for part in parts)]
    assert attrs.evolve(found, lines=(2,)) == attrs.evolve(row, keeps=tuple(keeps))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters(opened: Opened, delimiter: str) -> None:
    """Comma, semicolon and tab are recognised from the header, and names are matched without case and blanks."""
    header = delimiter.join(["MMS_ID", " Url ", "availability"])
    content = f'{header}\n991{delimiter}"https://example.org/a;b,c"{delimiter}ACTIVE\n'
    (row,) = opened(content)
    assert isinstance(row, Row)
    assert row.values == {"url": "https://example.org/a;b,c", "availability": "11"}


def test_blank_leaves_alone(opened: Opened) -> None:
    """A blank cell is no value, and a row of ids alone names nothing to change."""
    (row,) = opened("mms_id,url,embargo,coverage_from,public_note\n991, ,,,\n")
    assert row == Row(line=2, lines=(2,), mms_id="991")


def test_clear_is_never_text(opened: Opened) -> None:
    """The word for emptying a field is known in any case, so that none is published as a note."""
    (row,) = opened("portfolio_id,public_note,embargo\n531,<CLEAR>,<clear>\n")
    assert row == Row(line=2, lines=(2,), portfolio_id="531", values={"public_note": CLEAR}, embargo=CLEAR)


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        ("<clear>", "<clear>", CLEAR),
        ("2000", "", (Coverage(from_year="2000"),)),
        ("2000-05", "<clear>", (Coverage(from_year="2000", from_month="05"),)),
        ("", "", None),
    ],
)
def test_coverage_is_one_field(opened: Opened, begins: str, ends: str, expected: object) -> None:
    """Coverage is set or emptied as a whole; a part cleared beside a given one is absent."""
    (row,) = opened(f"mms_id,coverage_from,coverage_until\n991,{begins},{ends}\n")
    assert isinstance(row, Row)
    assert row.coverage == expected


@pytest.mark.parametrize(
    ("header", "cells", "column", "reason"),
    [
        ("mms_id,url", "9.91E+17,", "mms_id", "Excel rounded"),
        ("mms_id,url", ",https://example.org", "", "names neither"),
        ("mms_id,portfolio_id", "991,12x", "portfolio_id", "is no id"),
        ("mms_id,url", "991,nowhere", "url", "is no URL"),
        ("mms_id,public_note", "991,a\0b", "public_note", "control character"),
        ("mms_id,coverage_from", "991,2011-02-30", "coverage_from", "does not exist"),
        (
            "mms_id,coverage_from,coverage_until",
            "991,2012-05,2011",
            "coverage_from",
            "is later than coverage_until, 2011",
        ),
        ("mms_id,coverage_from,coverage_until", "991,,<clear>", "", "clears a part of the coverage"),
        ("mms_id,coverage_from,coverage_until", "991,0000,1999", "coverage_from", "its year is zero"),
        ("mms_id,coverage_from,coverage_until", "991,1990,00/00/0000", "coverage_until", "its year is zero"),
        ("mms_id,embargo", "991,2Y", "embargo", "is no embargo"),
        ("mms_id,availability", "991,maybe", "availability", "is no availability"),
        ("mms_id,url", "991,https://x.example/,more", "", "has 3 cells under a header of 2"),
    ],
)
def test_rejected_rows(opened: Opened, header: str, cells: str, column: str, reason: str) -> None:
    """A wrong cell rejects its row with column and reason, and the next row is read."""
    bad, good = opened(f"{header}\n{cells}\n992,{',' * (header.count(',') - 1)}\n")
    assert isinstance(bad, BadRow)
    (problem,) = bad.problems
    assert (problem.line, problem.column) == (2, column)
    assert reason in problem.reason
    assert isinstance(good, Row)


def test_all_problems_at_once(opened: Opened) -> None:
    """A person learns of everything wrong with a row in one go, with its title."""
    (bad,) = opened("mms_id,title,url,proxy_enabled\n99 1,Tide\x1b Letters,nowhere,perhaps\n")
    assert isinstance(bad, BadRow)
    assert [problem.column for problem in bad.problems] == ["mms_id", "url", "proxy_enabled"]
    assert [problem.text for problem in bad.problems] == ["99 1", "nowhere", "perhaps"]
    assert bad.title == "Tide\\x1b Letters"


def test_unknown_columns(opened: Opened) -> None:
    """Unknown columns are an error that names them, unless they are to be ignored."""
    with pytest.raises(InputError, match="unknown columns: colour, prize"):
        opened("mms_id,colour,url,prize\n")
    (row,) = opened("mms_id,colour,url\n991,red,https://example.org\n", ignore_unknown=True)
    assert isinstance(row, Row)
    assert row.values == {"url": "https://example.org"}


def test_column_twice(opened: Opened) -> None:
    """Two columns of one name are rejected, since one would silently win."""
    with pytest.raises(InputError, match="names columns twice: url"):
        opened("mms_id,url,URL\n")
