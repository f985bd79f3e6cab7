"""The live view of a load, on stderr and only where that is a terminal. What it says is a pure function of the progress.

Elsewhere, in the log of a nightly job, one line is said where nothing is done for a minute, and why: a host that is misspelt
would otherwise pass hours in silence. Decides no wait and ends none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from alma_async.cli.console import plain, say
from alma_async.load.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ["View", "clock_time", "lines"]

_STILL: Final = 60  # ticks, which are seconds, without a row done


def clock_time(seconds: float) -> str:
    """Seconds as ``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def lines(now: Progress, *, waiting: str | None, since: float) -> list[str]:
    """What stands below the bar. ``waiting`` has lasted since ``since`` seconds into the load."""
    rows = [
        ("created", now.created),
        ("updated", now.updated),
        ("unchanged", now.unchanged),
        ("refused", now.rejected),
        ("duplicates", now.duplicates),
        ("for review", now.review),
    ]
    calls = [f"{now.rate:.1f} calls/s (mean {now.mean:.1f})", f"{now.throttled:,} throttled"]
    if now.remaining is not None:
        calls.append(f"{now.remaining:,} remaining today")
    calls.append(f"{clock_time(now.seconds)} so far")
    if now.eta is not None and now.pending:
        calls.append(f"{clock_time(now.eta)} to go")
    if now.deleted:
        rows.insert(2, ("deleted", now.deleted))
    told = [" · ".join(f"{count:,} {name}" for name, count in rows), " · ".join(calls)]
    if waiting:
        told.append(f"held back, {clock_time(now.seconds - since)} so far: {waiting}")
    return [plain(line) for line in told]


class View:
    """Shows the progress it is called with; where stderr is no terminal, only why it stands still."""

    def __init__(self, title: str, *, held: Callable[[], str]) -> None:
        """``held`` says why the governor lets nobody go, or nothing."""
        self._title = plain(title)
        self._held = held
        self._live: Live | None = None
        self._progress: Progress | None = None
        self._since: float | None = None
        self._done = 0
        self._still = 0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # No thread of its own: it is drawn when there is something to tell.
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """How far the load is now."""
        self._progress = progress
        self._draw(progress)

    def tick(self) -> None:
        """Draw it again, once a second: the load may say nothing for hours while the day's calls are spent."""
        if self._progress is None:
            return
        if self._live is None:
            self._tell(self._progress)
        self._draw(self._progress)

    def _tell(self, now: Progress) -> None:
        self._still = self._still + 1 if now.done == self._done else 0
        self._done = now.done
        if self._still == _STILL:
            why = now.waiting or self._held()
            say(f"Nothing was done for a minute{f', because {why}' if why else ''}")

    def _draw(self, now: Progress) -> None:
        if self._live is None:
            return
        waiting = now.waiting or self._held() or None
        if waiting is None:
            self._since = None
        elif self._since is None:
            self._since = now.seconds
        self._live.update(self._drawn(now, waiting), refresh=True)

    def _drawn(self, now: Progress, waiting: str | None) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(padding=(0, 1))
        done = Text(f"{now.done:,} of {now.rows:,} rows")
        bar.add_row(Text(self._title), ProgressBar(max(now.rows, 1), now.done, width=40), done)
        told = lines(now, waiting=waiting, since=now.seconds if self._since is None else self._since)
        return Group(bar, *map(Text, told))
