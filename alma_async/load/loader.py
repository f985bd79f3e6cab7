"""``Load``: many rows into portfolios, bounded in memory, resumable after any end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load.journal import Journal
from alma_async.load.passes import RESERVED, Order, Rows, Run
from alma_async.load.plan import Rules
from alma_async.load.progress import Meter, Progress, Report
from alma_async.load.reconcile import OnUnknown
from alma_async.load.writer import Writer
from alma_async.settings import Priority

__all__ = ["QUARANTINE", "Load"]

QUARANTINE: Final = (
    300.0  # assumed: the longest a request that was sent may still be applied; to be measured in a sandbox
)


class Load:
    """Loads rows into one electronic service, with every row accounted for in a journal.

    ``journal`` is a path: a new one begins a load, one that exists is resumed (with the same file and the same service).
    ``action``: ``upsert`` creates or updates, ``create`` leaves alone what is there, ``update`` refuses what is not.
    ``quarantine``: seconds an unknown outcome rests before it is read back. ``on_unknown``: what happens to a create that was
    then not found. ``until_done``: wait for the quota's reset instead of stopping at the reserve. ``patience``: seconds of
    nothing but failures after which the load stops, resumable. ``workers``: rows under way at once. ``facts`` are written into
    the journal for whoever resumes the load.
    """

    def __init__(
        self,
        alma: AlmaClient,
        *,
        collection_id: str,
        service_id: str,
        journal: str | os.PathLike[str],
        action: Literal["upsert", "create", "update"] = "upsert",
        quarantine: float = QUARANTINE,
        on_unknown: OnUnknown = "resend",
        until_done: bool = False,
        patience: float = 3 * 3600.0,
        workers: int = 64,
        rules: Rules | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        if taken := RESERVED & set(facts or {}):
            raise ConfigurationError(f"Facts of a load cannot be named {', '.join(sorted(taken))}.")
        self._alma = alma.with_options(priority=Priority.BULK, wait_for_quota=until_done)
        self._journal_path = Path(journal)
        self._run: Run | None = None
        self._order = Order(
            alma=self._alma,
            place=(collection_id, service_id),
            action=action,
            quarantine=quarantine,
            on_unknown=on_unknown,
            patience=patience,
            workers=workers,
            rules=rules or Rules(),
            facts=dict(facts or {}),
        )

    def stop(self) -> None:
        """Take no further row, and let those under way end their present call; ``run`` then returns, resumable."""
        if self._run is not None:
            self._run.stopping = True

    async def run(self, rows: Rows, *, on_progress: Callable[[Progress], None] | None = None) -> Report:
        """Carry every row to its end, or as far as it goes.

        :raises JournalError: where the journal cannot be written; nothing more is sent then.
        :raises JournalInUse: where another process works on it.
        :raises InputError: where the file is another one than the journal was begun with.
        :raises Unauthorized, ConfigurationError: where going on makes no sense; the load can be resumed.
        """
        with Journal(self._journal_path) as journal:
            run = self._begin(journal, rows, on_progress)
            try:
                await run.prepare()
                await run.passes()
            except AlmaError as error:
                run.halt(error)
            finally:
                run.tell(force=True)
                await run.writer.drain()
            if run.stopped is not None and not run.resumable:
                raise run.stopped
            return await run.report()

    def _begin(self, journal: Journal, rows: Rows, on_progress: Callable[[Progress], None] | None) -> Run:
        """A run whose calls are counted."""
        run = Run(
            order=self._order,
            writer=Writer(journal, self._alma.clock.aside),
            rows=rows,
            meter=Meter(self._alma.clock.now()),
            on_progress=on_progress,
        )
        run.order = attrs.evolve(self._order, alma=self._alma.with_options(on_outcome=run.called))
        self._run = run
        return run
