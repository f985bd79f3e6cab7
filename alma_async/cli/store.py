"""``store``: makes the PostgreSQL database that machines share, and shows what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import anyio
import attrs
from cyclopts import Group, Parameter

from alma_async._secret import Secret
from alma_async._text import counted
from alma_async.cli.console import json_line, show
from alma_async.errors import ConfigurationError
from alma_async.settings import secret_file
from alma_async.store import Store, StoreCheck

__all__ = ["check_store", "init_store"]

_OFF: Final = 1.0  # chosen: seconds from which a difference of clocks is worth a word

StoreFile = Annotated[
    Path | None,
    Parameter(
        group=Group("Connection", sort_key=10),
        help="file that holds the store's URL (ALMA_STORE_FILE); else ALMA_STORE",
    ),
]


def _store(file: Path | None) -> Store:
    store = (
        Store(secret_file("--store-file", str(file), kind=Secret.of))
        if file is not None
        else Store.from_env(os.environ)
    )
    if store is None:
        raise ConfigurationError(
            "No store: set ALMA_STORE to postgresql://user@host/database, or ALMA_STORE_FILE to the path of a file that holds it."
        )
    return store


def init_store(
    *, role: str | None = None, tasks: bool = False, json: bool = False, store_file: StoreFile = None
) -> int:
    """Make the schema alma_async in the database, or bring it up to this version.

    It needs a role that may create a schema, and tables in public with --tasks; clients need another one, with less rights.
    Safe to repeat, also while clients work.

    :param role: an existing role for clients: gets the rights that they need, and limits of time for its statements
    :param tasks: make the tables of Procrastinate too, which workers need
    :param json: one JSON object
    """
    store = _store(store_file)

    async def make() -> list[str]:
        done = await store.init(role=role)
        if tasks:
            from alma_async.workers import engine

            done += await engine.init(store, role=role)
        return done

    done = anyio.run(make)
    if json:
        json_line({"place": store.place, "done": done})
    else:
        show(f"{store.place}: {', '.join(done) if done else 'up to date'}")
    return 0


def check_store(*, json: bool = False, store_file: StoreFile = None) -> int:
    """Show version, role, encryption, clock and speed of the store. Changes nothing.

    Ends with 1 where the schema is not one that this version works with.

    :param json: one JSON object
    """
    found = anyio.run(_store(store_file).check)
    if json:
        json_line({**attrs.asdict(found), "is_ready": found.is_ready})
    else:
        for line in _lines(found):
            show(line)
    return 0 if found.is_ready else 1


def _lines(found: StoreCheck) -> list[str]:
    schema = f"schema of version {found.version}" if found.version else "no schema yet"
    todo = "alma-async store init" if found.version < found.needed else "upgrade alma-async"
    wanted = "" if found.is_ready else f", and this client needs {found.needed}: {todo}"
    rights = " (it may change the schema, which clients need not)" if found.may_change_schema else ""
    lines = [
        f"store    {found.place}: PostgreSQL {found.server}, {schema}{wanted}",
        f"role     {found.role}{rights}",
        f"network  {'encrypted' if found.encrypted else 'not encrypted'}, {found.seconds * 1000:.1f} ms for one question",
    ]
    if abs(found.offset) >= _OFF:
        ahead = "ahead" if found.offset > 0 else "behind"
        off = counted(round(abs(found.offset)), "second")
        lines.append(
            f"clock    {off} {ahead} of this machine's, which harms nothing: the store's own clock counts"
        )
    return lines
