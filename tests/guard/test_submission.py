"""An intent's name is its own, and what a session tells of it is written down."""

from __future__ import annotations

import anyio
import pytest

from alma_async._clock import Clock
from alma_async._guard.ledger import SqliteLedger
from alma_async._guard.monitor import Monitor
from alma_async._guard.rules import Timing
from alma_async._guard.state import RunState
from alma_async._guard.submission import NotYet, Submission
from alma_async.settings import JobLimits
from tests.guard.model import ModelAlma
from tests.guard.ports import DONE, FULL, LOST, NOT_SENT, ModelPort

EPOCH = 1_790_000_000.0


@pytest.fixture
async def monitor(folder):
    clock = Clock(epoch=EPOCH)
    ledger = SqliteLedger(folder / "s" / "l" / "a.ledger", clock=clock)
    port = ModelPort(ModelAlma(time=clock.wall, duration=lambda _: 10.0), clock)
    out = Monitor(ledger, port, clock=clock, limits=JobLimits(running=1), timing=Timing())
    await out.open()
    yield out
    ledger.close()


async def test_no_name_is_the_beginning_of_another(monitor):
    """The mark closes the name: labels that begin alike, and keys of other jobs, make names that are told apart."""
    cases = [
        ("M1", "load", "a"),
        ("M1", "load", "b"),
        ("M2", "load", "a"),
        ("M1", "load 2", "a"),
        ("M1", "load", None),
    ]
    names = [Submission(monitor, job, {"job_name": label}, key).name for job, label, key in cases]
    names.append(Submission(monitor, "M1", {"job_name": "load"}, None).name)
    assert not [(one, two) for one in names for two in names if one is not two and two.startswith(one)]


async def test_a_key_gives_the_same_name_in_every_process(monitor):
    """What a crash left behind is found again by whoever knows the key; the parameters keep no job name of their own."""
    one, two = (Submission(monitor, "M1", {"job_name": "load", "set_id": "5"}, "a") for _ in range(2))
    assert (one.name, one.key) == (two.name, two.key)
    assert one.parameters == {"set_id": "5"}


async def test_a_reservation_counts_from_the_last_moment_at_which_it_may_be_carried_out(monitor):
    """The deadline of the send, as late as the server's clock may show it then, and the quarantine."""
    submission = Submission(monitor, "M1", {}, None)
    deadline = anyio.current_time() + 120.0
    await submission.intend(deadline)
    run = (await monitor.read()).runs[submission.key]
    assert run.state is RunState.RESERVED
    assert run.latest_start == pytest.approx(monitor.at(deadline).latest + 300.0, abs=0.01)
    assert run.reserved_at <= monitor.now().earliest


async def test_a_reservation_that_is_not_granted_is_not_sent(monitor):
    """With the slot taken since the guard asked, the intent is refused before the send."""
    await Submission(monitor, "M1", {}, None).intend(anyio.current_time() + 120)
    late = Submission(monitor, "M2", {}, None)
    with pytest.raises(NotYet):
        await late.intend(anyio.current_time() + 120)
    assert late.key not in (await monitor.read()).runs


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (DONE, RunState.RESERVED),
        (LOST, RunState.UNKNOWN),
        (NOT_SENT, RunState.RETURNED),
        (FULL, RunState.REJECTED),
    ],
)
async def test_each_outcome_is_written_down_at_once(monitor, outcome, state):
    """What the session settles is in the ledger when settle returns, without any waiting."""
    submission = Submission(monitor, "M1", {}, None)
    await submission.intend(anyio.current_time() + 120)
    submission.settle(outcome)
    assert (await monitor.read(key=submission.key)).runs[submission.key].state is state


async def test_a_session_that_tries_again_reserves_again(monitor):
    """After an attempt that was not sent, the next submission of the same call gets a reservation of its own."""
    submission = Submission(monitor, "M1", {}, None)
    for _ in range(2):
        await submission.intend(anyio.current_time() + 120)
        submission.settle(NOT_SENT)
    await submission.intend(anyio.current_time() + 120)
    submission.settle(DONE)
    assert submission.accepted("M1", "7").instance_id == "7"
    assert (await monitor.read()).runs[submission.key].state is RunState.RUNNING
