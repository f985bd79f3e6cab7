"""The guard against a small Alma, in virtual time: when it starts, when it waits, and what it does about lost answers."""

from __future__ import annotations

import logging
import random
import sqlite3
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import attrs
import pytest

from alma_async._clock import Clock
from alma_async._guard import JobGuard, LedgerError, SqliteLedger
from alma_async._guard.rules import Timing
from alma_async._guard.state import RunState, Why
from alma_async.errors import (
    BadAnswer,
    DeadlineExceeded,
    JobOverlap,
    JobThresholdReached,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ServerFault,
)
from tests.guard.model import ModelAlma
from tests.guard.ports import OVERLAP, Faults, ModelPort

EPOCH = 1_790_000_000.0


class OneMachine(Clock):
    """Whatever its wall clock says, all are processes of one machine."""

    __slots__ = ()

    def boot(self):
        return "this boot"


@attrs.define
class House:
    """An Alma, a ledger file, and as many guards as are asked for, each as if in a process of its own."""

    path: object
    model: ModelAlma | None = None
    guards: list = attrs.field(factory=list)
    leapt: float = 0.0

    def guard(self, *, port=ModelPort, wrong=0.0, timing=None, **how):
        clock = OneMachine(epoch=EPOCH + wrong)
        ledger = SqliteLedger(self.path, clock=clock)
        self.guards.append(ledger)
        return JobGuard(ledger, port(self.model, clock, random.Random(1), **how), clock=clock, timing=timing)

    def now(self):
        """The server's time."""
        return EPOCH + anyio.current_time() + self.leapt

    def states(self):
        """Of all runs that were ever written down."""
        if not self.path.exists():
            return []
        db = sqlite3.connect(self.path)
        try:
            return [RunState(state) for (state,) in db.execute("SELECT state FROM run ORDER BY reserved_at")]
        finally:
            db.close()

    async def book(self):
        return await self.guards[0].update(lambda book: book.copy(), since=0.0)


@pytest.fixture
def house(folder):
    home = House(folder / "state" / "ledgers" / "a.ledger")
    home.model = ModelAlma(time=home.now, duration=lambda _: 10.0)
    yield home
    for ledger in home.guards:
        ledger.close()


@asynccontextmanager
async def waiting(guard, job_id, **how):
    """A submission that has come to wait."""
    got = []

    async def submit():
        got.append(await guard.submit(job_id, **how))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(submit)
        await anyio.sleep(5)
        assert got == []
        yield got
        with anyio.fail_after(5):
            while not got:
                await anyio.sleep(0.1)


async def test_a_job_is_started_under_a_unique_name(house):
    """The caller's job name leads the unique one; the run that comes back is the one that Alma shows."""
    run = await house.guard().submit("M1", {"job_name": "spring", "set_id": "5"})
    (row,) = house.model.rows
    assert (run.job_id, run.instance_id, run.name) == ("M1", row.id, row.name)
    assert row.name.startswith("spring ")
    assert abs(run.submitted_at - row.started) < 2.0
    other = await house.guard().submit("M1", {"job_name": "spring"})
    assert not other.name.startswith(run.name)


async def test_the_sixth_start_waits_for_the_hour_and_asks_nobody_meanwhile(house):
    """One timer until the first start is an hour old: no call, and the start comes right after."""
    guard = house.guard()
    for _ in range(5):
        await guard.submit("M1")
        await anyio.sleep(60)
    async with waiting(guard, "M1") as got:
        calls = house.model.calls
        await anyio.sleep_until(3600 - 1)
        assert (got, house.model.calls) == ([], calls)
        await anyio.sleep(10)
        assert house.model.rows[5].started - house.model.rows[0].started - 3600 < 6
    assert (house.model.over, house.model.refused) == (0, 0)


async def test_without_waiting_it_says_when_to_come_again(house):
    """With wait=False the refusal is raised at once, with the moment, before anything is sent; the line stays empty."""
    guard = house.guard()
    for _ in range(5):
        await guard.submit("M1")
        await anyio.sleep(20)
    with pytest.raises(JobThresholdReached, match="Let the submission wait") as caught:
        await guard.submit("M1", wait=False)
    assert caught.value.retry_at is not None
    assert 3600 <= caught.value.retry_at.timestamp() - house.model.rows[0].started < 3606
    assert (len(house.model.rows), (await house.book()).waiters) == (5, {})


