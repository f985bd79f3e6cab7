"""A row of a changed file goes on where it stood, or begins again where it asks for something else."""

from __future__ import annotations

import attrs
import pytest

from alma_async.load.changed import gone, resumed
from alma_async.load.entries import Entry, Moment, State, Step

NOW = Moment(wall=1.0, mono=1.0, boot="b")
OLD = Entry(
    n=3,
    line=4,
    state=State.DONE,
    step=Step.UPDATE,
    key=b"k",
    payload=b"p",
    portfolio_id="53",
    action="created",
)
SAME = Entry(n=9, line=7, state=State.PENDING, key=b"k", payload=b"p")
OTHER = attrs.evolve(SAME, payload=b"q")


@pytest.mark.parametrize("state", list(State))
def test_who_asks_for_the_same_stays_where_it_was(state):
    """An unchanged row keeps all it had, under its new number and line."""
    old = attrs.evolve(OLD, state=state)
    assert resumed(old, SAME) == attrs.evolve(old, n=9, line=7)


@pytest.mark.parametrize("state", [State.DONE, State.REVIEW, State.REJECTED])
def test_what_was_finished_and_changed_is_updated(state):
    """A finished row that now asks for something else is updated where it has a portfolio, and matched anew where it has none."""
    again = resumed(attrs.evolve(OLD, state=state, attempts=2, code="c", message="m"), OTHER)
    assert (again.state, again.step, again.portfolio_id, again.action) == (
        State.PENDING,
        Step.UPDATE,
        "53",
        "created",
    )
    assert (again.attempts, again.code, again.message, again.payload) == (0, None, None, b"q")
    never = resumed(attrs.evolve(OLD, state=state, portfolio_id=None, action=None), OTHER)
    assert (never.state, never.step) == (State.PENDING, Step.MATCH)


def test_what_was_left_alone_begins_anew():
    """Of a row that found nothing to do nothing was kept, and it may be left alone again: it begins from its beginning."""
    assert resumed(attrs.evolve(OLD, action="unchanged"), OTHER) == OTHER
    assert resumed(attrs.evolve(OLD, action="unchanged"), SAME).action == "unchanged"


def test_what_is_unknown_is_still_read_back():
    """A row whose outcome is unknown rests on as it did, whatever it asks for now: a send again would double it."""
    unknown = attrs.evolve(
        OLD, state=State.UNKNOWN, step=Step.CREATE, portfolio_id=None, since=NOW, attempts=1
    )
    assert resumed(unknown, OTHER) == attrs.evolve(unknown, n=9, line=7, payload=b"q")


def test_who_is_gone_ends():
    """A row that is in the file no more ends: refused where nothing was sent, and for a person to see where something was."""
    assert gone(attrs.evolve(OLD, state=State.PENDING, action=None)).state is State.REJECTED
    assert gone(attrs.evolve(OLD, state=State.PENDING)).state is State.REVIEW
    ended = gone(attrs.evolve(OLD, state=State.UNKNOWN, since=NOW))
    assert (ended.state, ended.since) == (State.REVIEW, None)
