"""``worker``: carries out the tasks of the store until a signal ends it."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from alma_async._clock import selector_loop
from alma_async.alma.client import AlmaClient
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import say
from alma_async.cli.load_options import Seconds, option
from alma_async.cli.signals import attend
from alma_async.errors import ConfigurationError
from alma_async.load.options import DEFAULTS

__all__ = ["worker"]


def worker(
    *,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1))] = 4,
    quarantine: Annotated[Seconds, option("quarantine", env_var="ALMA_QUARANTINE")] = DEFAULTS.quarantine,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Carry out the tasks of the store: loads, jobs and what follows their ends. Any number of workers on any machines share them.

    The first signal (Ctrl-C, SIGTERM) lets what is under way end its present call, and hands the rest back; the next one ends it.
    Outages of the database are waited out.

    :param concurrency: tasks at once
    """
    from alma_async.workers import engine, tasks

    alma = connection.client()
    store = alma.store
    if store is None:
        raise ConfigurationError("A worker needs a store: set ALMA_STORE, or give --store-file.")
    carrier = engine.Worker(
        engine.app_of(store),
        store,
        alma,
        concurrency=concurrency,
        options=attrs.evolve(tasks.USUAL, quarantine=quarantine),
    )

    async def work() -> int:
        async with store, alma:
            say(f"Works for {_whom(alma)} over the store {store.place}; Ctrl-C ends it.")
            await carrier.run()
        return 0

    ended = anyio.run(
        partial(attend, work, stop=carrier.stop), backend_options={"loop_factory": selector_loop}
    )
    return ended.interrupted if ended.signal is not None else 0


def _whom(alma: AlmaClient) -> str:
    return f"{alma.institution} at {alma.origin}" if alma.institution else alma.origin
