"""The rules by which the engine is used: each against a real PostgreSQL and real worker processes."""

from __future__ import annotations

import os
import socket
from functools import partial

import anyio
import psycopg
import pytest

from alma_async import AlmaClient, ConfigurationError, LocalBudget, Store, sim
from alma_async.workers import engine, tasks
from tests.conftest import KEY
from tests.workers.process import TIMING, plant

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif("sys.platform == 'win32'", reason="processes are stopped by signals here"),
]


if (PLANT := os.environ.get("PLANT", "")) in ("lock", "a client for each task"):
    plant(PLANT)  # here, where tasks are queued, and where a worker is no process of its own


def asked(url, sql, *values):
    with psycopg.connect(url, autocommit=True) as db:
        found = db.execute(sql.encode(), values)
        return found.fetchall() if found.description else []


def deferred(url, task, **arguments):
    """Queue a task, and give its number."""
    names = ", ".join(f'"{name}": {value}' for name, value in arguments.items())
    row = (
        f"ROW('{engine.QUEUE}', '{task}', 0, NULL, NULL, '{{{names}}}', NULL)::procrastinate_job_to_defer_v1"
    )
    ((number,),) = asked(url, f"SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[{row}]))")
    return number


def marks(url, job):
    return [
        (what, pid) for what, pid in asked(url, "SELECT what, pid FROM mark WHERE job = %s ORDER BY n", job)
    ]


def status(url, job):
    ((found,),) = asked(url, "SELECT status::text FROM procrastinate_jobs WHERE id = %s", job)
    return found


async def until(check, *, seconds=20):
    """Wait until something holds."""
    with anyio.fail_after(seconds):
        while not (found := check()):
            await anyio.sleep(0.05)
    return found


async def test_a_task_waits_for_the_moment_that_its_error_knows(tasks_url, spawned):
    """A full threshold of jobs is waited for in the queue, without a slot; what cannot go well ends, and is not tried again."""
    spawned()
    full, wrong = deferred(tasks_url, "full", seconds=1.0), deferred(tasks_url, "wrong")
    await until(lambda: status(tasks_url, full) == "todo" and marks(tasks_url, full))
    ((wait,),) = asked(
        tasks_url,
        "SELECT extract(epoch FROM scheduled_at - clock_timestamp()) FROM procrastinate_jobs WHERE id = %s",
        full,
    )
    assert 0 < wait <= 1
    await until(lambda: status(tasks_url, wrong) == "failed")
    await until(lambda: status(tasks_url, full) == "succeeded")
    assert len(marks(tasks_url, full)) == 2
    assert len(marks(tasks_url, wrong)) == 1


async def test_the_task_of_a_killed_worker_goes_on_in_another_one_behind_any_backlog(tasks_url, spawned):
    """After kill -9 another worker sweeps and carries it out, though its slots are full and a hundred tasks wait before it."""
    first = spawned()
    job = deferred(tasks_url, "steps", seconds=0.5)
    await until(lambda: marks(tasks_url, job))
    first.kill()
    for _ in range(100):
        deferred(tasks_url, "steps", seconds=0.02)
    second = spawned()
    await until(lambda: status(tasks_url, job) == "succeeded")
    assert marks(tasks_url, job) == [("begun", first.pid), ("begun", second.pid), ("ended", second.pid)]


async def test_a_stopped_worker_hands_its_tasks_back_at_once(tasks_url, spawned):
    """SIGTERM: what outlasts the drain is cancelled, and is queued again when the process has ended."""
    worker = spawned()
    job = deferred(tasks_url, "steps", seconds=30)
    await until(lambda: marks(tasks_url, job))
    worker.terminate()
    worker.wait(10)
    assert status(tasks_url, job) == "todo"
    assert asked(tasks_url, "SELECT 1 FROM procrastinate_workers") == []


async def test_a_worker_outlives_its_database(postgres, tasks_url, spawned):
    """All its connections are cut, and for a while it gets none: the process lives, and works when the database is back."""
    name = tasks_url.rpartition("/")[2]
    worker = spawned()
    job = deferred(tasks_url, "steps", seconds=0.01)
    await until(lambda: status(tasks_url, job) == "succeeded")
    with psycopg.connect(postgres.url(), autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        await anyio.sleep(2)
        db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    assert worker.is_running()
    again = deferred(tasks_url, "steps", seconds=0.01)
    await until(lambda: status(tasks_url, again) == "succeeded", seconds=30)


async def test_a_task_is_queued_with_the_transaction_or_not_at_all(tasks_url):
    """What is deferred in a transaction that is rolled back is not there."""
    async with Store(tasks_url) as store:
        connection = store.connection("a test")

        def work(link):
            with link.transaction():
                engine.defer(link, "steps", seconds=1)
                raise ValueError

        with pytest.raises(ValueError):
            await connection.do(work, within=5)
        assert asked(tasks_url, "SELECT 1 FROM procrastinate_jobs") == []
        number = await connection.do(lambda link: engine.defer(link, "steps", seconds=1), within=5)
    assert asked(
        tasks_url, "SELECT id, task_name, queue_name, args::text, lock, queueing_lock FROM procrastinate_jobs"
    ) == [(number, "steps", engine.QUEUE, '{"seconds": 1}', None, None)]


async def test_one_worker_sweeps_at_a_time(tasks_url):
    """While one sweep is under way another one does nothing; a task whose worker lives is left to it."""
    async with Store(tasks_url) as store:
        first = store.connection("a test")
        job = deferred(tasks_url, "steps", seconds=1)
        asked(tasks_url, "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now())")
        asked(
            tasks_url,
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT max(id) FROM procrastinate_workers)",
        )

        def swept(link):
            return engine.sweep(link, stalled=5)

        assert await first.do(swept, within=5) == []
        asked(tasks_url, "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '6 s'")
        with psycopg.connect(tasks_url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (engine._LOCK,))
            assert await first.do(swept, within=5) == []
        assert await first.do(swept, within=5) == [job]
        assert status(tasks_url, job) == "todo"


