"""The table of a run's life: what can happen to it, and what cannot."""

from __future__ import annotations

from itertools import product

import attrs
import pytest

from alma_async._guard.state import (
    COUNTS,
    OCCUPIES,
    TABLE,
    UNRESOLVED,
    Book,
    IllegalEvent,
    Run,
    RunEvent,
    RunState,
    after,
)

RUN = Run(key="k", job_id="M1", name="n k", state=RunState.RESERVED, reserved_at=0.0, latest_start=0.0)


@pytest.mark.parametrize(("state", "event"), list(product(RunState, RunEvent)))
def test_every_pair_moves_on_or_raises_and_changes_nothing(state, event):
    """Each of all pairs of state and event either has its place in the table, or raises and leaves the run where it was."""
    book = Book(runs={"k": attrs.evolve(RUN, state=state)})
    before = book.copy()
    if event in TABLE[state]:
        assert book.move(RUN, event).state is after(state, event) is book.runs["k"].state
    else:
        with pytest.raises(IllegalEvent, match=event.value):
            book.move(RUN, event)
        assert book == before


def test_every_state_can_be_reached_and_only_ends_are_ends():
    """From a reservation every state is reachable; what occupies a slot can always come to free it."""
    reached, edge = {RunState.RESERVED}, {RunState.RESERVED}
    while edge:
        edge = {to for state in edge for to in TABLE[state].values()} - reached
        reached |= edge
    assert reached == set(RunState)
    for state in OCCUPIES:
        assert set(TABLE[state].values()) - OCCUPIES


def test_an_unresolved_run_holds_its_slot_and_its_start():
    """Nobody's ignorance frees anything; a run that was not found counts as a start and no longer as running."""
    assert UNRESOLVED < OCCUPIES < COUNTS
    assert RunState.NOT_FOUND in COUNTS - OCCUPIES
    assert not {RunState.RETURNED, RunState.REJECTED} & COUNTS


@pytest.mark.parametrize("state", [s for s in RunState if s not in (RunState.RETURNED, RunState.REJECTED)])
def test_only_what_provably_had_no_effect_may_be_sent_again(state):
    """No state but returned and refused allows a second reservation of the same intent."""
    with pytest.raises(IllegalEvent):
        after(state, RunEvent.RESERVE)