async def test_a_fourth_job_goes_as_soon_as_the_end_of_one_is_told(house):
    """Waiting for a slot, an end that is told in this process wakes the waiter at once."""
    house.model.duration = lambda _: 1000.0
    guard = house.guard(timing=Timing(first_poll=500.0, longest_poll=500.0))
    runs = [await guard.submit(f"M{n}") for n in range(3)]
    async with waiting(guard, "M9"):
        house.model.rows[0].ends = EPOCH + anyio.current_time()
        await guard.ended(runs[0].instance_id)
    assert house.model.rows[3].started - house.model.rows[0].ends < 3


async def test_an_end_that_another_process_sees_is_seen_here(house):
    """Waiting for a slot, an end that another process wrote into the ledger is seen within a poll of the ledger."""
    house.model.duration = lambda _: 1000.0
    slow = Timing(first_poll=500.0, longest_poll=500.0)
    guard, other = house.guard(timing=slow), house.guard(timing=slow)
    runs = [await guard.submit(f"M{n}") for n in range(3)]
    async with waiting(guard, "M9"):
        house.model.rows[0].ends = EPOCH + anyio.current_time()
        await other.ended(runs[0].instance_id)
    assert house.model.rows[3].started - house.model.rows[0].ends < 4


async def test_an_end_that_nobody_tells_is_found_by_looking_sparingly(house):
    """Nobody tells of the end: three runs of ten minutes are looked at a few hundred times, and the slot is not left idle."""
    house.model.duration = lambda _: 600.0
    guard = house.guard()
    for n in range(3):
        await guard.submit(f"M{n}")
    calls = house.model.calls
    await guard.submit("M9")
    assert house.model.rows[3].started - house.model.rows[0].ends < 9
    assert house.model.calls - calls < 350


async def test_waiters_of_two_processes_go_in_the_order_they_came(house):
    """First come, first served, over processes."""
    house.model.duration = lambda job: 100.0 + 37.0 * int(job[1:])
    one, two = house.guard(), house.guard()
    for n in range(3):
        await one.submit(f"M{n}")
    async with anyio.create_task_group() as tasks:
        for n in range(6):
            tasks.start_soon((one, two)[n % 2].submit, f"M{n + 3}")
            await anyio.sleep(3)
    assert [row.job_id for row in house.model.rows] == [f"M{n}" for n in range(9)]
    assert house.model.refused == 0


async def test_a_waiter_who_leaves_takes_nothing_with_it(house):
    """A wait that is cancelled at any of its moments leaves neither a run nor a place in the line."""
    house.model.duration = lambda _: 10_000.0
    guard = house.guard()
    for n in range(3):
        await guard.submit(f"M{n}")
    for after in (0.0, 0.1, 0.4, 0.7, 1.2, 5.0, 70.0):
        with anyio.move_on_after(after) as scope:
            await guard.submit("M9")
        assert scope.cancelled_caught
        book = await house.book()
        assert (book.waiters, len(book.runs)) == ({}, 3)


@pytest.mark.parametrize("tenths", range(25))
async def test_cancelled_at_any_moment_it_is_either_not_sent_or_found(house, tenths):
    """A submission that is cancelled gives its reservation back if nothing was sent; else it is looked for and found."""
    guard = house.guard()
    with anyio.move_on_after(tenths / 10):
        await guard.submit("M1")
    states = house.states()
    if house.model.rows:
        assert states in ([RunState.UNKNOWN], [RunState.RUNNING])
        await guard.recover()
        assert house.states() == [RunState.RUNNING]
    else:
        assert states in ([], [RunState.RETURNED])


async def test_a_lost_answer_is_found_by_its_name(house):
    """Alma started the job and nobody heard: the run is adopted, and not started again."""
    run = await house.guard(faults=Faults(unheard=1.0)).submit("M1")
    assert [row.id for row in house.model.rows] == [run.instance_id]


async def test_a_request_that_is_carried_out_late_is_found(house):
    """Alma holds the request for minutes: it is waited for, and adopted."""
    run = await house.guard(faults=Faults(late=1.0)).submit("M1")
    assert [row.id for row in house.model.rows] == [run.instance_id]


async def test_a_request_that_vanished_is_reported_and_never_sent_again(house):
    """After the quarantine the caller is told the name and what to do; the same intent stays refused, a new one goes."""
    guard = house.guard(faults=Faults(never=1.0))
    with pytest.raises(OutcomeUnknown, match="submit the job anew") as caught:
        await guard.submit("M1", {"job_name": "spring"}, key="a")
    assert "spring " in str(caught.value)
    assert anyio.current_time() >= 300
    healthy = house.guard()
    with pytest.raises(OutcomeUnknown):
        await healthy.submit("M1", key="a")
    assert house.model.rows == []
    await healthy.submit("M1", key="b")
    assert len(house.model.rows) == 1


