"""``verify``: what a load's journal says, compared with what Alma holds now."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from alma_async.cli import journals
from alma_async.cli.attending import finish
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import counted, json_line, say, show
from alma_async.cli.loading import AS_USUAL, Input
from alma_async.cli.view import View
from alma_async.load.audit import Audit, Finding, Mark
from alma_async.load.rows import InputError

__all__ = ["verify"]

_WORDS: Final = {
    Mark.ONCE: "as they should be",
    Mark.MISSING: "missing",
    Mark.DIFFERS: "differ",
    Mark.DOUBLE: "double",
    Mark.EXTRA: "extra, not of this load",
}


def verify(
    journal: str,
    /,
    *,
    ids_only: Annotated[
        bool, Parameter(negative="", help="do not compare fields, which costs a call for each row")
    ] = False,
    json: Annotated[
        bool, Parameter(negative="", help="each finding as one JSON object, then the summary")
    ] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Compare a load's journal with what Alma holds now: = once, + missing, * differs, 2 double, - extra.

    Ends with 0 only where each row that is done is there once as the file says, none is open or for review, and nothing came
    besides.

    :param journal: a path, or a name as listed by resume
    """
    path = journals.find(journal)
    given = Input.of(path)
    if not ids_only and not Path(given.file).is_file():
        say(f"{given.file} is not there any more: only ids are compared.")
        ids_only = True
    return finish(partial(_verify, connection, given, path, ids_only=ids_only, json=json))


async def _verify(connection: Connection, given: Input, path: Path, *, ids_only: bool, json: bool) -> int:
    async with connection.client() as alma:
        rows = None if ids_only else given.rows()
        load = given.load(alma, path, AS_USUAL)
        with View(f"verify {Path(given.file).name}", held=lambda: alma.quota().why) as view:
            try:
                audit = await load.verify(rows, on_progress=view)
            except InputError as error:
                error.add_note("Without the file: --ids-only.")
                raise
    if json:
        for finding in audit.findings:
            json_line(finding.summary())
        json_line(audit.summary())
    else:
        for line in _lines(audit):
            show(line)
    if audit.open:
        say(
            f"The load is not complete, and what is extra may be its own. Go on with: {journals.resuming(path)}"
        )
    return audit.exit_code


def _lines(audit: Audit) -> list[str]:
    marks = [f"{audit.count(mark):,} {words} ({mark.value})" for mark, words in _WORDS.items()]
    rest = {"open": audit.open, "for review": audit.review, "refused": audit.refused}
    told = "".join(f"; {count:,} {name}" for name, count in rest.items() if count)
    what = "ids and fields" if audit.fields else "ids alone"
    return [
        *map(_sentence, audit.findings),
        f"{counted(audit.rows, 'row')}: {', '.join(marks)}{told}.",
        f"Compared {what} in {counted(audit.calls, 'call')}.",
    ]


def _sentence(finding: Finding) -> str:
    where = f"line {finding.line}" if finding.line is not None else "no line"
    which = finding.portfolio_id or finding.mms_id or "-"
    return f"{finding.mark.value} {where}: {which}: {finding.message}"
