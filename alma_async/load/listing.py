"""The portfolios of a service as a list that held still, or as much of it as was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from alma_async.alma.client import AlmaClient
from alma_async.alma.models.electronic import Portfolio

__all__ = ["listed"]

T = TypeVar("T")

_LISTINGS: Final = 3  # chosen; of a service that changes meanwhile


async def listed(
    alma: AlmaClient, place: tuple[str, str], keep: Callable[[Portfolio], T]
) -> tuple[dict[str, T], bool]:
    """The portfolios by their ids, each as what is kept of it; and whether the list held still.

    What is deleted while it is read shifts another one off the next page, so it is read again until
    it has as many as Alma says; after that, all that was seen in any reading is given.
    """
    portfolios, seen, total = alma.electronic.portfolios, dict[str, T](), None
    for _ in range(_LISTINGS):
        found, before = dict[str, T](), total
        async for page in portfolios.list(*place).pages():
            found |= {one.id: keep(one) for one in page if one.id}
        total = await portfolios.list(*place).total()
        seen |= found
        if total == len(found) and before in (None, total):
            return found, True
    return seen, False
