"""Workers that are killed and paused at random, over one store: what became of every row, by the server's own count.

    python -m benchmarks.worker_kills loads [--kills 200] [--pauses 50] [--workers 4] [--seed 1]
    python -m benchmarks.worker_kills messages [--messages 1000] [--cuts 0.05] [--kills 1] [--workers 3] [--seed 1]

Real processes, a real PostgreSQL, a simulated Alma over sockets. So that hundreds of kills fit into minutes, a lease takes two
seconds instead of twenty, an attempt two and the quarantine two: a tenth of what is usual, and in the same order. A pause lasts
two leases and more (SIGSTOP). ``loads`` carries out loads of sixty rows; ``messages`` delivers each message twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from signal import SIGCONT, SIGKILL, SIGSTOP
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
import attrs
import psycopg
from anyio.from_thread import start_blocking_portal

from alma_async import AlmaClient, Limits, LocalBudget, Store, sim
from alma_async._clock import Clock
from alma_async.load import Load, LoadOptions, postgres_journal
from alma_async.workers import engine, tasks
from examples.local_postgres import Cluster

KEY: Final = "sim-demo"
ROWS: Final = 60
LEASE: Final = 2.0
OPTIONS: Final = LoadOptions(longest_outage=60.0, quarantine=2.0, beside=True, circuit_breaker=False)
TIMING: Final = engine.Timing(poll=0.2, heartbeat=0.5, stalled=1.5, sweep=0.5, drain=5.0)
LIMITS: Final = Limits(per_second=60)


async def work(url: str) -> None:
    """One worker process, at a tenth of the usual times."""
    postgres_journal.LEASE, postgres_journal._BEAT = LEASE, LEASE / 4  # type: ignore[misc]
    tasks._CLAIMED = 0.5  # type: ignore[misc]
    async with (
        Store(url) as store,
        AlmaClient.from_env(store=store, timeout=2.0, limits=LIMITS, budget=LocalBudget()) as alma,
    ):
        await engine.Worker(engine.app_of(store), store, alma, options=OPTIONS, timing=TIMING).run()


@attrs.define
class Fleet:
    """Worker processes, of which one at random is killed or paused."""

    count: int
    chance: random.Random
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)
    kills: int = 0
    pauses: int = 0

    def fill(self) -> None:
        """As many as there should be."""
        self.processes = [one for one in self.processes if one.poll() is None]
        while len(self.processes) < self.count:
            command = [sys.executable, "-m", "benchmarks.worker_kills", "work"]
            self.processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

    def kill(self) -> None:
        """Kill one with -9, and start another one."""
        one = self.chance.choice(self.processes)
        one.send_signal(SIGKILL)
        one.wait()
        self.kills += 1
        self.fill()

    async def pause(self) -> None:
        """Stop one for two leases and more; the others have its work meanwhile."""
        one = self.chance.choice(self.processes)
        one.send_signal(SIGSTOP)
        self.pauses += 1
        await anyio.sleep(2.2 * LEASE)
        if one.poll() is None:
            one.send_signal(SIGCONT)

    def close(self) -> None:
        """End all of them."""
        for one in self.processes:
            if one.poll() is None:
                one.kill()
                one.wait()


def main() -> int:
    """Run one of them; 1 where a row was lost, doubled or told wrongly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("loads", "messages", "work"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--pauses", type=int, default=50)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--cuts", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.what == "work":
        anyio.run(work, os.environ["ALMA_STORE"])
        return 0
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster())
        config = sim.Config(
            rate=None,
            latency=sim.Latency(base=0.02, jitter=0.1),
            faults=sim.FaultPlan.named(
                {"cut_before": asked.cuts / 2, "cut_after": asked.cuts / 2}, seed=asked.seed
            ),
            seed=asked.seed,
        )
        portal = stack.enter_context(start_blocking_portal())
        server = stack.enter_context(portal.wrap_async_context_manager(sim.serve(sim.World.demo(config))))
        state = stack.enter_context(TemporaryDirectory(prefix="alma-async-kills-"))
        os.environ |= {
            "ALMA_STORE": cluster.url(),
            "ALMA_API_KEY": KEY,
            "ALMA_BASE_URL": server.base_url,
            "ALMA_STATE_DIR": state,
        }
        fleet = Fleet(asked.workers, random.Random(asked.seed))
        stack.callback(fleet.close)
        story = loads if asked.what == "loads" else messages
        found = anyio.run(story, asked, server, cluster.url(), fleet)
    print(json.dumps(found))
    return int(any(found[name] for name in ("lost", "doubled", "wrong", "unfinished")))


