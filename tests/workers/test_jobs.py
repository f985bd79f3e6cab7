"""Jobs as tasks: started once, waited for in the queue, and followed by a task once, whoever learns of the end."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import attrs
import psycopg
import pytest

from alma_async import AlmaClient, LocalBudget, Store, sim
from alma_async.errors import InvalidRequest, JobThresholdReached
from alma_async.workers import Continuations, Then, Unfinished, engine, job_ended, submit_job
from tests.alma.test_sets import a_set
from tests.conftest import KEY

pytestmark = pytest.mark.anyio
OTHER = "M51"  # another job


@pytest.fixture
async def alma(tasks_url):
    """A client of a simulated Alma whose jobs take a second, over a store."""
    world = sim.World.demo()
    world.jobs.all |= {job.id: attrs.evolve(job, duration=1.0) for job in world.jobs.all.values()}
    world.jobs.all[OTHER] = attrs.evolve(world.jobs.all[sim.DEMO_JOB], id=OTHER)
    async with (
        sim.serve(world, config=sim.Config(latency=0.0)) as server,
        Store(tasks_url) as store,
        AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget(), store=store) as client,
    ):
        yield client


def queued(url):
    with psycopg.connect(url) as db:
        return db.execute("SELECT task_name, args FROM procrastinate_jobs ORDER BY id").fetchall()


async def parameters(alma):
    """Those of the demo's job, over a set of the demo."""
    held = await alma.sets.list().all() or [await alma.sets.create(a_set())]
    return {"set_id": held[0].id}


async def test_a_job_goes_on_in_the_queue_and_what_follows_it_is_queued_once(alma, tasks_url):
    """The task ends with the moment of the next poll while the run goes on; its end queues what follows, and no news adds to it."""
    continuations = Continuations(alma.store, alma.scope, engine.defer)
    given = {
        "job_id": sim.DEMO_JOB,
        "parameters": await parameters(alma),
        "key": "nightly",
        "then": Then(task="report", arguments={"to": "me"}),
    }
    with pytest.raises(Unfinished) as going_on:
        await submit_job(alma, continuations, **given)
    assert going_on.value.retry_at > alma.clock.utc()
    assert queued(tasks_url) == []
    await alma.sleep(1.2)
    ended = await submit_job(alma, continuations, **given)
    assert ended["job_id"] == sim.DEMO_JOB
    instance = await alma.jobs.instance(sim.DEMO_JOB, ended["instance_id"])
    for _ in range(3):
        assert await job_ended(alma, continuations, instance) == 0
        assert await submit_job(alma, continuations, **given) == ended
    assert queued(tasks_url) == [("report", {"to": "me", "job": {**ended, "key": "nightly"}})]
    assert len(await alma.jobs.instances(sim.DEMO_JOB).all()) == 1


async def test_a_webhook_that_comes_first_ends_the_task_without_another_call(alma, tasks_url):
    """The end that a webhook reports queues what follows; the task that waited finds it in the store."""
    continuations = Continuations(alma.store, alma.scope, engine.defer)
    given = {
        "job_id": sim.DEMO_JOB,
        "parameters": await parameters(alma),
        "key": "k",
        "then": Then(task="report"),
    }
    with pytest.raises(Unfinished):
        await submit_job(alma, continuations, **given)
    await alma.sleep(1.2)
    (instance,) = await alma.jobs.instances(sim.DEMO_JOB).all()
    assert await job_ended(alma, continuations, instance) == 1
    before = alma.quota().remaining
    assert (await submit_job(alma, continuations, **given))["status"] == instance.status.value
    assert alma.quota().remaining == before
    assert len(queued(tasks_url)) == 1


@pytest.mark.parametrize("named", ["before the end", "after the end"])
async def test_what_follows_may_be_named_later_and_is_one(alma, tasks_url, named):
    """A task that a later message with the key names is queued, once; the name of another one is rejected."""
    continuations, given = Continuations(alma.store, alma.scope, engine.defer), await parameters(alma)

    async def submit(then=None):
        return await submit_job(
            alma, continuations, job_id=sim.DEMO_JOB, parameters=given, key="k", then=then
        )

    report = Then(task="report", arguments={"to": ["me"]})
    with pytest.raises(Unfinished):
        await submit()
    if named == "before the end":
        with pytest.raises(Unfinished):
            await submit(report)
    await alma.sleep(1.2)
    ended = await submit()
    for _ in range(2):
        assert await submit(report) == ended
    assert queued(tasks_url) == [("report", {"to": ["me"], "job": {**ended, "key": "k"}})]
    for other in (Then(task="mail"), Then(task="report", arguments={"to": ["you"]})):
        with pytest.raises(InvalidRequest, match="which the task 'report' follows"):
            await submit(other)
    assert await submit() == ended
    assert len(queued(tasks_url)) == 1
    assert len(await alma.jobs.instances(sim.DEMO_JOB).all()) == 1


async def test_a_full_threshold_is_waited_for_in_the_queue(alma):
    """Where three jobs run, the fourth says when it is worth a try, and nothing is sent."""
    continuations = Continuations(alma.store, alma.scope, engine.defer)
    for n in range(3):
        with pytest.raises(Unfinished):
            await submit_job(
                alma, continuations, job_id=sim.DEMO_JOB, parameters=await parameters(alma), key=f"k{n}"
            )
    with pytest.raises(JobThresholdReached) as full:
        await submit_job(
            alma, continuations, job_id=sim.DEMO_JOB, parameters=await parameters(alma), key="k4"
        )
    assert full.value.retry_at is not None
    assert len(await alma.jobs.instances(sim.DEMO_JOB).all()) == 3


async def test_a_key_is_a_jobs_own(alma, tasks_url):
    """Two jobs under one key are two runs, each followed by its own task, whether the first has ended or goes on."""
    continuations, given = Continuations(alma.store, alma.scope, engine.defer), await parameters(alma)

    async def submit(job_id, follows):
        then = Then(task=follows)
        return await submit_job(
            alma, continuations, job_id=job_id, parameters=given, key="nightly", then=then
        )

    for _ in range(2):
        for job_id, follows in ((sim.DEMO_JOB, "a"), (OTHER, "b")):
            with suppress(Unfinished):
                assert (await submit(job_id, follows))["job_id"] == job_id
        await alma.sleep(1.2)
    assert sorted(name for name, _ in queued(tasks_url)) == ["a", "b"]


async def test_a_key_with_other_parameters_is_rejected_after_the_end_too(alma):
    """What became of a run is the answer for its own parameters alone."""
    continuations, given = Continuations(alma.store, alma.scope, engine.defer), await parameters(alma)
    submit = partial(submit_job, alma, continuations, job_id=sim.DEMO_JOB, key="k")
    with pytest.raises(Unfinished):
        await submit(parameters=given)
    await alma.sleep(1.2)
    await submit(parameters=given)
    with pytest.raises(InvalidRequest, match="other parameters"):
        await submit(parameters={**given, "set_id": "9"})
