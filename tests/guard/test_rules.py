"""The rule against a naive oracle, and what refusals teach."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._guard.port import Spare
from alma_async._guard.rules import (
    Go,
    Taken,
    Timing,
    WaitUntil,
    ask,
    claim,
    decide,
    forecast,
    reserve,
    settle,
)
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import EVERY_JOB, Block, Book, Run, RunEvent, RunState, Waiter, Why
from alma_async.errors import ConfigurationError
from alma_async.settings import JobLimits
from tests.guard.ports import FULL, LOST, NOT_SENT, OVERLAP

LIMITS, TIMING = JobLimits(margin=0.0), Timing()
NOW = ServerTime(at=10_000.0, error=1.0)


def run(n, job_id="M1", *, age=0.0, state=RunState.ENDED, **more):
    started = NOW.at - age
    return Run(
        **{
            "key": f"k{n}",
            "job_id": job_id,
            "name": f"n{n}",
            "state": state,
            "reserved_at": started,
            "latest_start": started,
            "instance_id": f"i{n}",
            **more,
        }
    )


def book(*runs, waiters=(), blocks=()):
    return Book(
        runs={r.key: r for r in runs},
        waiters={w.key: w for w in waiters},
        blocks={b.job_id: b for b in blocks},
    )


def waiter(key, job_id="M1", *, since=0.0, until=math.inf, watches=False):
    return Waiter(key=key, job_id=job_id, since=since, until=until, watches=watches)


RUNS = st.lists(
    st.builds(
        lambda job, age, state, api: (job, age, state, api),
        st.sampled_from(["M1", "M2"]),
        st.floats(0.0, 8000.0),
        st.sampled_from(list(RunState)),
        st.booleans(),
    ),
    max_size=12,
)


@given(RUNS, st.integers(1, 4), st.integers(1, 6))
def test_it_says_go_exactly_when_a_count_of_the_past_hour_says_so(facts, running, starts):
    """Over arbitrary ledgers the rule agrees with counting runs and starts one by one, at the earliest possible time."""
    runs = [run(n, job, age=age, state=state, by_api=api) for n, (job, age, state, api) in enumerate(facts)]
    limits = JobLimits(running=running, starts=starts, margin=0.0)
    held = [state in (RunState.RUNNING, RunState.UNKNOWN, RunState.RESERVED) for _, _, state, _ in facts]
    slots = sum(hold and api for hold, (_, _, _, api) in zip(held, facts, strict=True))
    counts = ("running", "unknown", "reserved", "ended", "not found", "not known any more")
    recent = sum(
        job == "M1" and state.value in counts and NOW.at - age + 3600.0 > NOW.at - 1.0
        for job, age, state, _ in facts
    )
    decision = decide(book(*runs), "M1", now=NOW, limits=limits)
    assert isinstance(decision, Go) == (slots < running and recent < starts)


@given(RUNS)
def test_the_moment_it_names_is_the_first_that_is_free(facts):
    """At the moment named, and at none before it, the same ledger says go."""
    held = (RunState.RUNNING, RunState.UNKNOWN, RunState.RESERVED)
    runs = [
        run(n, "M1", age=age, state=state) for n, (_, age, state, _) in enumerate(facts) if state not in held
    ]
    then = decide(book(*runs), "M1", now=NOW, limits=LIMITS)
    if isinstance(then, WaitUntil):
        assert then.firm
        at = lambda moment: ServerTime(at=moment, error=0.0)  # noqa: E731
        assert isinstance(decide(book(*runs), "M1", now=at(then.moment), limits=LIMITS), Go)
        just_before = at(math.nextafter(then.moment, 0))
        assert isinstance(decide(book(*runs), "M1", now=just_before, limits=LIMITS), WaitUntil)


def test_the_clocks_error_counts_against_us():
    """A start is old enough only when the earliest possible time says so, margin included."""
    limits = JobLimits(starts=1, margin=2.0)
    for age, free in ((3602.5, False), (3603.0, True)):
        assert isinstance(decide(book(run(1, age=age)), "M1", now=NOW, limits=limits), Go) is free


def test_a_run_of_unknown_fate_makes_the_moment_uncertain():
    """Where the counted starts include one that may turn out not to have happened, the moment may come nearer."""
    runs = [run(n, age=100.0 * n) for n in range(4)] + [run(9, state=RunState.UNKNOWN)]
    decision = decide(book(*runs), "M1", now=NOW, limits=LIMITS)
    assert isinstance(decision, WaitUntil)
    assert (decision.why, decision.firm) == (Why.STARTS, False)


def test_first_come_first_served_but_nobody_waits_for_one_who_cannot_go():
    """The last slot is the first waiter's; one whose hour is full does not hold up another job behind it."""
    running = [run(n, "M9", state=RunState.RUNNING) for n in range(2)]
    first, second = waiter("a", "M2", since=1.0), waiter("b", "M3", since=2.0)
    free = book(*running, waiters=[first, second])
    assert isinstance(ask(free, second, now=NOW, limits=LIMITS, timing=TIMING).decision, WaitUntil)
    assert isinstance(ask(free, first, now=NOW, limits=LIMITS, timing=TIMING).decision, Go)
    full = [run(10 + n, "M2", age=10.0) for n in range(5)]
    held = book(*running, *full, waiters=[first, second])
    assert isinstance(ask(held, second, now=NOW, limits=LIMITS, timing=TIMING).decision, Go)


