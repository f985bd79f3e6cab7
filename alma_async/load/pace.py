"""What the governor allows bulk work now, as a load tells it: what holds it back and until when, and how long calls take; and
that it is told also while nothing happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from alma_async.load.price import Quote
from alma_async.settings import Priority
from alma_async.wording import duration

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient
    from alma_async.governance.snapshot import QuotaSnapshot
    from alma_async.load.progress import Meter, Progress

__all__ = ["hold", "how_far", "quote", "telling"]

T = TypeVar("T")

_SLOW: Final = 2.0  # chosen: seconds until the next call from which on a person wonders
_SPREAD: Final = "bulk work is spread evenly over the rest of the day (pacing greedy does not)"


def hold(quota: QuotaSnapshot, wall: float) -> str | None:
    """What holds bulk work back now; None where nothing does."""
    if quota.stopped_until is not None:
        return f"the day's calls are spent; calls go again at {_when(quota.stopped_until)}"
    if quota.held_until is not None:
        return f"refused for too many calls a second; calls go again at {_when(quota.held_until)}"
    if not quota.open[Priority.BULK]:
        return f"what remains of the day's calls is the reserve; calls go again at {_when(quota.resets_at)}"
    upcoming = quota.next_at.get(Priority.BULK)
    if upcoming is not None and upcoming.timestamp() - wall > _SLOW:
        return f"{quota.why or _SPREAD}; the next call goes at {_when(upcoming)}"
    if quota.per_second < 1 / _SLOW:
        return f"the pace is down to one call in {duration(1 / quota.per_second)}"
    return None


def _when(moment: datetime) -> str:
    return f"{moment:%H:%M:%S} UTC"


def quote(quota: QuotaSnapshot, wall: float) -> Quote:
    """What the institution allows now."""
    resets, opens = quota.resets_at, quota.stopped_until or quota.held_until
    if opens is None and not quota.open[Priority.BULK]:
        opens = resets
    return Quote(
        per_second=quota.per_second,
        remaining=quota.remaining,
        reserve=quota.reserve,
        brisk=quota.brisk,
        resets_in=resets.timestamp() - wall,
        opens_in=max(opens.timestamp() - wall, 0.0) if opens is not None else 0.0,
    )


def how_far(
    alma: AlmaClient, meter: Meter, why: str | None, *, under_way: int = 0, reading: bool = False
) -> Progress:
    """How far work is that waits for ``why``, or for what the governor says. ``under_way``: rows begun beyond those counted."""
    quota, now, wall = alma.quota(), alma.clock.now(), alma.clock.wall()
    meter.waits(why or hold(quota, wall), now)
    return meter.progress(now, quote(quota, wall), under_way=under_way, reading=reading)


async def telling(work: Callable[[], Awaitable[T]], tell: Callable[[], None] | None) -> T:
    """Do the work, and tell each second how far it is, however long it waits. What either raises is raised as itself."""
    if tell is None:
        return await work()
    results, failures = list[T](), list[Exception]()

    async def whole(part: Callable[[], Awaitable[Any]]) -> None:
        try:
            await part()
        except Exception as error:  # noqa: BLE001 - raised below, and not as a group
            failures.append(error)
        group.cancel_scope.cancel()

    async def working() -> None:
        results.append(await work())

    async def ticking() -> None:
        while True:
            await anyio.sleep(_EVERY)
            tell()

    async with anyio.create_task_group() as group:
        group.start_soon(whole, ticking)
        await whole(working)
    if failures:
        raise failures[0]
    return results[0]


_EVERY: Final = 1.0
