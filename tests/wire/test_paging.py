"""Which pages are asked for, which items are new, and whether all came."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.errors import BadAnswer
from alma_async.wire.paging import MOST_AHEAD, PAGE, READINGS, Cursor


def read(cursor, answer):
    """All ids that come out, where ``answer(offset)`` gives the ids of a page and the total."""
    came = []
    while offsets := cursor.upcoming():
        assert len(offsets) <= MOST_AHEAD
        pages = [(offset, *answer(offset)) for offset in offsets]
        cursor.took((offset, total, len(ids)) for offset, ids, total in pages)
        came += [one for _, ids, _ in pages for one in ids if cursor.fresh(one)]
    return came


@given(st.integers(0, 5000), st.integers(0, 300))
def test_every_page_is_asked_for_once(total, offset):
    """Whatever the total, each offset from the start to the end is asked for exactly once, a bounded number at a time."""
    asked, ids = [], [str(n) for n in range(total)]

    def answer(at):
        asked.append(at)
        return ids[at : at + PAGE], total

    assert read(Cursor(start=offset), answer) == ids[offset:]
    assert asked == (list(range(offset, total, PAGE)) or [offset])


@given(st.randoms(use_true_random=False), st.integers(0, 900))
def test_a_list_that_shrinks_loses_nothing(rng, count):
    """Whatever is deleted between any two answers, in whatever order they were made, every item that stays comes out once."""
    ids = [str(n) for n in range(count)]

    def answer(at):
        if rng.random() < 0.2:
            for _ in range(min(rng.randrange(250), len(ids))):
                ids.pop(rng.randrange(min(len(ids), max(1, at + 50))))
        return ids[at : at + PAGE], len(ids)

    came = read(Cursor(), answer)
    assert len(came) == len(set(came))
    assert set(ids) <= set(came)


@given(st.integers(1, 1500))
def test_deleting_what_comes_deletes_all(count):
    """Who deletes each item as it comes reads a list to its end that moves up all the while."""
    ids = [str(n) for n in range(count)]
    cursor = Cursor()
    while offsets := cursor.upcoming():
        pages = [(at, ids[at : at + PAGE]) for at in offsets]
        cursor.took((at, len(ids), len(page)) for at, page in pages)
        for _, page in pages:
            for one in page:
                if cursor.fresh(one):
                    ids.remove(one)
    assert ids == []


@given(st.randoms(use_true_random=False), st.integers(1, 1200), st.integers(1, READINGS - 1))
def test_what_a_shifted_page_left_out_is_read_again(rng, count, glitches):
    """Pages that come without items, empty or shifted are made up for by reading again, with nothing given twice."""
    ids, left = [str(n) for n in range(count)], [glitches]

    def answer(at):
        if left[0] and rng.random() < 0.3:
            left[0] -= 1
            by = rng.choice((None, -1, 1, 5))
            return ([] if by is None else ids[max(at + by, 0) : max(at + by, 0) + PAGE]), count
        return ids[at : at + PAGE], count

    came = read(Cursor(), answer)
    assert sorted(came) == sorted(ids)


@pytest.mark.parametrize(("count", "total"), [(0, 5), (99, 100), (250, 251), (0, 10**12), (100, 10**12)])
def test_fewer_items_than_the_total_is_an_error(count, total):
    """A list that stays short is read a bounded number of times and refused, naming both figures."""
    asked = []

    def answer(at):
        asked.append(at)
        return [str(n) for n in range(count)][at : at + PAGE], total

    with pytest.raises(
        BadAnswer, match=f"{count:,} items came, and the server says that there are {total:,}"
    ):
        read(Cursor(), answer)
    assert len(asked) <= READINGS * (count // PAGE + 1 + MOST_AHEAD)


def test_a_total_that_never_rests_ends():
    """A list whose total goes up and down for ever, with other items each time, is given up after a bounded number of pages."""
    rng, asked = random.Random(1), []

    def answer(at):
        asked.append(at)
        return [str(rng.random()) for _ in range(PAGE)], rng.choice((5_000, 50_000))

    with pytest.raises(BadAnswer, match="keeps changing"):
        read(Cursor(), answer)
    assert len(asked) < 2100


def test_items_without_ids_are_never_read_again():
    """Where repeats could not be told, a list that moved or came short is refused at once."""
    for total in (150, 80):
        cursor = Cursor()
        cursor.took([(0, 200, 100)])
        assert [cursor.fresh(None) for _ in range(100)] == [True] * 100
        cursor.took([(100, total, max(total - 100, 0))])
        with pytest.raises(BadAnswer):
            cursor.upcoming()


def test_without_a_total_a_short_page_ends():
    """Where no total is told, a full page promises another and a short one is the last."""
    cursor = Cursor()
    cursor.took([(0, None, PAGE)])
    assert cursor.upcoming() == [PAGE]
    cursor.took([(PAGE, None, 7)])
    assert cursor.upcoming() == []


def test_repeated_ids_are_old():
    """An id counts once; items without an id are never taken for repeats."""
    cursor = Cursor()
    assert [cursor.fresh(x) for x in ("a", "b", "a", None, None, "", "")] == [True, True, False] + [True] * 4