def test_a_newcomer_stands_behind_all_who_wait():
    """Who is not in the line yet does not take the slot from one who is."""
    running = [run(n, "M9", state=RunState.RUNNING) for n in range(2)]
    line = book(*running, waiters=[waiter("a", "M2", since=1.0)])
    newcomer, its_place = run("x", "M3", state=RunState.RESERVED), waiter("x", since=2.0)
    mine = reserve(line, newcomer, its_place, now=NOW, limits=LIMITS, timing=TIMING)
    assert isinstance(mine, WaitUntil)
    assert "kx" not in line.runs


def test_a_waiter_without_a_sign_of_life_is_passed_over():
    """A dead process's place in the line lapses, and the next one goes."""
    running = [run(n, "M9", state=RunState.RUNNING) for n in range(2)]
    line = book(*running, waiters=[waiter("dead", since=1.0, until=NOW.at - 5), waiter("b", since=2.0)])
    assert isinstance(ask(line, waiter("b", since=2.0), now=NOW, limits=LIMITS, timing=TIMING).decision, Go)
    assert "dead" not in line.waiters


def test_one_waiter_watches_for_all():
    """Of several who wait for a running job, only the first is told to look, and only when a look is due."""
    runs = [run(n, "M9", state=RunState.RUNNING, poll_at=NOW.at - n) for n in range(3)]
    line = book(*runs)
    first = ask(line, waiter("a", since=1.0), now=NOW, limits=LIMITS, timing=TIMING)
    later = NOW.later(TIMING.first_poll + 3.0)
    second = ask(line, waiter("b", since=2.0), now=later, limits=LIMITS, timing=TIMING)
    assert {each.key for each in first.due} == {"k0", "k1", "k2"}
    assert second.due == []
    assert first.ask_again_at == NOW.at + TIMING.first_poll
    assert ask(line, waiter("a", since=1.0), now=NOW, limits=LIMITS, timing=TIMING).due == []
    assert len(ask(line, waiter("a", since=1.0), now=later, limits=LIMITS, timing=TIMING).due) == 3


def test_reading_deciding_and_writing_are_one():
    """A reservation that is granted counts at once, and once: its waiter is out of the line, and the next one is refused."""
    line = book(waiters=[waiter("k1")])
    limits = JobLimits(running=1)
    one, two = (run(n, state=RunState.RESERVED, instance_id=None) for n in (1, 2))
    how = {"now": NOW, "limits": limits, "timing": TIMING}
    assert isinstance(reserve(line, one, waiter("k1"), **how), Go)
    assert isinstance(reserve(line, two, waiter("k2"), **how), WaitUntil)
    assert (set(line.runs), line.waiters) == ({"k1"}, {})


@pytest.mark.parametrize("state", list(RunState))
def test_an_intent_is_reserved_twice_only_where_the_first_had_no_effect(state):
    """The same key is taken in every state but returned and refused."""
    line = book(run(1, state=state))
    mine = run(1, state=RunState.RESERVED)
    again = reserve(line, mine, waiter("k1"), now=NOW, limits=LIMITS, timing=TIMING)
    free = state in (RunState.RETURNED, RunState.REJECTED)
    assert isinstance(again, Go if free else Taken)
    assert line.runs["k1"].state is (RunState.RESERVED if free else state)


