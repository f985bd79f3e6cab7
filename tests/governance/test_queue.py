"""The order of calls: first come first served in a line, stride scheduling between lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alma_async._governance.admission import Line, Permit, Queue
from alma_async.settings import Priority
from tests.governance.examples import MANY


def a_call(number: int, kind: str = "") -> Permit:
    """One that waits in no line yet."""
    return Permit(None, Queue().lines[Priority.NORMAL], number, 0.0, kind, 1.0, None, False, {})  # type: ignore[arg-type]


def fill(queue: Queue, priority: Priority, count: int, *, start: int = 0) -> Line:
    """So many ready calls in a line."""
    line = queue.lines[priority]
    queue.wake(line)
    for number in range(start, start + count):
        call = a_call(number)
        line.give_permit(call)
        line.line_up(call)
    return line


def served(queue: Queue, count: int, *, now: float = 0.0) -> list[Priority]:
    """Whose turn it is, so many times."""
    order = []
    for _ in range(count):
        line = queue.next(now)
        assert line is not None
        order.append(line.priority)
        queue.grant(line, now)
    return order


def test_shares_are_eight_four_one() -> None:
    """With all lines full, every thirteen calls are eight interactive, four normal, one bulk."""
    queue = Queue()
    for priority in Priority:
        fill(queue, priority, 130)
    order = served(queue, 130)
    assert [order.count(priority) for priority in Priority] == [80, 40, 10]


def test_no_credit_for_idle_time() -> None:
    """A line that comes late gets its share from then on, not what it missed."""
    queue = Queue()
    fill(queue, Priority.NORMAL, 1000)
    served(queue, 500)
    fill(queue, Priority.INTERACTIVE, 100)
    order = served(queue, 60)
    assert order[0] is Priority.INTERACTIVE
    assert 39 <= order.count(Priority.INTERACTIVE) <= 41


def test_first_come_first_served_in_a_line() -> None:
    """Within a line the order is that of arrival, over all kinds."""
    line = Queue().lines[Priority.BULK]
    calls = [a_call(number, kind="ab"[number % 2]) for number in range(10)]
    for call in calls:
        line.enter(call)
    taken = []
    while (first := line.first(lambda _: True)) is not None:
        line.leave(first)
        taken.append(first)
    assert taken == calls


def test_a_full_kind_does_not_hold_up_others() -> None:
    """Calls of a kind whose cap is reached are passed over, and keep their place."""
    line = Queue().lines[Priority.BULK]
    slow, quick = a_call(1, kind="slow"), a_call(2, kind="quick")
    line.enter(slow)
    line.enter(quick)
    assert line.first(lambda kind: kind != "slow") is quick
    assert line.first(lambda _: True) is slow


def test_paced_line_waits_for_its_time() -> None:
    """A line paced over the day is not next before its moment, and the moments keep their distance."""
    queue = Queue()
    line = fill(queue, Priority.BULK, 3)
    line.interval = 10.0
    queue.grant(line, 100.0)
    assert (queue.next(109.9), queue.next(110.0)) == (None, line)


def test_coming_back_restores_everything() -> None:
    """A call that could not use its slot is first again and its line has paid nothing."""
    queue = Queue()
    line = fill(queue, Priority.NORMAL, 3)
    before = (line.passed, line.holding, line.in_flight, list(line.ready))
    queue.come_back(line, queue.grant(line, 0.0))
    assert (line.passed, line.holding, line.in_flight, list(line.ready)) == before


def test_ahead_counts_only_what_must_go_first() -> None:
    """Before an interactive call stand its own line and the others' guaranteed share, not ten thousand bulk calls."""
    queue = Queue()
    fill(queue, Priority.BULK, 10_000)
    assert queue.ahead(queue.lines[Priority.INTERACTIVE]) == 0
    fill(queue, Priority.INTERACTIVE, 8)
    assert queue.ahead(queue.lines[Priority.INTERACTIVE]) == 9
    assert queue.ahead(queue.lines[Priority.BULK]) == 10_008


@MANY
@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "take"]), st.integers(0, 30)), max_size=80))
def test_leaving_leaves_no_trace(steps: list[tuple[str, int]]) -> None:
    """Whatever the order of coming, going and being taken, a line is what a plain list would be."""
    line = Queue().lines[Priority.NORMAL]
    plain: list[Permit] = []
    for number, (step, which) in enumerate(steps):
        if step == "enter":
            call = a_call(number, kind="abc"[which % 3])
            line.enter(call)
            plain.append(call)
        elif step == "leave" and plain:
            call = plain.pop(which % len(plain))
            line.leave(call)
            line.leave(call)
        elif step == "take" and plain:
            first = line.first(lambda _: True)
            assert first is not None
            assert first == plain.pop(0)
            line.leave(first)
    assert line.waiting == len(plain)
    assert sorted(call.number for call in line.calls()) == [call.number for call in plain]
    assert set(line.lanes) == {call.kind for call in plain}
