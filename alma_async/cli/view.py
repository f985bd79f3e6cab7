"""A load in words: the live view while it runs, how it ended, and a dry run with its first rows, counts and price.

The live view is on stderr, where that is a terminal. Elsewhere, such as in the log of a nightly job, one line says where no row has
ended for a minute, and why: with a misspelt host a load would otherwise print nothing for hours. Decides nothing: each text
is a function of a progress, a report or a journal.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from io import StringIO
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from alma_async._text import counted, duration, masked, plain
from alma_async.cli.console import clock_time, json_line, say, show
from alma_async.load.entries import Entry, State
from alma_async.load.journal import Journal, slices
from alma_async.load.progress import Progress, Report
from alma_async.load.reasons import EndReason
from alma_async.load.report import record
from alma_async.load.via_job import FEW

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from alma_async.load.dry_run import Plan, Price

__all__ = [
    "View",
    "closing",
    "few",
    "lines",
    "not_loaded",
    "price_lines",
    "rows_on_lines",
    "show_part",
    "show_plan",
    "show_surplus",
    "stopped_line",
]

_HELD: Final = 5  # ticks after which it is said, once, what holds the load back
_STILL: Final = 60  # ticks, which are seconds, without a row done
_SHOWN: Final = {State.REJECTED: "rejected", State.REVIEW: "for review"}
_WIDE: Final = 250  # columns where there is no terminal
_NOT_IN_LIST: Final = "-"  # the mark of verify and compare
_DOES: Final = {"created": "create", "updated": "update", "deleted": "delete"}


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
        needed = "" if now.needed is None else f"{counted(now.needed, 'call')} and "
        calls.append(f"{needed}{clock_time(now.eta)} to go")
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


def rows_on_lines(rows: int, lines: int) -> str:
    """How many rows there are, and on how many lines of the file where several lines are one row."""
    return f"{counted(rows, 'row')} on {counted(lines, 'line')}" if lines > rows else counted(rows, "row")


def closing(report: Report, *, lines: int = 0) -> list[str]:
    """What a load did, in two or three lines. ``lines``: how many of the file it stands on."""
    rows = {
        "created": report.created,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "known from the earlier load": report.known,
        "deleted": report.deleted,
        "rejected": report.rejected,
        "duplicate": report.duplicates,
        "for review": report.review,
        "undone": report.undone,
        "pending": report.pending,
    }
    parts = ", ".join(f"{count:,} {name}" for name, count in rows.items() if count)
    pace = f" ({report.calls / report.seconds:.1f} a second)" if report.seconds else ""
    left = "" if report.remaining is None else f"; {counted(report.remaining, 'call')} left today"
    found = [
        f"{rows_on_lines(report.rows, lines)}: {parts or 'none'}.",
        f"{counted(report.calls, 'call')} in {duration(report.seconds)}{pace}, {report.throttled:,} throttled{left}.",
    ]
    if report.rows and report.is_finished and not report.calls:
        found.append("Nothing was left to do: the load had ended before.")
    if report.undone:
        found.append(
            "Rows that an undo took back are not loaded again; to load them, begin with a new journal."
        )
    if report.job:
        found.append(f"By a job of Alma's: {report.job}.")
    if not report.read:
        found.append("The file was not read to its end: it may have more rows.")
    found += _surplus(report)
    return [*found, stopped_line(report.stopped)] if not report.is_finished and report.stopped else found


def _surplus(report: Report) -> list[str]:
    """What is to be said of what the service holds beyond a complete list."""
    if report.surplus_kept:
        return [f"What the service holds beyond the list was not touched: {report.surplus_kept}."]
    if report.surplus:
        are = "is a portfolio" if report.surplus == 1 else "are portfolios"
        return [f"Of these {report.surplus:,} {are} of the service that the list does not name."]
    return ["The list names all that the service holds."] if report.surplus == 0 else []


def stopped_line(why: str) -> str:
    """Why rows are left."""
    return f"Stopped: {why.removeprefix('stopped ')}"


async def not_loaded(journal: Journal, *, most: int) -> AsyncIterator[str]:
    """Rows that were rejected or need review, each with its line and why; at most so many, and how many more there are."""
    found = 0
    async for entries in slices(journal.entries):
        for entry in entries:
            is_shown = entry.state in _SHOWN and not _is_reported(entry)
            found += is_shown
            if is_shown and found <= most:
                yield _sentence(entry)
    if found > most:
        yield f"... and {found - most:,} more; --report lists all."


def _is_reported(entry: Entry) -> bool:
    """Whether it is a portfolio that the list does not name, and that was to be reported."""
    return entry.state is State.REVIEW and entry.reason == EndReason.NOT_IN_LIST.code


async def show_surplus(journal: Journal, *, most: int, json: bool) -> None:
    """The portfolios that the list does not name, each with its mark; as text at most so many, and how many more there are."""
    found = 0
    async for entries in slices(journal.entries):
        for entry in filter(_is_reported, entries):
            found += 1
            if json:
                json_line({"mark": _NOT_IN_LIST, **record(entry)})
            elif found <= most:
                show(f"{_NOT_IN_LIST} {entry.portfolio_id}{_title(entry)} ({entry.mms_id}): {entry.message}")
    if found > most and not json:
        show(f"... and {found - most:,} more; --report lists all.")


def _title(entry: Entry) -> str:
    return f' "{entry.source.title}"' if entry.source and entry.source.title else ""


def _sentence(entry: Entry) -> str:
    why = entry.message or "no reason was given"
    facts = [
        f"{name} {value}"
        for name, value in (("code", entry.code), ("tracking id", entry.tracking_id))
        if value
    ]
    where = f"portfolio {entry.portfolio_id}" if entry.portfolio_id else f"title {entry.mms_id}"
    where = f"line {entry.line}" if entry.line else where
    return f"{where}{_title(entry)}: {_SHOWN[entry.state]}: {why}" + (
        f" ({', '.join(facts)})" if facts else ""
    )


async def show_plan(plan: Plan, *, rows: int, lines: int, wait_for_quota: bool, json: bool) -> None:
    """All of it, on stdout: the first ``rows`` of those that stand on so many ``lines`` of the file."""
    if json:
        async for entry in plan:
            json_line(record(entry, planned=True))
        json_line({**plan.report.summary(), "dry_run": True, "price": plan.price.summary()})
        return
    first: list[Entry] = []
    async for entry in plan:
        if len(first) == rows:
            break
        if _says(entry):
            first.append(entry)
    _show_rows(first)
    show(_counts(plan.report, lines))
    for line in _surplus(plan.report):
        show(line)
    for line in price_lines(plan.price, wait_for_quota=wait_for_quota):
        show(line)
    if plan.report.pending and plan.report.stopped:
        show(stopped_line(plan.report.stopped))


def show_part(report: Report, *, lines: int, json: bool) -> None:
    """What is known of a dry run that came to no end: the counts, since a part has no price."""
    if json:
        json_line({**report.summary(), "dry_run": True})
        return
    show(_counts(report, lines))
    if report.stopped:
        show(stopped_line(report.stopped))


def _counts(report: Report, lines: int) -> str:
    counts = {
        "to be created": report.created,
        "to be updated": report.updated,
        "to be deleted": report.deleted,
        "unchanged": report.unchanged,
        "known from the earlier load": report.known,
        "rejected": report.rejected,
        "duplicate": report.duplicates,
        "for review": report.review,
        "not compared yet": report.pending,
    }
    parts = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{rows_on_lines(report.rows, lines)}: {parts or 'none'}. Nothing was changed."


def _says(entry: Entry) -> bool:
    return entry.state is State.DONE and (entry.action in _DOES or entry.reason == EndReason.STAYS.code)


def _show_rows(entries: Iterable[Entry]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for name in ("line", "portfolio or title", "does", "field", "now", "then"):
        table.add_column(name, overflow="fold")
    for entry in entries:
        for cells in _lines(entry):
            table.add_row(*cells)
    if table.row_count:
        drawn = StringIO()
        Console(file=drawn, width=None if sys.stdout.isatty() else _WIDE, markup=False).print(table)
        for line in drawn.getvalue().splitlines():
            show(line.rstrip())


def _lines(entry: Entry) -> Iterator[list[str]]:
    """One line for each field that changes, the first with what the row is about; the last is of fields that stay."""
    does = _DOES.get(entry.action or "", "nothing")
    head = [str(entry.line or "-"), entry.portfolio_id or entry.mms_id or "-", does]
    for difference in entry.differences:
        yield [*head, difference.field, *(_short(masked(text)) for text in (difference.old, difference.new))]
        head = ["", "", ""]
    if entry.reason == EndReason.STAYS.code:
        yield [*head, "-", masked(entry.message or ""), ""]


def _short(text: str) -> str:
    return "-" if not text else text if len(text) <= 60 else f"{text[:59]}…"


def price_lines(price: Price, *, wait_for_quota: bool = False) -> list[str]:
    """What it costs, and whether the day has room for it; ``wait_for_quota``: whether it would wait for the next."""
    writes = {
        "POST": price.writes.posts,
        "PUT": price.writes.puts,
        "DELETE": price.writes.deletes,
        "for the set and the job": price.writes.job,
    }
    parts = ", ".join(
        [f"{price.reads:,} GET", *(f"{count:,} {name}" for name, count in writes.items() if count)]
    )
    pace = f"{duration(price.seconds)} at {price.quote.per_second:.1f} a second"
    if price.calls > price.quote.at_full_pace:
        first = price.quote.at_full_pace + 1
        pace += (
            f", from call {first:,.0f} on spread over the rest of the day (not so with ALMA_PACING=greedy)"
        )
    calls = counted(price.calls, "call")
    lines = [f"Price: {calls} ({parts}), {pace}; the dry run itself took {price.planned:,}."]
    if price.writes.job:
        lines.append(_BY_JOB)
    if 0 < price.writes.by_job < FEW:
        lines.append(few(price.writes.by_job))
    if price.of_plan is not None and price.of_plan < price.calls:
        time = duration(price.quote.seconds(price.of_plan))
        lines.append(
            f"As a plan (--dry-run --journal PLAN, then load --plan PLAN): {counted(price.of_plan, 'call')}, {time}; what was "
            f"read is not read again."
        )
    if price.of_job is not None and price.of_job < price.calls:
        lines.append(
            f"By a set and a job of Alma's (--via-job FILE): some {counted(price.of_job, 'call')}, and the job's own time."
        )
    if price.least != price.most:
        lines.append(
            f"At least {price.least:,} and at most {price.most:,}, as the first answers will show: whether creates take "
            f"coverage, and whether writes are answered with the whole object."
        )
    if price.share is None:
        lines.append("How many calls remain today is not known.")
    else:
        fits = "leaves" if price.above_reserve else "does not leave"
        lines.append(
            f"That is {price.share:.2%} of the {price.quote.remaining:,} that remain today, and {fits} the reserve of "
            f"{price.quote.reserve:,.0f}."
        )
    if not price.before_reset:
        lines.append(_BEYOND[wait_for_quota])
    return lines


def few(rows: int) -> str:
    """What is to be said where a job is no gain."""
    return (
        f"For {counted(rows, 'row')} a load row by row may be as good (without --via-job): a job takes minutes, and says "
        f"nothing of a single row. It pays from some {FEW} rows."
    )


_BY_JOB: Final = "The job's own time comes on top: the price reckons with 5 minutes, and with one more call for each 5 beyond."
_BEYOND: Final = {
    True: "It goes on beyond midnight UTC, when the day's calls begin anew.",
    False: "Today's calls do not suffice: the load stops at the reserve, and goes on when it is resumed after midnight UTC "
    "(with --wait-for-quota it waits and goes on by itself).",
}