@pytest.mark.parametrize("ages", [[], [100.0], [100.0, 3000.0], [10.0, 20.0, 30.0, 40.0], [5000.0]])
def test_a_refusal_that_the_starts_do_not_explain_is_of_the_running_jobs(ages):
    """402222 and 402223 with a free hour mean running jobs unseen: a quarter of an hour, whatever the starts, and no firm one."""
    mine = run("m", state=RunState.RESERVED, instance_id=None)
    line = book(mine, *(run(n, age=age) for n, age in enumerate(ages)))
    settle(line, mine, FULL, now=NOW, timing=TIMING)
    assert line.runs["km"].state is RunState.REJECTED
    decision = decide(line, "M1", now=NOW, limits=LIMITS)
    assert isinstance(decision, WaitUntil)
    assert (decision.moment, decision.why, decision.firm) == (NOW.latest + 900.0, Why.REJECTED, False)
    assert isinstance(decide(line, "M2", now=NOW, limits=LIMITS), Go)


@pytest.mark.parametrize("event", [RunEvent.END, RunEvent.VANISH])
def test_any_end_that_is_seen_lifts_a_refusal(event):
    """A run that ends, of whatever job, or that Alma does not know any more, makes room: the refused job may try again."""
    mine, other = run("m", state=RunState.RESERVED), run(1, "M9", state=RunState.RUNNING)
    by_hand = run(2, "M9", state=RunState.RUNNING, by_api=False)
    line = book(mine, other, by_hand)
    settle(line, mine, FULL, now=NOW, timing=TIMING)
    line.end(by_hand)
    assert isinstance(decide(line, "M1", now=NOW, limits=LIMITS), WaitUntil)
    line.end(other, event)
    assert isinstance(decide(line, "M1", now=NOW, limits=LIMITS), Go)


def test_an_overlap_waits_for_the_jobs_run_and_is_not_tried_before():
    """60347 with a run of the job known: no moment, until that run has ended, though the block's own time is over."""
    mine, other = run("m", state=RunState.RESERVED, instance_id=None), run(1, state=RunState.RUNNING)
    line = book(mine, other)
    settle(line, mine, OVERLAP, now=NOW, timing=TIMING)
    held = decide(line, "M1", now=NOW.later(2000.0), limits=LIMITS)
    assert isinstance(held, WaitUntil)
    assert (held.moment, held.why, held.firm) == (math.inf, Why.OVERLAP, False)
    ask(line, waiter("a"), now=NOW.later(2000.0), limits=LIMITS, timing=TIMING)
    assert line.blocks
    line.end(other)
    assert isinstance(decide(line, "M1", now=NOW, limits=LIMITS), Go)


def test_an_overlap_with_what_is_not_known_is_tried_after_a_while():
    """60347 without a run of the job in sight holds it back for five minutes, or to the next end of any run."""
    mine = run("m", state=RunState.RESERVED, instance_id=None)
    line = book(mine, run(1, "M9", state=RunState.RUNNING))
    settle(line, mine, OVERLAP, now=NOW, timing=TIMING)
    held = decide(line, "M1", now=NOW, limits=LIMITS)
    assert isinstance(held, WaitUntil)
    assert (held.moment, held.firm) == (NOW.latest + 300.0, False)
    line.end(line.runs["k1"])
    assert line.blocks == {}


def test_a_lost_answer_counts_until_the_request_can_no_longer_be_carried_out():
    """Unknown: slot and start stay taken, from the end of the quarantine. Not sent: both are free again."""
    mine = run("m", state=RunState.RESERVED, instance_id=None)
    lost, returned = book(mine), book(mine)
    settle(lost, mine, LOST, now=NOW, timing=TIMING)
    settle(returned, mine, NOT_SENT, now=NOW, timing=TIMING)
    only = JobLimits(running=3, starts=1, margin=0.0)
    held = decide(lost, "M1", now=NOW, limits=only)
    assert isinstance(held, WaitUntil)
    assert held.moment == NOW.latest + 300.0 + 3600.0
    assert isinstance(decide(returned, "M1", now=NOW, limits=only), Go)


def test_after_a_lost_ledger_no_job_starts_within_the_quarantine():
    """The block on every job gets its end from the first who knows the time, and ends then."""
    line = book(blocks=[Block(job_id=EVERY_JOB, until=math.inf, why=Why.LOST)])
    asked = ask(line, waiter("a", since=1.0), now=NOW, limits=LIMITS, timing=TIMING)
    until = NOW.latest + 300.0
    assert asked.decision == WaitUntil(moment=until, why=Why.LOST, worth_asking_at=until)
    later = NOW.later(302.5)
    assert isinstance(ask(line, waiter("a"), now=later, limits=LIMITS, timing=TIMING).decision, Go)
    assert line.blocks == {}


