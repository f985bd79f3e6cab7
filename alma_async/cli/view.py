"""The live view of a load on stderr, where that is a terminal. Its text is a pure function of the progress.

Elsewhere, such as in the log of a nightly job, one line says where no row has ended for a minute, and why: with a misspelt host
a load would otherwise print nothing for hours. Decides no wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from alma_async._text import counted, duration, plain
from alma_async.cli.console import say
from alma_async.load.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ["View", "clock_time", "lines"]

_HELD: Final = 5  # ticks after which it is said, once, what holds the load back
_STILL: Final = 60  # ticks, which are seconds, without a row done


def clock_time(seconds: float) -> str:
    """Seconds as ``1:02:03``, or ``2:03`` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def lines(now: Progress) -> list[str]:
    """The lines below the bar."""
    rows = [
        ("created", now.created),
        ("updated", now.updated),
        *([("deleted", now.deleted)] if now.deleted else []),
        ("unchanged", now.unchanged),
        *([("known", now.known)] if now.known else []),
        ("rejected", now.rejected),
        ("duplicate", now.duplicates),
        ("for review", now.review),
        ("pending", now.pending),
    ]
    calls = [f"{now.rate:.1f} calls/s (mean {now.mean:.1f})", f"{now.throttled:,} throttled"]
    if now.remaining is not None:
        calls.append(f"{now.remaining:,} remaining today")
    calls.append(f"{clock_time(now.seconds)} so far")
    if now.eta is not None and now.pending:
        calls.append(f"{clock_time(now.eta)} to go")
    counts = " · ".join(f"{count:,} {name}" for name, count in rows)
    texts = [counts + (f" ({now.begun:,} of them begun)" if now.begun else ""), " · ".join(calls)]
    if now.waiting:
        held = "" if now.reading else f"held back, {clock_time(now.waited)} so far: "
        texts.append(held + now.waiting)
    return [plain(line) for line in texts]


def _still(now: Progress) -> str:
    """Why no row ends although nothing holds the load."""
    if now.reading:
        return f"the file is being read ({counted(now.rows, 'row')} so far)"
    if now.rate:
        return f"the rows in progress need further calls ({now.rate:.1f} a second)"
    return "Alma has not answered the calls in flight; each ends at its timeout"


class View:
    """Shows the progress it is called with, and each second the present one; where stderr is no terminal, why no row ends."""

    def __init__(self, title: str, *, fresh: Callable[[], Progress | None]) -> None:
        """``fresh`` gives the present progress, or None where nothing is known yet."""
        self._title = plain(title)
        self._fresh = fresh
        self._live: Live | None = None
        self._done = 0
        self._still = 0
        self._held: int | None = 0  # ticks held back so far; None once it was said

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # No refresh thread: it is drawn when something changes.
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show this progress."""
        if self._live is not None:
            self._live.update(self._drawn(progress), refresh=True)

    def tick(self) -> None:
        """Show the present progress, each second: the load may report nothing for hours while no calls are left."""
        if (now := self._fresh()) is None:
            return
        if self._live is None:
            self._report_still(now)
        self(now)

    def _report_still(self, now: Progress) -> None:
        self._still = self._still + 1 if now.done == self._done else 0
        self._done = now.done
        if self._held is not None:
            is_held = now.waiting and not now.reading and self._still
            self._held = self._held + 1 if is_held else 0
            if self._held == _HELD:
                self._held = None
                say(f"Held back: {now.waiting}")
        if self._still == _STILL:
            say(f"No row has ended for {duration(_STILL)}: {now.waiting or _still(now)}")

    def _drawn(self, now: Progress) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        bar = Table.grid(padding=(0, 1))
        done = Text(f"{now.done:,} of {now.rows:,} rows")
        bar.add_row(Text(self._title), ProgressBar(max(now.rows, 1), now.done, width=40), done)
        return Group(bar, *map(Text, lines(now)))
