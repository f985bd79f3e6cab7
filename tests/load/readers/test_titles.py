"""Which KBART lines are one title, and what contradictions between them do."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.load.readers.titles import Part, one_row, parted
from alma_async.load.row import BadRow, Coverage, Embargo, Row

TIDES = Part(
    line=2,
    title="Tide Letters",
    identity=("2434561X",),
    title_id="tides",
    url="https://example.org/tides",
    free=False,
    material="JOURNAL",
    coverage=Coverage(from_year="1990", until_year="1999"),
    embargo=None,
    notes=None,
    mms_ids=frozenset({"991"}),
    identifiers=("2434-561X",),
    warnings=(),
    problems=(),
)
LATER = attrs.evolve(TIDES, line=3, coverage=Coverage(from_year="2001"))

keyed = st.builds(
    lambda identity, title_id, url, mms_ids: attrs.evolve(
        TIDES, identity=(identity,), title_id=title_id, url=url, mms_ids=frozenset(mms_ids)
    ),
    st.sampled_from("ab"),
    st.sampled_from(["", "x", "y", "z"]),
    st.sampled_from(["https://example.org/x", "https://example.org/y", "https://example.org/z"]),
    st.sampled_from([(), ("991",), ("992",)]),
)


def reachable(parts: list[Part], start: int) -> set[int]:
    """By plain search, the lines that hang together with one line."""
    found, left = {start}, [start]
    while left:
        one = parts[left.pop()]
        for place, other in enumerate(parts):
            tied = other.identity == one.identity and (
                other.title_id == one.title_id != "" or other.url == one.url
            )
            tied = tied or (other.mms_ids == one.mms_ids != frozenset() and other.url == one.url)
            if tied and place not in found:
                found.add(place)
                left.append(place)
    return found


@given(st.lists(keyed, max_size=12))
def test_parted(parts: list[Part]) -> None:
    """Lines are one title exactly when a chain of shared ids, URLs or records connects them, and no line is lost."""
    numbered = [attrs.evolve(part, line=line) for line, part in enumerate(parts)]
    found = sorted(tuple(part.line for part in title) for title in parted(numbered))
    assert found == sorted({tuple(sorted(reachable(numbered, line))) for line in range(len(parts))})


def test_gaps_are_one_portfolio() -> None:
    """Two ranges of one title make one row with two statements, its notes joined and its record named once."""
    row = one_row(
        [attrs.evolve(TIDES, notes="old"), attrs.evolve(LATER, notes="new", mms_ids=frozenset())],
        notes="public_note",
    )
    assert isinstance(row, Row)
    assert (row.line, row.lines, row.mms_id, row.warnings) == (2, (2, 3), "991", ())
    assert row.coverage == (TIDES.coverage, LATER.coverage)
    assert row.values["public_note"] == "old; new"


def test_free_then_paid() -> None:
    """A free archive and a paid continuation that do not overlap are one portfolio."""
    assert isinstance(one_row([attrs.evolve(TIDES, free=True), LATER], notes=None), Row)


@pytest.mark.parametrize(
    ("coverage", "free"),
    [(Coverage(from_year="1995"), True), (Coverage(from_year="1999", from_month="06"), True), (None, True)],
)
def test_free_and_paid_at_once(coverage: Coverage | None, free: bool) -> None:
    """Free and paid for dates that overlap, or may, is for a person to review."""
    bad = one_row([TIDES, attrs.evolve(LATER, coverage=coverage, free=free)], notes=None)
    assert isinstance(bad, BadRow)
    (problem,) = bad.problems
    assert (bad.lines, problem.column) == ((2, 3), "access_type")
    assert problem.reason.endswith("one is free, the other paid; correct one of them")


def test_a_long_range_before() -> None:
    """A free range that spans a paid one is found however many ranges lie between them."""
    free = attrs.evolve(TIDES, free=True, coverage=Coverage(from_year="1950"))
    between = [
        attrs.evolve(
            TIDES, line=3 + n, free=True, coverage=Coverage(from_year=f"{1960 + n}", until_year=f"{1960 + n}")
        )
        for n in range(9)
    ]
    bad = one_row([free, *between, attrs.evolve(LATER, line=20)], notes=None)
    assert isinstance(bad, BadRow)
    assert [(problem.line, problem.column) for problem in bad.problems] == [(20, "access_type")]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"url": "https://example.org/elsewhere"}, "title_url"),
        ({"material": "BOOK"}, "publication_type"),
        ({"embargo": Embargo.parse("P1Y")}, "embargo_info"),
        ({"mms_ids": frozenset({"992"})}, "mms_id"),
    ],
)
def test_contradictions(change: dict[str, object], column: str) -> None:
    """What a portfolio has one of must be the same on all lines of a title."""
    bad = one_row([TIDES, attrs.evolve(LATER, **change)], notes=None)  # type: ignore[arg-type]
    assert isinstance(bad, BadRow)
    assert [problem.column for problem in bad.problems] == [column]


@pytest.mark.parametrize(
    ("identifiers", "matched", "good"),
    [(("2434-561X",), True, True), ((), True, False), (("2434-561X",), False, False)],
)
def test_without_a_record(identifiers: tuple[str, ...], matched: bool, good: bool) -> None:
    """A title without MMS id stands by its identifiers where they may be matched, and only there."""
    lines = [attrs.evolve(part, mms_ids=frozenset(), identifiers=identifiers) for part in (TIDES, LATER)]
    row = one_row(lines, notes=None, matched=matched)
    assert isinstance(row, Row) == good
    if isinstance(row, Row):
        assert (row.mms_id, row.identifiers) == (None, identifiers)


def test_overlap_and_other_title_warn() -> None:
    """Ranges of one access that overlap, and lines under different titles, are loaded with a warning."""
    row = one_row([TIDES, attrs.evolve(LATER, title="Tides", coverage=TIDES.coverage)], notes=None)
    assert isinstance(row, Row)
    assert row.coverage == (TIDES.coverage,)
    assert row.warnings == (
        "the lines of this title carry different titles: Tide Letters / Tides",
        "the coverage of line 3 overlaps with that of line 2",
    )