def test_looks_grow_rarer_with_the_age_of_the_run():
    """A run is looked at soon, then in steps of its age, and at least once in the longest step."""
    steps = [TIMING.next_poll(age) for age in (0.0, 200.0, 2000.0, 1e6)]
    assert steps == [5.0, 5.0, 40.0, 300.0]


@pytest.mark.parametrize("usual", [60.0, 600.0, 7200.0, 40_000.0])
def test_earlier_durations_tell_when_to_look(usual):
    """Where earlier runs took so long, a run is looked at few times before, and found within 2 % when it takes the same."""
    age, looks = 0.0, 0
    while age <= usual:
        age, looks = age + TIMING.next_poll(age, usual), looks + 1
    assert looks < 12
    assert age - usual <= max(0.02 * usual, 5.0)


@given(
    st.lists(st.tuples(st.floats(0.0, 3000.0), st.integers(1, 3)), min_size=1, max_size=200),
    st.floats(100, 200_000) | st.none(),
    st.floats(0, 0.5),
    st.floats(60, 86_400),
)
def test_all_looks_together_keep_to_the_hour_and_to_the_share(steps, remaining, reserved, until_reset):
    """However many ask and however often: some 400 looks an hour, 2 % of what remains, nothing below the caller's floor."""
    now, looked = NOW, 0
    line = book(*(run(n, "M9", age=100.0, state=RunState.RUNNING, poll_at=NOW.at) for n in range(3)))
    spare = remaining and Spare(remaining=remaining, floor=reserved * remaining, until_reset=until_reset)
    for after, _ in steps:
        now = now.later(after)
        for each in list(line.runs.values()):
            line.runs[each.key] = attrs.evolve(each, poll_at=now.at)
        looked += len(claim(line, None, now=now, timing=TIMING, spare=spare).due)
    passed = now.at - NOW.at
    assert looked <= 30 + passed / 9
    if remaining is not None:
        share = min(0.02, 1 - reserved) * remaining
        assert looked <= share / 2 * (1 + passed / until_reset) + 1e-6


def test_what_cannot_be_afforded_is_looked_at_later():
    """Without an allowance nothing is due, and the time to come again is when there is one; a lost start is searched for anyway."""
    spare = Spare(remaining=10, floor=10, until_reset=7200.0)
    line = book(run(1, age=100.0, state=RunState.RUNNING, poll_at=NOW.at))
    claimed = claim(line, None, now=NOW, timing=TIMING, spare=spare)
    assert claimed.due == []
    assert claimed.next_poll_at == pytest.approx(NOW.at + 7200.0, abs=1.0)
    lost = book(run(1, state=RunState.UNKNOWN, poll_at=0.0))
    assert len(claim(lost, None, now=NOW, timing=TIMING, spare=spare).due) == 1


@pytest.mark.parametrize("rate", [360 / 3600, 60.0])
def test_an_allowance_that_is_used_up_comes_back_at_its_rate(rate):
    """After thirty polls at once the next is due when one more was allowed, which an hour told in seconds has sooner."""
    timing = attrs.evolve(TIMING, first_poll=500.0, longest_poll=500.0, poll_rate=rate)
    line = book(*(run(n, age=100.0, state=RunState.RUNNING, poll_at=NOW.at) for n in range(31)))
    claimed = claim(line, None, now=NOW, timing=timing)
    assert len(claimed.due) == 30
    assert claimed.next_poll_at == pytest.approx(NOW.at + 1 / rate, abs=0.01)
    assert len(claim(line, None, now=NOW.later(1 / rate + 0.01), timing=timing).due) == 1


@given(RUNS, st.lists(st.sampled_from(["M1", "M2"]), max_size=5))
def test_there_is_always_a_moment_to_ask_again(facts, line):
    """Whatever is known and whoever waits ahead: a moment in the future, and none nearer than with fewer ahead."""
    runs = [run(n, job, age=age, state=state, by_api=api) for n, (job, age, state, api) in enumerate(facts)]
    ahead = [waiter(f"w{n}", job, since=float(n)) for n, job in enumerate(line)]
    how = {"now": NOW, "limits": LIMITS, "timing": TIMING}
    moments = [forecast(book(*runs), "M1", **how, ahead=ahead[:n]) for n in range(len(ahead) + 1)]
    assert all(NOW.at < moment < math.inf for moment in moments)
    assert moments == sorted(moments)


@pytest.mark.parametrize("name", ["running", "starts", "window"])
def test_limits_are_checked(name):
    """A limit of nothing, or of everything, is a mistake."""
    for value in (0, -1, math.inf):
        with pytest.raises(ConfigurationError, match=name):
            attrs.evolve(LIMITS, **{name: value})
