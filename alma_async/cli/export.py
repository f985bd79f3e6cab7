"""``export``: a service as a list that ``load`` takes back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
from cyclopts import Parameter

from alma_async._text import counted, duration
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.load_options import Waiting
from alma_async.cli.signals import Attended, attend
from alma_async.cli.view import View
from alma_async.load.export import Export, Exported, ExportPrice, Loss
from alma_async.load.readers import Blanks
from alma_async.load.writers import ExportFormat

__all__ = ["export"]

_WAITING: Final = Waiting()
Lines = Annotated[bool, Parameter(negative="", help="one JSON object a line, the last of them the summary")]


def export(
    *,
    collection: str,
    service: str,
    output: Path,
    format: ExportFormat = "csv",  # noqa: A002 - the option's name
    blanks: Blanks = "keep",
    portfolio_ids: Annotated[bool, Parameter(negative="--no-portfolio-ids")] = True,
    waiting: Waiting = _WAITING,
    json: Lines = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Write the portfolios of a service as a list that load takes back without a difference.

    Costs a call for each portfolio. What the format cannot say is listed before the list is written; such
    cells are blank, and load leaves the fields alone. Ends with 1 where portfolios are left out.

    :param collection: id of the electronic collection
    :param service: id of its service
    :param output: the file to write, over what is there; whole, or not at all
    :param format: csv (native, says most), kbart, or alma-loader (a workbook of Alma's portfolio loader)
    :param blanks: clear writes <clear> where a portfolio has nothing, so that load empties what was added
        since; csv only
    :param portfolio_ids: name portfolios by their ids; without, load creates what is not there any more
    """

    async def work() -> Attended[Exported]:
        async with connection.client() as alma:
            task = Export(
                alma,
                collection_id=collection,
                service_id=service,
                path=output,
                format=format,
                blanks=blanks,
                portfolio_ids=portfolio_ids,
                options=waiting.options(),
            )
            with View(f"export of {collection} / {service}", fresh=task.progress) as view:
                run = partial(
                    task.run, on_price=_say_price, on_losses=partial(_say_losses, json=json), on_progress=view
                )
                return await attend(run, tick=view.tick)

    ended = anyio.run(work)
    if ended.result is None:
        say(f"Interrupted: {str(output)!r} was not written.")
        return ended.interrupted
    _report(ended.result, json=json)
    return ended.result.exit_code


def _say_price(price: ExportPrice) -> None:
    quote = price.quote
    left = "" if quote.remaining is None else f"; {counted(quote.remaining, 'call')} remain today"
    say(
        f"Price: {counted(price.calls, 'call')}, one for each portfolio, {duration(price.seconds)} at "
        f"{quote.per_second:.1f} a second{left}."
    )


def _say_losses(losses: Sequence[Loss], *, json: bool) -> None:
    for loss in losses:
        if json:
            json_line(loss.summary())
        elif loss.field == "portfolio":
            say(f"left out, since nothing in this format says which is meant: {_portfolios(loss)}")
        else:
            say(f"not in the list: {loss.field} of {_portfolios(loss)}")


def _portfolios(loss: Loss) -> str:
    more = ", ..." if loss.portfolios > len(loss.examples) else ""
    return f"{counted(loss.portfolios, 'portfolio')} ({', '.join(loss.examples)}{more})"


def _report(found: Exported, *, json: bool) -> None:
    if not found.steady:
        say("The service changed while it was listed: portfolios may be missing. Export it again.")
    if json:
        json_line(found.summary())
        return
    gone = f", {found.gone:,} deleted meanwhile" if found.gone else ""
    left = f", {found.left_out:,} left out" if found.left_out else ""
    show(f"{counted(found.portfolios, 'portfolio')} in {str(found.path)!r} ({found.format}){left}{gone}.")
    show(f"{counted(found.calls, 'call')} in {duration(found.seconds)}.")
