"""PgBouncer before a database, where it is installed: in transaction mode, as poolers usually are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg

__all__ = ["found", "pooled"]

_INI: Final = """\
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 4
max_client_conn = 100
query_wait_timeout = 5
"""


def found() -> str | None:
    """The program, on the path or where systems keep what root runs."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def pooled(url: str) -> Iterator[str]:
    """The URL of a pooler before the server at ``postgresql://user@127.0.0.1:port/database``."""
    server, database = url.rsplit(":", 1)[1].split("/")
    program = found()
    assert program is not None
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        users, ini = Path(folder, "users.txt"), Path(folder, "pgbouncer.ini")
        users.write_text('"postgres" ""\n', encoding="ascii")
        ini.write_text(_INI.format(server=server, port=port, users=users), encoding="ascii")
        as_whom: dict[str, Any] = {}
        if os.getuid() == 0:  # it does not run as root
            Path(folder).chmod(0o755)
            as_whom = {"user": 65534, "group": 65534, "extra_groups": []}
        free.close()
        with subprocess.Popen([program, "-q", str(ini)], **as_whom) as process:
            try:
                pooler = f"postgresql://postgres@127.0.0.1:{port}/{database}"
                for _ in range(100):
                    with suppress(psycopg.OperationalError):
                        psycopg.connect(pooler, connect_timeout=1).close()
                        break
                    time.sleep(0.05)  # noqa: TID251 - nothing else runs yet
                if process.poll() is not None:
                    raise RuntimeError("PgBouncer did not start.")
                yield pooler
            finally:
                process.terminate()
