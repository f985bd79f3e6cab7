"""Many machines on one: a PostgreSQL store, a simulated Alma, three worker processes, a load that outlives a kill -9 of the worker
that has it, and a job that a webhook follows up.

``make demo-workers`` runs it; it takes about a minute and needs neither an account nor a network. Its workers are those of
``alma-async worker``, but for their patience: what the killed one had sent can be read back once it can be sent no more, which is
after 35 s here and after two minutes as usual.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
import attrs
import psycopg
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from alma_async import AlmaClient, LocalBudget, Store, sim
from alma_async.cli.signals import attend
from alma_async.load import Load, read_rows
from alma_async.workers import engine, queued, receiver, tasks
from examples.local_postgres import Cluster

ROWS: Final = 250
WORKERS: Final = 3
KEY: Final = "sim-demo"
SECRET: Final = "a-secret-of-the-demo-of-32-bytes-or-more"  # of a webhook that is this program's own
LOAD: Final = "demo"


def main() -> int:
    """Tell the story; 1 where a row was lost or doubled, or a task did not come."""
    world = sim.World.demo(sim.Config(latency=sim.Latency(base=0.1, jitter=0.2), seed=1))
    world.jobs.add(attrs.evolve(world.jobs.all[sim.DEMO_JOB], duration=3.0))
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster())
        served = stack.enter_context(_served(world))
        state = stack.enter_context(TemporaryDirectory(prefix="alma-async-demo-"))
        os.environ |= {
            "ALMA_STORE": cluster.url(),
            "ALMA_API_KEY": KEY,
            "ALMA_BASE_URL": served.base_url,
            "ALMA_STATE_DIR": state,
            "ALMA_INSTITUTION": "",  # one alone
        }
        print(f"A store at {cluster.url()}, a simulated Alma at {served.base_url}.")
        return anyio.run(_story, world, served, cluster.url(), stack)


@contextmanager
def _served(world: sim.World) -> Iterator[sim.Server]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(sim.serve(world)) as server:
        yield server


async def _story(world: sim.World, server: sim.Server, url: str, stack: ExitStack) -> int:
    async with Store(url) as store, AlmaClient.from_env(store=store, budget=LocalBudget()) as alma:
        await store.init()
        await engine.init(store)
        await _receive_webhooks(store, server)
        await _queue_load(alma, store)
        workers = {process.pid: process for process in (_worker(stack) for _ in range(WORKERS))}
        print(f"Started {WORKERS} workers: processes {', '.join(map(str, workers))}.")
        await _kill_owner(url, workers)
        await _follow(url, "alma_async.run_load", lambda: _done(url))
        held = len(world.portfolios.all)
        print(f"The load has ended: {_said(url)}; the simulator holds {held} portfolios.")
        job = await _queue_job(alma, store)
        await _follow(url, "alma_async.verify", lambda: f"job {job}: {_status(url, 'alma_async.submit_job')}")
        ends = _one(url, "SELECT count(*) FROM alma_async.event")
        print(
            f"The job's end came by {ends} webhook, which queued the verification: {_status(url, 'alma_async.verify')}."
        )
        doubled = world.portfolios.duplicates()
        print(f"Portfolios that were made twice: {doubled}.")
        return int(bool(doubled) or held != _done_rows(url))


async def _receive_webhooks(store: Store, server: sim.Server) -> None:
    """Serve the receiver, and register it with the simulated Alma."""
    runner = web.AppRunner(receiver(store, SECRET, on_event=queued(engine.defer)))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    await server.register_webhook(sim.Webhook(url=f"http://127.0.0.1:{port}/", secret=SECRET))
    print(f"Webhooks are received on port {port}.")


async def _queue_load(alma: AlmaClient, store: Store) -> None:
    load = Load(alma, collection_id=sim.DEMO_COLLECTION, service_id=sim.DEMO_SERVICE, journal=f"store:{LOAD}")
    with as_file(files("alma_async.cli") / "sample_titles.txt") as path:
        await load.ingest(islice(read_rows(path), ROWS))
    await store.shared.do(lambda link: engine.defer(link, "alma_async.run_load", load_id=LOAD), within=10)
    print(f"{ROWS} rows are in the store, and a task that loads them is queued.")


async def _queue_job(alma: AlmaClient, store: Store) -> str:
    found = await alma.jobs.get(sim.DEMO_JOB)
    made = await alma.sets.list().all()
    set_id = made[0].id if made else (await alma.sets.create(_a_set())).id
    arguments: dict[str, Any] = {
        "job_id": found.id,
        "parameters": {"set_id": set_id},
        "key": "after the load",
        "then": {"task": "alma_async.verify", "arguments": {"load_id": LOAD}},
    }
    await store.shared.do(lambda link: engine.defer(link, "alma_async.submit_job", **arguments), within=10)
    print(f"Queued the job {found.name!r}; a verification of the load follows its end.")
    return found.id


def _a_set() -> Any:
    from alma_async import AlmaSet, Coded

    return AlmaSet(name="Demo", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO"), private=Coded("false"))


def _worker(stack: ExitStack) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "examples.demo_workers", "worker"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


async def _kill_owner(url: str, workers: dict[int, subprocess.Popen[bytes]]) -> None:
    """Kill the worker that has the load, once it has a part of it done."""
    while _done_rows(url) < ROWS // 4:
        await anyio.sleep(0.2)
    owner = _one(url, "SELECT owner FROM alma_async.load WHERE name = %s", LOAD)
    pid = int(re.findall(r"\d+", owner)[-1])
    workers[pid].kill()
    print(
        f"Killed process {pid}, which had loaded {_done_rows(url)} rows: another one takes the load over ..."
    )
    killed = anyio.current_time()
    while (now := _one(url, "SELECT owner FROM alma_async.load WHERE name = %s", LOAD)) in (owner, None):
        await anyio.sleep(0.2)
    print(f"Taken over after {anyio.current_time() - killed:.0f} s by {now}.")


async def _follow(url: str, task: str, say: Any) -> None:
    """Wait for the end of a task, and show how far it is every five seconds."""
    for turn in range(600):
        if _status(url, task) in ("succeeded", "failed"):
            return
        if turn % 25 == 24:
            print(f"  {say()}", flush=True)
        await anyio.sleep(0.2)
    raise SystemExit(f"{task} did not end.")


def _done(url: str) -> str:
    rows = _one(url, "SELECT count(*) FROM alma_async.entry")
    return f"{_done_rows(url)} of {rows} rows are done"


def _done_rows(url: str) -> int:
    query = "SELECT count(*) FROM alma_async.entry JOIN alma_async.load ON load.id = entry.load WHERE name = %s AND state = 'done'"
    return int(_one(url, query, LOAD))


def _said(url: str) -> str:
    rows = _all(url, "SELECT state, count(*) FROM alma_async.entry GROUP BY state ORDER BY state")
    return ", ".join(f"{count} {state}" for state, count in rows)


def _status(url: str, task: str) -> str:
    rows = _all(url, "SELECT status::text FROM procrastinate_jobs WHERE task_name = %s", task)
    return str(rows[0][0]) if rows else "not queued yet"


def _one(url: str, query: str, *values: Any) -> Any:
    rows = _all(url, query, *values)
    return rows[0][0] if rows else None


def _all(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(query.encode(), values).fetchall()


async def _work(url: str) -> None:
    """One worker process."""
    async with Store(url) as store, AlmaClient.from_env(store=store, timeout=5.0) as alma:
        options = attrs.evolve(
            tasks.USUAL, quarantine=2.0
        )  # the simulated Alma applies what it is sent at once
        worker = engine.Worker(engine.app_of(store), store, alma, options=options)
        await attend(worker.run, stop=worker.stop)


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        anyio.run(_work, os.environ["ALMA_STORE"])
    else:
        sys.exit(main())