async def test_a_deadline_ends_the_search_for_a_lost_answer(house):
    """Who gives a deadline learns by then that the outcome is unknown."""
    with pytest.raises(OutcomeUnknown):
        await house.guard(faults=Faults(never=1.0)).submit("M1", deadline=100.0)
    assert anyio.current_time() < 130


async def test_a_known_wait_beyond_the_deadline_is_refused_at_once(house):
    """Nobody waits for what cannot come in time; an unknown wait ends at the deadline."""
    guard = house.guard()
    for _ in range(5):
        await guard.submit("M1")
        await anyio.sleep(11)
    before = anyio.current_time()
    with pytest.raises(DeadlineExceeded, match="starts"):
        await guard.submit("M1", deadline=600.0)
    assert anyio.current_time() - before < 5
    house.model.duration = lambda _: 10_000.0
    for n in range(3):
        await guard.submit(f"M{n + 2}")
    before = anyio.current_time()
    with pytest.raises(DeadlineExceeded, match="running"):
        await guard.submit("M9", deadline=600.0)
    assert 599 < anyio.current_time() - before < 605


async def test_one_intent_is_carried_out_once(house):
    """Two processes submit under one key at the same time: one starts the job, both get its run."""
    runs = []

    async def submit(guard):
        runs.append(await guard.submit("M1", key="nightly 2026-09-21"))

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(submit, house.guard())
    assert len(house.model.rows) == 1
    assert {run.instance_id for run in runs} == {"00001"}
    await anyio.sleep(10_000)
    assert (await house.guard().submit("M1", key="nightly 2026-09-21")).instance_id == "00001"
    assert len(house.model.rows) == 1


async def test_others_runs_count(house):
    """Starts that others made are seen before each start; the server never has to refuse."""
    for _ in range(4):
        house.model.start("M1", "by hand", by="jdoe")
    guard = house.guard()
    await guard.submit("M1")
    with pytest.raises(JobThresholdReached):
        await guard.submit("M1", wait=False)
    assert house.model.refused == 0


async def test_alma_refuses_for_reasons_unseen_and_is_not_hammered(house):
    """A refusal by a threshold blocks the job for a quarter of an hour where no start is known; then it goes."""
    for n in range(3):
        house.model.start(f"M{n}", "others", by="API").ends += 2000
    guard = house.guard()
    await guard.submit("M9")
    assert house.model.refused == 3  # at once, and after each quarter until the others have ended
    await anyio.sleep(60)
    house.model.duration = lambda _: 5000.0
    for n in range(3):
        house.model.start(f"M{n}", "others", by="API")
    with pytest.raises(JobThresholdReached, match="rejected") as caught:
        await guard.submit("M8", wait=False)
    assert caught.value.retry_at is not None
    assert caught.value.retry_at.timestamp() == pytest.approx(house.now() + 900, abs=5)


async def test_an_overlap_is_raised_or_waited_for(house):
    """60347: without waiting it is raised; with waiting the job goes when its running run has ended."""

    class Overlapping(ModelPort):
        async def start(self, job_id, parameters, *, job_name, witness):
            await witness.intend(self.clock.now() + 10)
            if any(row.job_id == job_id and row.ends > self.model.time() for row in self.model.rows):
                witness.settle(OVERLAP)
                raise JobOverlap("Job overlapps with running job.", retry_at=datetime.fromtimestamp(0.0, UTC))
            return job_id, self.model.start(job_id, job_name).id

    house.model.duration = lambda _: 100.0
    guard = house.guard(port=Overlapping)
    await guard.submit("M1")
    with pytest.raises(JobOverlap):
        await guard.submit("M1", wait=False)
    await guard.submit("M1")
    assert 100 <= house.model.rows[1].started - house.model.rows[0].started < 420


async def test_what_was_not_sent_is_the_callers_to_know(house):
    """A request that never left raises NotSent at once, or DeadlineExceeded with its words; the reservation is back."""
    guard = house.guard(faults=Faults(not_sent=1.0))
    ways = (NotSent, {"wait": False}), (DeadlineExceeded, {"deadline": 300})
    for n, (kind, how) in enumerate(ways, 1):
        with pytest.raises(kind, match="refused"):
            await guard.submit("M1", key=f"{n}", **how)
        assert house.states() == [RunState.RETURNED] * n