async def loads(asked: argparse.Namespace, server: sim.Server, url: str, fleet: Fleet) -> dict[str, Any]:
    """Loads of sixty rows, three of them in the queue at any time, while workers are killed and paused."""
    names, began = list[str](), Clock().now()
    async with Store(url) as store, AlmaClient.from_env(store=store, budget=LocalBudget()) as alma:
        await store.init()
        await engine.init(store)
        fleet.fill()
        while fleet.kills < asked.kills or fleet.pauses < asked.pauses:
            while _open_tasks(url) < 3:
                names.append(await _queue_load(alma, store, len(names)))
            await anyio.sleep(fleet.chance.uniform(0.5, 2.5))
            if fleet.pauses < asked.pauses and fleet.chance.random() < 0.2:
                await fleet.pause()
            elif fleet.kills < asked.kills:
                fleet.kill()
        await _until_empty(url)
    titles = [title for n in range(len(names)) for title in _titles(n)]
    return {
        "loads": len(names),
        **_found(url, server, fleet, titles),
        "seconds": round(Clock().now() - began),
    }


async def messages(asked: argparse.Namespace, server: sim.Server, url: str, fleet: Fleet) -> dict[str, Any]:
    """Messages, each of them queued twice, at different times."""
    began, titles = Clock().now(), [f"99{n:010}0421" for n in range(asked.messages)]
    async with Store(url) as store:
        await store.init()
        await engine.init(store)
        queued = [*titles, *titles]
        fleet.chance.shuffle(queued)
        await store.shared.do(lambda link: [_queue_message(link, title) for title in queued], within=60)
        fleet.fill()
        while fleet.kills < asked.kills:
            await anyio.sleep(fleet.chance.uniform(5, 15))
            fleet.kill()
        await _until_empty(url)
    calls = server.world.tally.routes.total()
    found = _found(url, server, fleet, titles)
    return {
        **found,
        "calls": calls,
        "by route": dict(server.world.tally.routes.most_common()),
        "calls a message": round(calls / len(titles), 2),
        "seconds": round(Clock().now() - began),
    }


def _queue_message(link: Any, title: str) -> int:
    return engine.defer(
        link,
        "alma_async.ensure_portfolio",
        key=f"message {title}",
        collection_id=sim.DEMO_COLLECTION,
        service_id=sim.DEMO_SERVICE,
        row={"mms_id": title, "url": f"https://journals.example.org/{title}"},
    )


def _titles(number: int) -> list[str]:
    return [f"99{number:06}{n:04}0421" for n in range(ROWS)]


async def _queue_load(alma: AlmaClient, store: Store, number: int) -> str:
    name = f"load-{number}"
    place = {"collection_id": sim.DEMO_COLLECTION, "service_id": sim.DEMO_SERVICE}
    load = Load(alma, **place, journal=f"store:{name}", options=OPTIONS)
    await load.ingest(
        [{"mms_id": title, "url": f"https://j.example.org/{title}"} for title in _titles(number)]
    )
    await store.shared.do(lambda link: engine.defer(link, "alma_async.run_load", load_id=name), within=30)
    return name


async def _until_empty(url: str) -> None:
    with anyio.move_on_after(300):
        while _open_tasks(url):
            await anyio.sleep(0.5)


def _open_tasks(url: str) -> int:
    ((count,),) = _all(url, "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
    return int(count)


def _found(url: str, server: sim.Server, fleet: Fleet, titles: list[str]) -> dict[str, Any]:
    """What became of every row: by the journals, and by what the simulated Alma holds."""
    held = Counter(
        one["resource_metadata"]["mms_id"]["value"] for one in server.world.portfolios.all.values()
    )
    told = dict(
        _all(
            url, "SELECT mms_id, max(portfolio_id) FROM alma_async.entry WHERE state = 'done' GROUP BY mms_id"
        )
    )
    states = dict(_all(url, "SELECT state, count(*) FROM alma_async.entry GROUP BY state"))
    tasks_of = dict(_all(url, "SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY status"))
    return {
        "rows": len(titles),
        "kills": fleet.kills,
        "pauses": fleet.pauses,
        "lost": sum(not held[title] for title in titles),
        "doubled": sum(held[title] > 1 for title in titles),
        "wrong": sum(portfolio not in server.world.portfolios.all for portfolio in told.values()),
        "unfinished": len(titles) - len(told),
        "states": states,
        "tasks": tasks_of,
    }


def _all(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(query.encode()).fetchall()


if __name__ == "__main__":
    sys.exit(main())
