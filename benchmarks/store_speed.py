"""How many statements a second a budget in PostgreSQL takes: ``python -m benchmarks.store_speed``.

So many clients, each a process, ask as fast as they can for five slots; one of five statements says who asks, as that of a busy
client does once a second. All for one institution, and for one of 300 at random.
"""

from __future__ import annotations

import random
import time
from multiprocessing import Process, Queue

import anyio
import psycopg

from alma_async import Store
from examples.local_postgres import Cluster

__all__ = ["main"]

_SECONDS = 4.0
_DRAW = b"SELECT * FROM alma_async.draw(%s, %s, 5, 0.0404, 1, 1.01, false, %s::jsonb, NULL)"
_NEWS = '{"version": 0, "lead": 0}'
_HERE = '{"version": 0, "machine": "m%d", "name": "m", "busy": true, "drawn": 5}'


def _ask(url: str, number: int, institutions: int, done: Queue[int]) -> None:
    count, end = 0, time.perf_counter() + _SECONDS
    with psycopg.connect(url, autocommit=True) as db:
        while time.perf_counter() < end:
            news = _NEWS if count % 5 else _HERE % number
            db.execute(_DRAW, (f"i{random.randrange(institutions)}", f"p{number}", news)).fetchall()
            count += 1
    done.put(count)


def main() -> None:
    """Print one line for each number of institutions and clients."""
    with Cluster() as cluster:
        anyio.run(Store(cluster.url()).init)
        for institutions in (1, 300):
            for clients in (1, 4, 8):
                done: Queue[int] = Queue()
                asking = [
                    Process(target=_ask, args=(cluster.url(), number, institutions, done))
                    for number in range(clients)
                ]
                for one in asking:
                    one.start()
                total = sum(done.get() for _ in asking)
                for one in asking:
                    one.join()
                print(f"{institutions} institutions, {clients} clients: {total / _SECONDS:,.0f} statements/s")


if __name__ == "__main__":
    main()