async def test_an_answer_without_ids_is_looked_up(house):
    """Alma accepted the job but its answer could not be read: the run is found by its name."""

    class Garbled(ModelPort):
        async def start(self, job_id, parameters, **how):
            await super().start(job_id, parameters, **how)
            raise BadAnswer("no link")

    run = await house.guard(port=Garbled).submit("M1")
    assert [row.id for row in house.model.rows] == [run.instance_id]


async def test_an_answer_without_ids_was_not_lost(house):
    """Where no list shows the run either, its caller learns that Alma accepted the job, not that the answer was lost."""

    class Nameless(ModelPort):
        async def start(self, job_id, parameters, *, job_name, witness):
            await witness.intend(self.clock.now() + 10)
            raise OutcomeUnknown("The answer names no run.", effect="done")

    with pytest.raises(OutcomeUnknown, match="Alma accepted it, in an answer that names no run") as caught:
        await house.guard(port=Nameless).submit("M1", deadline=60)
    assert "lost" not in str(caught.value)


async def test_looks_that_fail_do_not_end_the_wait(house):
    """While Alma is down for a time, who waits for a slot goes on waiting; what a wait cannot cure comes out."""

    class Shaky(ModelPort):
        async def instance(self, job_id, instance_id):
            found = await super().instance(job_id, instance_id)
            if anyio.current_time() < 200:
                raise ServerFault("down")
            return found

    class Gone(ModelPort):
        async def instance(self, job_id, instance_id):
            raise NotFound("no such instance")

    house.model.duration = lambda _: 50.0
    guard = house.guard(port=Shaky)
    for n in range(3):
        await guard.submit(f"M{n}")
    await guard.submit("M9")
    assert 200 <= house.model.rows[3].started - EPOCH < 230
    with pytest.raises(NotFound):
        await house.guard(port=Gone).watch("M9", "00004")


@pytest.mark.parametrize("wrong", [-86_400.0, -240.0, 240.0, 86_400.0])
async def test_the_clients_wall_clock_has_no_say(house, wrong):
    """Processes whose clocks are wrong by minutes or a day keep the same hour: the server's."""
    right, other = house.guard(), house.guard(wrong=wrong)
    for guard in (right, other, right, other, right, other):
        await guard.submit("M1")
        await anyio.sleep(20)
    gap = house.model.rows[5].started - house.model.rows[0].started
    assert 3600 <= gap < 3606
    assert house.model.refused == 0


async def test_a_machine_that_sleeps_keeps_the_servers_hour(house):
    """The client is suspended between its submissions: the sixth start is never early, and late by the sleep at most.

    What a Date alone tells to have passed makes no start older.
    """
    guard = house.guard()
    for _ in range(5):
        await guard.submit("M1")
        await anyio.sleep(20)
        house.leapt += 300.0
    await guard.submit("M1")
    assert 3600 <= house.model.rows[5].started - house.model.rows[0].started < 3606 + house.leapt
    assert (house.model.over, house.model.refused) == (0, 0)


async def test_a_lost_ledger_is_rebuilt_from_almas_lists(house):
    """After the file was damaged nothing starts within the quarantine, and the starts of the hour are known again."""
    guard = house.guard()
    for _ in range(5):
        await guard.submit("M1")
        await anyio.sleep(11)
    house.guards[0].close()
    house.path.write_bytes(b"damaged" * 1000)
    with pytest.raises(JobThresholdReached, match="lost"):
        await guard.submit("M2", wait=False)
    await guard.submit("M2")
    assert house.model.rows[5].started - EPOCH >= 300
    await guard.submit("M1")
    assert house.model.rows[6].started - house.model.rows[0].started >= 3600
    assert house.model.refused == 0


async def test_without_almas_list_nothing_is_started(house):
    """A job whose runs cannot be read does not start, and its caller learns why: at once, or at the deadline."""

    class Blind(ModelPort):
        async def instances(self, job_id, *, since):
            raise ServerFault("down")

    for kind, how in ((ServerFault, {"wait": False}), (DeadlineExceeded, {"deadline": 600})):
        with pytest.raises(kind, match="down"):
            await house.guard(port=Blind).submit("M1", **how)
    assert house.model.rows == []


async def test_without_a_ledger_nothing_is_started(house):
    """A reservation that cannot be written is not sent."""
    house.path.parent.parent.mkdir(parents=True)
    house.path.parent.write_text("in the way")
    with pytest.raises((LedgerError, OSError)):
        await house.guard().submit("M1")
    assert house.model.rows == []