async def test_tasks_of_a_killed_worker_are_given_back_though_old_messages_cannot_be_removed(
    tasks_url, caplog
):
    """The tidying fails each time: the sweeps go on without it, and the log has it once."""
    asked(tasks_url, "ALTER TABLE alma_async.load RENAME TO elsewhere")
    async with Store(tasks_url) as store:
        worker = engine.Worker(engine.app_of(store), store, queues=["none"], timing=TIMING)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            for _ in range(2):
                job = deferred(tasks_url, "steps", seconds=1)
                asked(tasks_url, "UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", job)
                await until(lambda n=job: status(tasks_url, n) == "todo")
            worker.stop()
    warned = [one for one in caplog.messages if "Old messages could not be removed" in one]
    assert len(warned) == 1
    assert "alma_async.load" in warned[0]


async def test_old_messages_are_removed_however_many_there_are(tasks_url):
    """More than one statement removes are gone after some sweeps, not after some hours; younger ones stay."""
    asked(
        tasks_url,
        "INSERT INTO alma_async.load (name, made) SELECT %s || n, alma_async.clock() - CASE WHEN n > 2 THEN 31 ELSE 29 END * 86400 "
        "FROM generate_series(1, %s) n",
        *(tasks.MESSAGES, 2 * engine._MANY + 3),
    )
    async with Store(tasks_url) as store:
        worker = engine.Worker(engine.app_of(store), store, queues=["none"], timing=TIMING)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await until(lambda: asked(tasks_url, "SELECT count(*) FROM alma_async.load") == [(2,)])
            worker.stop()


async def test_a_worker_carries_out_the_tasks_of_its_own_institution(tasks_url):
    """Over one store each label has its queue: the tasks of another one, and those of none, are left to their workers."""
    async with Store(tasks_url) as store, sim.serve() as server:
        clients = [
            AlmaClient(KEY, base_url=server.base_url, budget=LocalBudget(), store=store, institution=label)
            for label in (None, "01ONE", "01TWO")
        ]
        worker = engine.Worker(engine.app_of(store), store, clients[1], timing=TIMING)
        for alma in clients:
            await store.shared.do(
                lambda link, label=alma.institution: engine.defer(
                    link, "alma_async.verify", institution=label, load_id=f"of-{label}"
                ),
                within=5,
            )
        query = "SELECT args ->> 'load_id' FROM procrastinate_jobs WHERE status <> 'todo'"
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await until(lambda: asked(tasks_url, query))
            await anyio.sleep(2 * TIMING.poll)
            worker.stop()
        assert asked(tasks_url, query) == [("of-01ONE",)]
        for alma in clients:
            await alma.aclose()


async def test_a_worker_without_its_tables_says_which_command_makes_them(store_url):
    """It does not begin, instead of trying for ever."""
    async with Store(store_url) as store:
        with anyio.fail_after(10), pytest.raises(ConfigurationError, match="store init --tasks"):
            await engine.Worker(engine.app_of(store), store).run()


async def test_a_task_that_waits_holds_up_none_behind_it(tasks_url, spawned):
    """What waits in the queue for its moment has no lock that others need."""
    async with Store(tasks_url) as store:
        waits, behind = [
            await store.shared.do(partial(engine.defer, task=task, seconds=seconds), within=5)
            for task, seconds in (("full", 3600.0), ("steps", 0.01))
        ]
    spawned()
    await until(lambda: status(tasks_url, behind) == "succeeded")
    assert status(tasks_url, waits) == "todo"


async def test_all_tasks_of_a_worker_share_one_client(tasks_url):
    """A worker draws on the budget as one process, and its tasks keep no connections of their own."""
    async with (
        Store(tasks_url) as store,
        sim.serve() as server,
        AlmaClient(KEY, base_url=server.base_url, store=store) as alma,
    ):
        server.world.add_bib("99123", "A title")
        worker = engine.Worker(engine.app_of(store), store, alma, timing=TIMING)
        for n in range(4):
            row = {"mms_id": "99123", "url": f"https://journals.example/{n}"}
            task = partial(
                engine.defer,
                task="alma_async.ensure_portfolio",
                key=f"{n}",
                collection_id=sim.DEMO_COLLECTION,
                service_id=sim.DEMO_SERVICE,
                row=row,
            )
            await store.shared.do(task, within=5)
        done = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'"
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await until(lambda: asked(tasks_url, done) == [(4,)], seconds=40)
            worker.stop()
        assert asked(tasks_url, "SELECT count(*) FROM alma_async.member") == [(1,)]


async def test_a_worker_that_waits_for_its_database_stops_at_once():
    """A stop does not wait until connections that nobody answers have failed."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with Store(f"postgresql://x@127.0.0.1:{deaf.getsockname()[1]}/x") as store:
            worker = engine.Worker(engine.app_of(store), store)
            with anyio.fail_after(12):
                async with anyio.create_task_group() as group:
                    group.start_soon(worker.run)
                    await anyio.sleep(6)
                    worker.stop()


async def test_a_stop_before_the_worker_runs_holds(tasks_url):
    """A signal that comes while the worker is being set up ends it as soon as it runs."""
    async with Store(tasks_url) as store:
        worker = engine.Worker(engine.app_of(store), store)
        worker.stop()
        with anyio.fail_after(10):
            await worker.run()
