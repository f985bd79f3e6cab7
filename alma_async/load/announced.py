"""The events of a load: that a run of it began, and how it ended."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs

from alma_async.events import LoadFinished, LoadStarted
from alma_async.load.options import LoadContext
from alma_async.load.progress import Report, row_counts
from alma_async.load.run import LoadRun

__all__ = ["Ending", "announced"]


@attrs.define(eq=False)
class Ending:
    """What is known of the end of the run of this name."""

    name: str
    run: LoadRun | None = None
    report: Report | None = None

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows by the names of ``Report``, as far as they were counted."""
        if self.report is not None:
            return {name: getattr(self.report, name) for name in row_counts({})}
        return {} if self.run is None else dict(self.run.meter.rows)


@contextmanager
def announced(context: LoadContext) -> Iterator[Ending]:
    """Announce the run that is done here, and its end, however it ends."""
    alma, ending = context.alma, Ending(secrets.token_hex(4))
    began, outcome, error = alma.clock.now(), "cancelled", None
    alma.hooks(LoadStarted(began, load=ending.name, action=context.options.action, dry=context.dry))
    try:
        yield ending
        finished = ending.report is not None and ending.report.is_finished
        outcome = "ingested" if context.only_ingest else "finished" if finished else "stopped"
    except Exception as failure:
        outcome, error = "failed", type(failure).__name__
        raise
    finally:
        run, now = ending.run, alma.clock.now()
        if run is not None and run.stopped is not None:
            error = error or type(run.stopped).__name__
        alma.hooks(
            LoadFinished(
                now,
                load=ending.name,
                action=context.options.action,
                dry=context.dry,
                outcome=outcome,
                rows=ending.rows,
                calls=0 if run is None else run.meter.calls,
                throttled=0 if run is None else run.meter.throttled,
                seconds=now - began,
                error=error,
            )
        )
