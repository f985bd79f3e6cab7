"""Bugs to plant into the guard, to see that ``schedules`` finds each; those in what lies below it are shared with the loader's."""

from __future__ import annotations

from copy import copy
from typing import Any, Final
from unittest.mock import patch

from attrs import evolve

from alma_async.guard import rules
from alma_async.guard.attempt import Attempt
from alma_async.guard.lifecycle import Event
from alma_async.guard.lookout import Lookout
from alma_async.guard.port import ServerTime
from alma_async.guard.server_clock import ServerClock
from alma_async.wire.outcome import OutcomeClass
from tests.load.mutants import MUTANTS as OF_LOADS
from tests.load.mutants import Patches

__all__ = ["MUTANTS"]

_SHARED: Final = (
    "no route is a refusal",
    "a strange code of a fault is a refusal",
    "a strange refusal is unknown",
    "a lost answer is not sent",
    "an odd field fails its object",
    "a list without its items is empty",
)


def _recorded_after_the_submission() -> list[Any]:
    """What was decided is not written before the send, only what was answered."""

    async def intend(self: Attempt, deadline: float) -> None:
        alma = self._alma
        self._alma = deciding = copy(alma)

        async def unwritten(act: Any, *, key: str | None = None) -> Any:
            return await alma.update(lambda book, now: act(book.copy(), now), key=key)

        deciding.update = unwritten  # type: ignore[method-assign]
        try:
            await real(self, deadline)
        finally:
            self._alma = alma

    real = Attempt.intend
    return [patch.object(Attempt, "intend", intend)]


def _a_lost_start_is_free_again() -> list[Any]:
    """A submission whose answer was lost is taken back."""

    def settle(book: Any, run: Any, failed: Any, **more: Any) -> None:
        if failed.outcome is OutcomeClass.UNKNOWN:
            book.move(run, Event.RETURN)
        else:
            real(book, run, failed, **more)

    real = rules.settle
    return [patch.object(rules, "settle", settle)]


def _every_date_is_believed() -> list[Any]:
    """The clock is set by each answer, whatever it was before."""

    def read(self: ServerClock, date: ServerTime, *, client: float, wall: float) -> ServerClock:
        return evolve(self, client=client, wall=wall, at=date.at, error=date.error, offset=0.0)

    return [patch.object(ServerClock, "read", read)]


def _a_forgotten_run_goes_on() -> list[Any]:
    """What Alma does not know any more holds its slot until somebody sees it end."""

    async def mark(self: Lookout, instance_id: str, event: Event) -> None:
        if event is not Event.VANISH:
            await real(self, instance_id, event)

    real = Lookout.mark
    return [patch.object(Lookout, "mark", mark)]


MUTANTS: Final[dict[str, Patches]] = {name: OF_LOADS[name] for name in _SHARED} | {
    "recorded after the submission": _recorded_after_the_submission,
    "a lost start is free again": _a_lost_start_is_free_again,
    "every date is believed": _every_date_is_believed,
    "a forgotten run goes on": _a_forgotten_run_goes_on,
}
