"""The end of a load in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from alma_async.load.entries import Entry, State
from alma_async.load.journal import Journal
from alma_async.load.progress import Report
from alma_async.wording import counted, duration

__all__ = ["closing", "refusals", "rows_on_lines", "stopped_line"]

_TOLD: Final = {State.REJECTED: "rejected", State.REVIEW: "for review"}


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
    told = ", ".join(f"{count:,} {name}" for name, count in rows.items() if count)
    pace = f" ({report.calls / report.seconds:.1f} a second)" if report.seconds else ""
    left = "" if report.remaining is None else f"; {counted(report.remaining, 'call')} left today"
    found = [
        f"{rows_on_lines(report.rows, lines)}: {told or 'none'}.",
        f"{counted(report.calls, 'call')} in {duration(report.seconds)}{pace}, {report.throttled:,} throttled{left}.",
    ]
    if report.rows and report.exit_code != 3 and not report.calls:
        found.append("Nothing was left to do: the load had ended before.")
    if report.undone:
        found.append(
            "Rows that an undo took back are not loaded again; to load them, begin with a new journal."
        )
    if not report.read:
        found.append("The file was not read to its end: it may have more rows.")
    return [*found, stopped_line(report.stopped)] if report.exit_code == 3 and report.stopped else found


def stopped_line(why: str) -> str:
    """Why rows are left."""
    return f"Stopped: {why.removeprefix('stopped ')}"


def refusals(journal: Journal, *, most: int) -> Iterator[str]:
    """Rows that were rejected or need review, each with its line and why; at most so many, and how many more there are."""
    found = 0
    for entry in _told(journal):
        found += 1
        if found <= most:
            yield _sentence(entry)
    if found > most:
        yield f"... and {found - most:,} more; --report lists all."


def _told(journal: Journal) -> Iterator[Entry]:
    after = 0
    while entries := journal.entries(after=after):
        yield from (entry for entry in entries if entry.state in _TOLD)
        after = entries[-1].n


def _sentence(entry: Entry) -> str:
    why = entry.message or "no reason was given"
    facts = [
        f"{name} {value}"
        for name, value in (("code", entry.code), ("tracking id", entry.tracking_id))
        if value
    ]
    title = f' "{entry.source.title}"' if entry.source and entry.source.title else ""
    return f"line {entry.line}{title}: {_TOLD[entry.state]}: {why}" + (
        f" ({', '.join(facts)})" if facts else ""
    )
