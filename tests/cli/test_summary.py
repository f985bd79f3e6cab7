"""The end of a load in words."""

from __future__ import annotations

from pathlib import Path

import anyio

from alma_async._clock import Clock
from alma_async.cli.view import closing, not_loaded, stopped_line
from alma_async.load.entries import Entry, State
from alma_async.load.group_commit import GroupedJournal as SqliteJournal
from alma_async.load.journal import Ingested
from alma_async.load.journal_file import JournalFile
from alma_async.load.progress import Report

NOTHING = Report(
    rows=0, created=0, updated=0, unchanged=0, deleted=0, rejected=0, duplicates=0, review=0, pending=0,
    calls=0, throttled=0, seconds=0.0, remaining=None,
)  # fmt: skip


def test_nothing_to_do() -> None:
    """An empty load is told without a division by zero."""
    assert closing(NOTHING) == ["0 rows: none.", "0 calls in 0 seconds, 0 throttled."]


async def all_of(journal: SqliteJournal) -> list[str]:
    """What is said of three rows, and how many more there are."""
    return [line async for line in not_loaded(journal, most=3)]


def test_refusals_are_bounded_and_say_all_they_know(tmp_path: Path) -> None:
    """Refused and doubtful rows are told with line, reason, code and tracking id; of many only how many more there are."""
    with JournalFile(tmp_path / "x.load") as journal:
        journal.ingest(
            map(
                Ingested,
                [
                    Entry(n=1, line=2, state=State.DONE, action="created"),
                    Entry(n=2, line=3, state=State.REJECTED, message="url is none"),
                    Entry(n=3, line=4, state=State.REVIEW, message="Unclear.", code="401", tracking_id="E01"),
                    Entry(n=4, line=5, state=State.REJECTED, message="no date; no url; line 6: no"),
                    *(Entry(n=n, line=n + 1, state=State.REJECTED, message="no") for n in range(5, 1500)),
                ],
            )
        )
        told = anyio.run(all_of, SqliteJournal(journal, Clock().aside))
    assert told == [
        "line 3: rejected: url is none",
        "line 4: for review: Unclear. (code 401, tracking id E01)",
        "line 5: rejected: no date; no url; line 6: no",
        "... and 1,495 more; --report lists all.",
    ]


def test_why_it_stopped_is_said_once() -> None:
    """The word is not doubled where the load's own reason begins with it."""
    assert stopped_line("stopped on request") == "Stopped: on request"
    assert stopped_line("The calls are spent.") == "Stopped: The calls are spent."
