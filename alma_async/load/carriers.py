"""Reads which ISSN and ISBN the portfolios of a service carry, into the journal; ``match`` decides with them.

A list of portfolios lacks both (recorded), so each portfolio is read once: a call each, which only rows that have no other name are
worth. Whom the journal knows already is not read again. The ids of the service are in memory meanwhile, some 70 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio

from alma_async.errors import NotFound
from alma_async.load.fields import identifiers_of, url_of
from alma_async.load.match import Carrier
from alma_async.load.order import Order
from alma_async.load.patience import Patience
from alma_async.load.writer import Writer
from alma_async.wording import counted

__all__ = ["read_carriers"]


async def read_carriers(
    order: Order, writer: Writer, *, patience: Patience, tell: Callable[[str | None], None]
) -> None:
    """Read all that the journal does not know yet. May be cut short anywhere and gone on with.

    :raises AlmaError, OwnFailure: what ``patience`` gives up at; without one portfolio, two could look like one.
    """
    unread = await writer.do(writer.journal.unread)

    async def work() -> None:
        while unread:
            tell(f"ISSN and ISBN of {counted(len(unread), 'portfolio')} are yet to be read")
            carrier, identifiers = await patience.persist(partial(_read, order, unread.pop()))
            await writer.do(partial(writer.journal.add_carrier, carrier, identifiers))

    try:
        async with anyio.create_task_group() as group:
            for _ in range(min(order.workers, len(unread))):
                group.start_soon(work)
    except ExceptionGroup as failed:  # as itself and not as a group
        raise failed.exceptions[0] from None
    finally:
        tell(None)


async def _read(order: Order, portfolio_id: str) -> tuple[Carrier, tuple[str, ...]]:
    try:
        found = await order.alma.electronic.portfolios.get(*order.place, portfolio_id)
    except NotFound:  # deleted since it was listed
        return Carrier(portfolio_id, mms_id="", url=""), ()
    mms_id = found.resource_metadata.mms_id.value or ""
    return Carrier(portfolio_id, mms_id, url_of(found)), identifiers_of(found) if mms_id else ()
