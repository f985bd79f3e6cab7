"""Which pages are asked for, which items are new, and whether all came."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._core.pager import MOST_AHEAD, MOST_PAGES, PAGE, READINGS, Cursor, pages_of
from alma_async.errors import BadAnswer


def cursor_of(start=0):
    return Cursor(lambda item: item, start=start)


def read(cursor, answer, *, each=lambda item: None, order=lambda pages: pages):
    """All ids that come out, where ``answer(offset)`` gives the ids of a page and the total; the pages of a round are answered
    in any order.
    """
    came = []
    while offsets := cursor.upcoming():
        assert len(offsets) <= MOST_AHEAD
        got = {offset: answer(offset) for offset in order(list(offsets))}
        for new in cursor.took([(offset, *got[offset]) for offset in offsets]):
            for one in new:
                came.append(one)
                each(one)
    return came


@given(st.integers(0, 5000), st.integers(0, 300))
def test_a_list_at_rest_costs_a_call_in_a_hundred_more(total, offset):
    """Pages begin with the item that ended the one before, none holds only that item, and none is asked for twice."""
    asked, ids = [], [str(n) for n in range(total)]

    def answer(at):
        asked.append(at)
        return ids[at : at + PAGE], total

    assert read(cursor_of(offset), answer) == ids[offset:]
    assert asked == (list(range(offset, total - 1, PAGE - 1)) or [offset])
    assert len(asked) == pages_of(max(total - offset, 0), PAGE)


class Others:
    """A list that others add to and delete from, anywhere, between any two answers; the rest keeps its order."""

    def __init__(self, rng, count, *, rate, even):
        self.rng, self.rate, self.even = rng, rate, even
        self.ids = [f"old{n}" for n in range(count)]
        self.stays = set(self.ids)
        self.added = 0

    def work(self):
        for _ in range(self.rng.choice((1, 1, 2, 5, 40)) if self.rng.random() < self.rate else 0):
            if self.even or self.rng.random() < 0.5:
                self._delete()
            if self.even or self.rng.random() < 0.5:
                self.ids.insert(
                    self.rng.choice((0, len(self.ids), self.rng.randint(0, len(self.ids)))), self._new()
                )

    def _delete(self):
        if self.ids:
            at = self.rng.choice((0, self.rng.randrange(len(self.ids)), self.rng.randrange(len(self.ids))))
            self.stays.discard(self.ids.pop(at))

    def _new(self):
        self.added += 1
        return f"new{self.added}"

    def answer(self, at):
        self.work()
        return self.ids[at : at + PAGE], len(self.ids)


@pytest.mark.parametrize("even", [True, False], ids=["total unchanged", "total changes"])
@pytest.mark.parametrize("rate", [0.03, 0.3])
def test_whatever_goes_and_comes_what_stays_is_not_missed(even, rate):
    """Deletions and additions between any two of the answers, made in any order, lose no item that was there all the while."""
    whole = 0
    for seed in range(1000):
        rng = random.Random(seed)
        others = Others(rng, rng.choice((90, 101, 199, 250, 900, 2500)), rate=rate, even=even)
        try:
            came = read(
                cursor_of(), others.answer, order=lambda pages, rng=rng: rng.sample(pages, len(pages))
            )
        except BadAnswer as error:
            assert "keeps changing" in str(error), seed
            continue
        assert len(came) == len(set(came)), seed
        assert others.stays <= set(came), seed
        whole += 1
    assert whole > 900


@given(st.randoms(use_true_random=False), st.integers(0, 900))
def test_a_list_that_shrinks_loses_nothing(rng, count):
    """Whatever is deleted between any two answers, in whatever order they were made, every item that stays comes out once."""
    ids = [str(n) for n in range(count)]

    def answer(at):
        if rng.random() < 0.2:
            for _ in range(min(rng.randrange(250), len(ids))):
                ids.pop(rng.randrange(min(len(ids), max(1, at + 50))))
        return ids[at : at + PAGE], len(ids)

    came = read(cursor_of(), answer)
    assert len(came) == len(set(came))
    assert set(ids) <= set(came)


@given(st.integers(1, 3000))
def test_deleting_what_comes_deletes_all(count):
    """Who deletes each item as it comes reads a list to its end that moves up all the while."""
    ids = [str(n) for n in range(count)]
    read(cursor_of(), lambda at: (ids[at : at + PAGE], len(ids)), each=ids.remove)
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

    came = read(cursor_of(), answer)
    assert sorted(came) == sorted(ids)


@pytest.mark.parametrize("most", [2, 10, 50, 99])
@pytest.mark.parametrize("count", [1, 100, 730])
def test_a_server_that_gives_fewer_than_were_asked_for_is_read_whole(count, most):
    """Where no page holds as many items as were asked for, the next is asked for from where the last one ended."""
    ids = [str(n) for n in range(count)]
    asked = []

    def answer(at):
        asked.append(at)
        return ids[at : at + most], count

    assert read(cursor_of(), answer) == ids
    assert len(asked) <= 2 * (pages_of(count, most) + MOST_AHEAD)


@pytest.mark.parametrize("seed", range(20))
def test_a_list_in_another_order_each_time_is_whole_or_refused(seed):
    """Where items keep no order, all of those at rest came if it is not refused: the number tells."""
    rng = random.Random(seed)
    ids = [str(n) for n in range(rng.choice((80, 150, 450, 1200)))]

    def answer(at):
        rng.shuffle(ids)
        return ids[at : at + PAGE], len(ids)

    try:
        came = read(cursor_of(), answer)
    except BadAnswer as error:
        assert f"says that there are {len(ids):,}" in str(error)
    else:
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
        read(cursor_of(), answer)
    assert len(asked) <= READINGS * (count // PAGE + 1 + MOST_AHEAD)


def test_a_total_that_never_rests_ends():
    """A list whose total goes up and down for ever, with other items each time, is given up after a bounded number of pages."""
    rng, asked = random.Random(1), []

    def answer(at):
        asked.append(at)
        return [str(rng.random()) for _ in range(PAGE)], rng.choice((5_000, 50_000))

    with pytest.raises(BadAnswer, match="keeps changing"):
        read(cursor_of(), answer)
    assert len(asked) < 2100


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("seed", range(100))
def test_glitches_of_pages_never_end_a_list_early(seed, size):
    """Pages may be shifted with their total, empty under a total, or cut short: a list at rest comes whole, or is refused."""
    rng = random.Random(seed)
    items, chance = [f"{n}" for n in range(rng.randint(0, 3 * size))], rng.choice((0.2, 0.5, 0.8))
    cursor = Cursor(str, page=size)

    def page(offset):
        glitch = rng.choice(("first gone", "one before", "null", "short")) if rng.random() < chance else ""
        held = {"first gone": items[1:] if offset else items, "one before": ["other", *items]}.get(
            glitch, items
        )
        there = held[offset : offset + size]
        there = {"null": [], "short": there[: rng.randint(1, size)]}.get(glitch, there)
        return offset, there, len(held)

    came = set()
    try:
        for _ in range(300):
            if not (offsets := cursor.upcoming()):
                break
            came.update(*cursor.took([page(offset) for offset in offsets]))
        else:
            pytest.fail("no end")
    except BadAnswer:
        return
    assert came >= {*items}


def nameless(*pages):
    """A cursor that took these pages of items without ids."""
    cursor = Cursor(lambda _: None)
    for offset, count, total in pages:
        assert offset in cursor.upcoming()
        assert cursor.took([(offset, [0] * count, total)]) == [[0] * count]
    return cursor


def test_items_without_ids_are_given_once():
    """Where repeats could not be told, pages do not overlap."""
    cursor = nameless((0, 100, 200), (100, 100, 200))
    assert cursor.upcoming() == []


@pytest.mark.parametrize("total", [150, 80])
def test_items_without_ids_are_never_read_again(total):
    """Where repeats could not be told, a list that moved or came short is refused at once."""
    cursor = nameless((0, 100, 200), (100, max(total - 100, 0), total))
    with pytest.raises(BadAnswer):
        cursor.upcoming()


def test_a_list_without_ids_that_grew_shorter_says_so():
    """As many came as the total says at last: that is not what is wrong, and it is not told as if it were."""
    cursor = nameless((0, 100, 350), (100, 100, 200))
    with pytest.raises(BadAnswer, match="grew shorter while it was read"):
        cursor.upcoming()


@pytest.mark.parametrize("total", [None, 0, 50])
@pytest.mark.parametrize("differ", [False, True])
def test_a_list_without_ids_and_total_is_read_to_some_end(total, differ):
    """One page whatever is asked for, or ever new ones: neither is read for ever, and both are a bad answer."""
    asked = []

    def answer(at):
        asked.append(at)
        assert len(asked) <= MOST_PAGES
        return [len(asked) if differ else 0] * PAGE, total

    with pytest.raises(BadAnswer, match="neither ids nor a total"):
        read(Cursor(lambda _: None), answer)
    assert differ or len(asked) < 5


def test_alike_pages_of_a_list_that_has_a_total_are_no_fault():
    """Items without ids may well be alike, and a total says how many there are."""
    assert read(Cursor(lambda _: None), lambda at: ([0] * PAGE, 1000)) == [0] * 1000


def test_where_ids_end_the_overlap_ends():
    """Pages asked for beside one that turns out to hold items without ids are asked for again from its end."""
    cursor, ids = cursor_of(), [*map(str, range(150)), *[""] * 250]
    page = lambda at: (at, ids[at : at + PAGE], len(ids))  # noqa: E731
    assert read(cursor, lambda at: page(at)[1:]) == ids


@pytest.mark.parametrize("count", [0, 99, 100, 107, 199, 200, 350])
def test_without_a_total_a_short_page_ends(count):
    """Where no total is told, a full page promises another and a short one is the last."""
    ids = [str(n) for n in range(count)]
    asked = []

    def answer(at):
        asked.append(at)
        return ids[at : at + PAGE], None

    assert read(cursor_of(), answer) == ids
    assert asked == list(range(0, count, PAGE - 1)) or asked == [0]


def test_repeated_ids_are_old():
    """An id counts once; items without an id are never taken for repeats."""
    cursor = cursor_of()
    assert cursor.took([(0, ["a", "b", "a", None, None, "", ""], 7)]) == [["a", "b", None, None, "", ""]]


@pytest.mark.parametrize("said", [0, 1, 50, 99])
@pytest.mark.parametrize("most", [PAGE, 40])
@pytest.mark.parametrize("count", [2, 100, 101, 199, 350, 1200])
@pytest.mark.parametrize("since", [0, 150])
@pytest.mark.parametrize("named", [True, False])
def test_a_total_that_its_own_page_disproves_ends_no_list(said, most, count, since, named):
    """Pages that come with a total of less than they hold, from the first on or later, are read on until nothing new comes."""
    ids, asked = [str(n) for n in range(count)], []

    def answer(at):
        asked.append(at)
        items = ids[at : at + most]
        disproved = at >= since and items and said < at + len(items)
        return items, (said if disproved else count)

    cursor = Cursor((lambda item: item) if named else (lambda item: None))
    assert read(cursor, answer) == ids
    assert len(asked) <= 2 * (pages_of(count, most) + MOST_AHEAD)


@pytest.mark.parametrize("total", [None, 0, 50])
@pytest.mark.parametrize("count", [99, 100])
def test_a_server_that_gives_one_page_whatever_is_asked_for_ends(total, count):
    """The same items under any offset, without a total that holds, are given once, after two calls."""
    ids, asked = [str(n) for n in range(count)], []

    def answer(at):
        asked.append(at)
        assert len(asked) < 5
        return ids, total

    assert read(cursor_of(), answer) == ids
