"""Which pages are asked for, and which items are new."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alma_async.wire.paging import MOST_AHEAD, PAGE, Cursor


@given(st.integers(0, 5000), st.integers(0, 300))
def test_every_page_is_asked_for_once(total, offset):
    """Whatever the total, each offset from the start to the end is asked for exactly once, a bounded number at a time."""
    cursor, asked = Cursor(offset=offset), []
    while offsets := cursor.upcoming():
        assert len(offsets) <= MOST_AHEAD
        for at in offsets:
            asked.append(at)
            cursor.took(at, total, max(min(PAGE, total - at), 0))
    assert asked == (list(range(offset, total, PAGE)) or [offset])


def test_a_shrinking_list_ends():
    """The newest total counts: a list that shrinks while it is read ends, instead of waiting for items that are gone."""
    cursor = Cursor()
    cursor.took(0, 1000, PAGE)
    for at in cursor.upcoming():
        cursor.took(at, 150, 50)
    assert cursor.upcoming() == []


def test_without_a_total_a_short_page_ends():
    """Where no total is told, a full page promises another and a short one is the last."""
    cursor = Cursor()
    cursor.took(0, None, PAGE)
    assert cursor.upcoming() == [PAGE]
    cursor.took(PAGE, None, 7)
    assert cursor.upcoming() == []


def test_repeated_ids_are_old():
    """An id counts once; items without an id are never taken for repeats."""
    cursor = Cursor()
    assert [cursor.fresh(x) for x in ("a", "b", "a", None, None)] == [True, True, False, True, True]
