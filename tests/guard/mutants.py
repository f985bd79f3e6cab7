"""Bugs to plant into the guard, to see that ``schedules`` finds each; those in what lies below it are shared with the loader's."""

from __future__ import annotations

from copy import copy
from typing import Any, Final
from unittest.mock import patch

from attrs import evolve

from alma_async._guard import rules
from alma_async._guard.monitor import Monitor
from alma_async._guard.server_clock import ServerClock, ServerTime
from alma_async._guard.state import Book, RunEvent
from alma_async._guard.submission import Submission
from alma_async._http.outcome import OutcomeClass
from alma_async.alma import problems
from tests.load.mutants import MUTANTS as OF_LOADS
from tests.load.mutants import Patches

__all__ = ["MUTANTS"]

_SHARED: Final = (
    "no route is a refusal",
    "a strange code of a fault is a refusal",
    "a fault with a code is a refusal",
    "a strange refusal is unknown",
    "a lost answer is not sent",
    "an odd field fails its object",
    "a list without its items is empty",
)


def _recorded_after_the_submission() -> list[Any]:
    """What was decided is not written before the send, only what was answered."""

    async def intend(self: Submission, deadline: float) -> None:
        monitor = self._monitor
        self._monitor = deciding = copy(monitor)

        async def unwritten(act: Any, *, key: str | None = None, at_once: bool = False) -> Any:
            return await monitor.update(lambda book, now: act(book.copy(), now), key=key, at_once=at_once)

        deciding.update = unwritten  # type: ignore[method-assign]
        try:
            await real(self, deadline)
        finally:
            self._monitor = monitor

    real = Submission.intend
    return [patch.object(Submission, "intend", intend)]


def _a_lost_start_is_free_again() -> list[Any]:
    """A submission whose answer was lost is taken back."""

    def settle(book: Any, run: Any, failed: Any, **more: Any) -> None:
        if failed.outcome is OutcomeClass.UNKNOWN:
            book.move(run, RunEvent.RETURN)
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

    async def mark(self: Monitor, instance_id: str, event: RunEvent) -> None:
        if event is not RunEvent.VANISH:
            await real(self, instance_id, event)

    real = Monitor.mark
    return [patch.object(Monitor, "mark", mark)]


def _a_fault_is_over_as_soon_as_a_refusal() -> list[Any]:
    """What was answered is looked for no longer, though it was a gateway that gave up waiting."""

    def settle(book: Any, run: Any, failed: Any, **more: Any) -> None:
        real(book, run, evolve(failed, status=400) if (failed.status or 0) >= 500 else failed, **more)

    real = rules.settle
    return [patch.object(rules, "settle", settle)]


def _one_of_the_two_thresholds_is_not_known() -> list[Any]:
    """The code that no test had happened to meet."""
    known = {code: verdict for code, verdict in problems._CODES.items() if code != "402223"}
    return [patch.object(problems, "_CODES", known)]


def _a_list_is_read_by_almas_clock_alone() -> list[Any]:
    """As its last Dates told."""

    def offsets(self: ServerClock, client: float, wall: float) -> tuple[float, ...]:
        return (self.offset,)

    return [patch.object(ServerClock, "offsets", offsets)]


def _what_a_list_lacks_was_never_started() -> list[Any]:
    """Though lists lag behind, and what is under way is in none."""

    def merge(self: Book, *args: Any, asked: ServerTime, **more: Any) -> None:
        real(self, *args, asked=asked.later(3600.0), **more)

    real = Book.merge
    return [patch.object(Book, "merge", merge)]


MUTANTS: Final[dict[str, Patches]] = {name: OF_LOADS[name] for name in _SHARED} | {
    "recorded after the submission": _recorded_after_the_submission,
    "a lost start is free again": _a_lost_start_is_free_again,
    "every date is believed": _every_date_is_believed,
    "a forgotten run goes on": _a_forgotten_run_goes_on,
    "a fault is over as soon as a refusal": _a_fault_is_over_as_soon_as_a_refusal,
    "one of the two thresholds is not known": _one_of_the_two_thresholds_is_not_known,
    "a list is read by Alma's clock alone": _a_list_is_read_by_almas_clock_alone,
    "what a list lacks was never started": _what_a_list_lacks_was_never_started,
}
