"""A store with the engine's tables, and a worker process that can be killed, paused and stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import psutil
import psycopg
import pytest

from alma_async import Store
from alma_async.workers import engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def tasks_template(postgres):
    """The name of a database with a store and the engine's tables."""
    url = postgres.database(like="postgres")
    anyio.run(lambda: engine.init(Store(url)))
    return url.rpartition("/")[2]


@pytest.fixture
def tasks_url(postgres, tasks_template):
    """A database of the test's own with a store and the engine's tables, and a table in which its tasks leave their marks."""
    url = postgres.database(like=tasks_template)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE mark (n bigserial, job bigint, pid integer, what text)")
    return url


@pytest.fixture
def spawned(tasks_url):
    """Start worker processes of ``tests.workers.process``; all are gone at the end."""
    started = []

    def start(url=tasks_url):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.workers.process", url]
        started.append(psutil.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait()