@pytest.mark.parametrize("minutes", [1, 60])
async def test_a_ledger_that_fails_for_long_ends_the_wait_for_a_run(house, minutes):
    """A minute of it is waited out; after more, whoever waits learns of the ledger instead of waiting for ever."""
    house.model.duration = lambda _: 2000.0
    guard = house.guard()
    run = await guard.submit("M1")
    (ledger,) = house.guards
    database, broken = ledger.path, house.path.with_name("aside")
    ended = []

    async def wait():
        try:
            ended.append((await guard.watch("M1", run.instance_id)).ended)
        except LedgerError:
            ended.append("told")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(100)
        database.rename(broken)
        database.mkdir()
        await anyio.sleep(60 * minutes)
        database.rmdir()
        broken.rename(database)
    assert ended == [True if minutes == 1 else "told"]


class Dying(ModelPort):
    """The process dies when Alma has started the job and nobody has heard of it."""

    async def start(self, job_id, parameters, *, job_name, witness):
        await witness.intend(self.clock.now() + 10)
        self.model.start(job_id, job_name)
        raise KeyboardInterrupt


async def test_recovery_finds_runs_whose_sender_died(house):
    """A reservation that was found open is looked for by its name; what runs comes back to be watched to its end."""
    house.model.duration = lambda _: 500.0
    with pytest.raises(KeyboardInterrupt):
        await house.guard(port=Dying).submit("M1", key="a")
    survivor = house.guard()
    (found,) = await survivor.recover()
    assert found.instance_id == "00001"
    instance = await survivor.watch(found.job_id, found.instance_id)
    assert (instance.ended, anyio.current_time() >= 500) == (True, True)
    assert (await survivor.submit("M1", key="a")).instance_id == "00001"
    assert await survivor.recover() == []
    assert len(house.model.rows) == 1


async def test_a_run_is_found_though_nobody_looked_for_days(house):
    """However long the process was gone, the list is read from the day of the reservation."""
    with pytest.raises(KeyboardInterrupt):
        await house.guard(port=Dying).submit("M1", key="a")
    await anyio.sleep(5 * 86_400)
    assert (await house.guard().submit("M1", key="a")).instance_id == "00001"
    assert house.states() == [RunState.ENDED]


async def test_a_watched_run_frees_its_slot_for_others(house):
    """Watching one's run to its end tells the ledger; several watchers share the looks."""
    house.model.duration = lambda _: 600.0
    guard = house.guard()
    run = await guard.submit("M1")
    calls = house.model.calls
    async with anyio.create_task_group() as tasks:
        for each in (guard, guard, house.guard()):
            tasks.start_soon(each.watch, run.job_id, run.instance_id)
    assert house.model.calls - calls < 130
    assert {each.state for each in (await house.book()).runs.values()} == {RunState.ENDED}


async def test_a_run_that_never_ends_is_told_in_the_log(house, caplog):
    """No local timeout frees a slot; a run older than a day is reported once."""
    house.model.duration = lambda _: 200_000.0
    guard = house.guard(timing=Timing(ledger_poll=600.0, longest_poll=600.0))
    run = await guard.submit("M1")
    with anyio.move_on_after(100_000), caplog.at_level(logging.WARNING):
        await guard.watch(run.job_id, run.instance_id)
    assert caplog.text.count("holds its slot") == 1
    assert house.states() == [RunState.RUNNING]


async def test_the_view_shows_what_runs_and_when_each_job_is_free(house):
    """Running runs, the starts of the hour, the next free start and why, and who waits."""
    house.model.duration = lambda job: 10.0 if job == "M1" else 5000.0
    guard = house.guard()
    for _ in range(5):
        await guard.submit("M1")
        await anyio.sleep(15)
    await guard.submit("M2")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guard.submit, "M1")
        await anyio.sleep(5)
        view = await guard.view()
        tasks.cancel_scope.cancel()
    one, two = view.jobs
    assert [run.job_id for run in view.running][-1] == "M2"
    assert (one.job_id, len(one.starts), one.why, one.waiting) == ("M1", 5, Why.STARTS, 1)
    assert one.free_at == pytest.approx(house.model.rows[0].started + 3600, abs=6)
    assert (two.free_at, two.why, two.waiting) == (None, None, 0)


async def test_a_ledger_in_use_for_long_is_waited_for_in_the_line(house):
    """Another process holds the ledger for half a minute while a submission waits for a slot: it goes on waiting, and starts."""
    house.model.duration = lambda _: 300.0
    guard = house.guard()
    for n in range(3):
        await guard.submit(f"M{n}")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guard.submit, "M9")
        await anyio.sleep(100)
        other = sqlite3.connect(house.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await anyio.sleep(30)
        other.execute("ROLLBACK")
        other.close()
    assert len(house.model.rows) == 4
