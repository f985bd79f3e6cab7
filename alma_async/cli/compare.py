"""``compare``: how a list and a service differ. Sends nothing that changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number

from alma_async._text import counted, masked
from alma_async.cli import journals
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.load_options import AS_IT_IS, ListOptions, Waiting
from alma_async.cli.signals import Attended, attend
from alma_async.cli.view import View
from alma_async.errors import QuotaExhausted
from alma_async.load.compare import Compared, Comparison
from alma_async.load.loader import Load
from alma_async.load.options import LoadOptions
from alma_async.load.outage import PASSING
from alma_async.load.readers import RowSource
from alma_async.load.verify import Mark

__all__ = ["compare"]

_WAITING: Final = Waiting()


def compare(
    file: Path,
    /,
    *,
    collection: str,
    service: str,
    reading: ListOptions = AS_IT_IS,
    waiting: Waiting = _WAITING,
    warnings: Annotated[
        int, Parameter(validator=Number(gte=0), help="how many warnings about the file are printed")
    ] = 50,
    json: Annotated[
        bool, Parameter(negative="", help="each row as one JSON object, then the summary")
    ] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Compare a list with a service: = alike, + not in the service, * differs, - not in the list, ? undecided.

    Changes nothing. Ends with 0 where nothing differs, with 1 where anything does, with 3 where not all could
    be compared. Rows that are alike are counted; --json prints them too.

    :param file: what load takes
    :param collection: id of the electronic collection
    :param service: id of its service
    """
    rows = reading.rows(file)
    say(rows.reason)
    ended = anyio.run(
        partial(_compare, rows, (collection, service), waiting.options(), connection, json=json)
    )
    for warning in rows.warnings[:warnings]:
        say(f"warning: {warning}")
    if len(rows.warnings) > warnings:
        say(f"... and {counted(len(rows.warnings) - warnings, 'more warning')}")
    if (found := ended.result) is None:
        return ended.interrupted
    if found.stopped is not None and not isinstance(found.stopped, (QuotaExhausted, *PASSING)):
        raise found.stopped
    return ended.interrupted if ended.signal is not None and not found.is_whole else found.exit_code


async def _compare(
    rows: RowSource,
    place: tuple[str, str],
    options: LoadOptions,
    connection: Connection,
    *,
    json: bool,
) -> Attended[Comparison]:
    async with connection.client() as alma:
        load = Load(
            alma,
            collection_id=place[0],
            service_id=place[1],
            journal=journals.directory() / "compare.load",  # of a load that is never run
            options=options,
        )
        with View("compare", fresh=load.progress) as view:
            work = partial(load.compare, rows, on_progress=view)
            ended = await attend(work, stop=load.stop, tick=view.tick)
    if ended.result is not None:
        with ended.result as found:
            await _show(found, json=json)
    return ended


async def _show(found: Comparison, *, json: bool) -> None:
    async for one in found:
        if json:
            json_line(one.summary())
        elif one.mark is not Mark.ONCE:
            show(_sentence(one))
    if json:
        json_line(found.summary())
    else:
        for line in _closing(found):
            show(line)


def _sentence(one: Compared) -> str:
    where = f"line {one.line}" if one.line is not None else "no line"
    which = one.portfolio_id or one.mms_id or "-"
    title = f' "{one.title}"' if one.title else ""
    if one.mark is Mark.DIFFERS:
        fields = (f"{name} is {one.in_alma[name]!r}, not {one.in_list[name]!r}" for name in one.in_alma)
        why = f"{'; '.join(fields)}."
    elif one.mark is Mark.MISSING:
        why = " ".join(filter(None, ("It is not in the service.", one.message)))
    elif one.mark is Mark.EXTRA:
        why = "It is not in the list."
    else:
        why = one.message or "It was not compared."
    return f"{one.mark.value} {where}: {which}{masked(title)}: {masked(why)}"


def _closing(found: Comparison) -> Iterator[str]:
    report = found.report
    words = {
        Mark.ONCE: "alike",
        Mark.MISSING: "not in the service",
        Mark.DIFFERS: "differ",
        Mark.EXTRA: "not in the list",
        Mark.UNREAD: "undecided",
    }
    marks = ", ".join(f"{found.count(mark):,} {word}" for mark, word in words.items())
    more = f"; {report.duplicates:,} duplicate" if report.duplicates else ""
    yield f"{counted(report.rows, 'row')}: {marks}{more}. Nothing was changed."
    yield f"Compared in {counted(report.calls, 'call')}."
    if report.stopped:
        yield f"Stopped: {report.stopped.removeprefix('stopped ')}"
    elif not found.steady:
        yield "The service changed while it was listed: compare again."
