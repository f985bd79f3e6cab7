"""Bugs to plant into the guard, to see that ``schedules`` finds each; those in what lies below it are shared with the loader's."""

from __future__ import annotations

from copy import copy
from typing import Any, Final
from unittest.mock import patch

from alma_async.guard import rules
from alma_async.guard.attempt import Attempt
from alma_async.guard.lifecycle import Event
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
            return act(await alma.read(key=key))

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


MUTANTS: Final[dict[str, Patches]] = {name: OF_LOADS[name] for name in _SHARED} | {
    "recorded after the submission": _recorded_after_the_submission,
    "a lost start is free again": _a_lost_start_is_free_again,
}
