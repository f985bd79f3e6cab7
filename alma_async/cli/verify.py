"""``verify``: compares the journal of a load with what Alma holds now."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from alma_async._text import counted
from alma_async.cli import journals
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.load_options import Input, Waiting
from alma_async.cli.signals import Attended, attend
from alma_async.cli.view import View, stopped_line
from alma_async.errors import QuotaExhausted
from alma_async.load.options import LoadOptions
from alma_async.load.outage import PASSING
from alma_async.load.verify import Audit, Finding, Mark

__all__ = ["verify"]

_WAITING: Final = Waiting()
_MOST: Final = 20  # portfolios without a row: in a shared service there may be thousands
_NOT_SEEN: Final = "Portfolios that were created since the load began are unknown: it stopped before it had listed the service."
_WORDS: Final = {
    Mark.ONCE: "as they should be",
    Mark.MISSING: "missing",
    Mark.DIFFERS: "differ",
    Mark.DOUBLE: "double",
    Mark.EXTRA: "extra (not of this load)",
}


def verify(
    journal: str,
    /,
    *,
    ids_only: Annotated[
        bool, Parameter(help="do not compare fields, which costs a call for each row")
    ] = False,
    waiting: Waiting = _WAITING,
    json: Annotated[bool, Parameter(help="each finding as one JSON object, then the summary")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Compare a load's journal with what Alma holds now: = once, + missing, * differs, 2 double, - extra, ? could not be read.

    Ends with 0 only where each row that is done exists once as the file says, none is pending or for review, and nothing is
    extra; with 3 where not all rows were compared.

    :param journal: the load's journal: a path, a name as listed by resume, or store:NAME
    """
    journals.reach(connection.store())
    path = journals.find(journal)
    given = Input.of(path)
    work = partial(_verify, connection, given, path, waiting.options(), ids_only=ids_only)
    ended = anyio.run(work)
    if ended.result is None:
        return ended.interrupted
    _report(ended.result, path, json=json)
    return _code(ended.result, ended)


async def _verify(
    connection: Connection, given: Input, path: Path, options: LoadOptions, *, ids_only: bool
) -> Attended[Audit]:
    async with connection.client() as alma:
        load = given.load(alma, path, options)
        with View(f"verify {Path(given.file).name}", fresh=load.progress) as view:
            work = partial(load.verify, ids_only=ids_only, on_progress=view)
            return await attend(work, stop=load.stop, tick=view.tick)


def _report(audit: Audit, path: Path, *, json: bool) -> None:
    if json:
        for finding in audit.findings:
            json_line(finding.summary())
        json_line(audit.summary())
    else:
        for line in _lines(audit):
            show(line)
    if audit.pending:
        say(
            f"The load is not complete, and what is extra may be its own. Go on with: {journals.resuming(path)}"
        )
    if audit.not_compared:
        say("Not all was compared. Run verify again: it starts over, since Alma may have changed meanwhile.")


def _code(audit: Audit, ended: Attended[Audit]) -> int:
    """The exit code; an error that does not pass by itself is raised."""
    if audit.stopped is not None and not isinstance(audit.stopped, (QuotaExhausted, *PASSING)):
        raise audit.stopped
    return ended.interrupted if ended.signal is not None and not audit.is_whole else audit.exit_code


def _lines(audit: Audit) -> list[str]:
    words = _WORDS if audit.seen else {mark: word for mark, word in _WORDS.items() if mark is not Mark.EXTRA}
    marks = [f"{audit.count(mark):,} {word}" for mark, word in words.items()]
    rest = {
        "with more than the list says": audit.count(Mark.STAYS),
        "pending": audit.pending,
        "for review": audit.review,
        "rejected": audit.report.rejected,
        "undone": audit.report.undone,
        "duplicate": audit.report.duplicates,
        "not compared": audit.not_compared,
    }
    others = "".join(f"; {count:,} {name}" for name, count in rest.items() if count)
    what = "ids and fields" if audit.fields else "ids alone"
    extras = [found for found in audit.findings if found.mark is Mark.EXTRA]
    found = [
        *(_sentence(found) for found in audit.findings if found.mark is not Mark.EXTRA),
        *map(_sentence, extras[:_MOST]),
        *(
            [f"... and {len(extras) - _MOST:,} more that are extra; --json lists all."]
            if len(extras) > _MOST
            else []
        ),
        f"{counted(audit.rows, 'row')}: {', '.join(marks)}{others}.",
        f"Compared {what} in {counted(audit.calls, 'call')}.",
        *([] if audit.seen else [_NOT_SEEN]),
    ]
    return [*found, stopped_line(audit.report.stopped)] if audit.report.stopped else found


def _sentence(finding: Finding) -> str:
    where = f"line {finding.line}" if finding.line is not None else "no line"
    which = finding.portfolio_id or finding.mms_id or "-"
    return f"{finding.mark.value} {where}: {which}: {finding.message}"
