"""The permit: one call's way from waiting to settled, as its holder sees it.

Decides nothing; every step is the governor's. It exists once for each attempt, since every send has to be
paid for.
"""

from __future__ import annotations

from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, NoReturn, Protocol, Self

import anyio

from alma_async._governance.queue import Line
from alma_async._governance.rate import Slot
from alma_async._http.messages import Signals
from alma_async.errors import AlmaError
from alma_async.settings import Priority

__all__ = ["CONNECTING", "ENDED", "GRANTED", "READY", "WAITING", "Permit", "PermitState"]


class PermitState(IntEnum):
    """Where a permit stands."""

    WAITING = 0  # for a permit
    CONNECTING = 1  # connecting
    READY = 2  # connected, waiting for a slot
    GRANTED = 3  # has its slot
    ENDED = 4


# Python 3.11 searches an enum for a member each time it is named, and these are named ten times a call.
WAITING, CONNECTING, READY, GRANTED, ENDED = PermitState


class _Issuer(Protocol):
    def slot_for(self, permit: Permit) -> Coroutine[Any, Any, None]: ...

    def sent(self, slot: Slot) -> None: ...

    def settle(
        self, permit: Permit, state: PermitState, signals: Signals | None, latency: float | None
    ) -> None: ...


class Permit:
    """The right to send once.

    Held over the whole attempt; settled once, at the latest on leaving ``with permit:``.
    """

    __slots__ = (
        "_event",
        "_issuer",
        "_news",
        "asked_at",
        "cost",
        "deadline",
        "error",
        "given",
        "kind",
        "line",
        "number",
        "since",
        "state",
        "wait_for_quota",
        "waits",
        "was_sent",
    )

    def __init__(  # noqa: PLR0917 - made in one place, a thousand times a second
        self,
        issuer: _Issuer,
        line: Line[Permit],
        number: int,
        asked_at: float,
        kind: str,
        cost: float,
        deadline: float | None,
        wait_for_quota: bool,
        waits: dict[str, float],
    ) -> None:
        self._issuer = issuer
        self._event: anyio.Event | None = None
        self._news = False
        self.line: Line[Permit] = line
        self.number: int = number
        self.asked_at: float = asked_at
        self.kind: str = kind
        self.cost: float = cost
        self.deadline: float | None = deadline
        self.wait_for_quota: bool = wait_for_quota
        self.state: PermitState = WAITING
        self.given: Slot | None = None
        self.was_sent: bool = False
        self.waits: dict[str, float] = waits
        self.since: float = asked_at
        self.error: AlmaError | None = None

    def __repr__(self) -> str:
        return f"<Permit {self.line.priority.value} {self.state.name.lower()}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle(None)

    @property
    def priority(self) -> Priority:
        """The line it waits or waited in."""
        return self.line.priority

    def slot(self) -> Coroutine[Any, Any, None]:
        """Take the next slot and wait for it.

        To be called once, when the connection stands, right before writing.

        :raises QuotaExhausted: if everything (or this priority) was stopped meanwhile. Who would rather wait
            acquires anew.
        """
        return self._issuer.slot_for(self)

    def sent(self) -> None:
        """The bytes went out just now: the slot is stamped with the true moment."""
        if self.given is not None and self.state is GRANTED and not self.was_sent:
            self.was_sent = True
            self._issuer.sent(self.given)

    def settle(self, signals: Signals | None, *, latency: float | None = None) -> None:
        """Record what came of the attempt; only the first call counts. ``None``: no answer; if nothing was sent, the
        slot is refunded.

        :param latency: seconds until the answer; None where it says nothing about the server.
        """
        state = self.state
        if state is not ENDED:
            self.state = ENDED
            self._issuer.settle(self, state, signals, latency)

    def waited(self, why: str, now: float) -> None:
        """Add the seconds since the last entry to the waits, under this reason."""
        self.waits[why] = self.waits.get(why, 0.0) + now - self.since
        self.since = now

    async def change(self) -> None:
        """Wait until the governor has news for this permit; what it said while nobody waited is news too."""
        if not self._news:
            self._event = anyio.Event()
            try:
                await self._event.wait()
            finally:
                self._event = None
        self._news = False

    def refuse(self) -> NoReturn:
        """Raise why it may not go; neither the permit nor a frame holds it then, which would be a cycle."""
        error, self.error = self.error, None
        assert error is not None, "it may go"  # noqa: S101 - asked before
        try:
            raise error
        finally:
            del error

    def notify(self) -> None:
        """Wake its holder, who checks its state anew. Never meets a finished future."""
        self._news = True
        if self._event is not None:
            self._event.set()
