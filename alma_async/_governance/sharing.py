"""How machines share one rate: how many slots are asked for at once, what the store's clock says, and
when calls go while the store is away.

Decides all of it, given what was said and seen. Leaves the asking and the waiting to
``postgres_budget``.

* **Lease.** A busy client asks for a few slots at once, so that a round trip pays for several calls.
* **Clock.** Slots are moments on the store's clock. What an answer says of that clock is late when it
  is read, and never early; so the answer that was the least late says most.
* **Division.** Time is cut into numbered slots on the store's clock; with *m* machines, the machine of
  rank *r* takes each slot whose number is *r* modulo *m*. All know the clock, so nobody has to be
  asked. A share of the rate alone, at any moments, passes the limit by a fifth (measured: 31 of 25).
* **Absence.** It begins when the store has not answered in time. The slots that it gave before
  are used first: as far as it had given them ahead, nothing else goes. It ends a while after the
  store has answered, at a moment that the store names, so that all machines come back together.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from alma_async._governance.rate import Terms

__all__ = ["LEASE", "Absence", "Division", "StoreClock", "lease"]

LEASE: Final = 5
"""Chosen: slots that are asked for at once, at most. Measured: 0.20 round trips a call."""

# Chosen: seconds of slots that are asked for at once, at most: an interactive call waits for those
# of all others.
_AHEAD: Final = 0.25

# Chosen: seconds for which an answer says something of the store's clock. Clocks drift apart by some
# 50 microseconds a second.
_CLOCK_LASTS: Final = 15.0
# Chosen: seconds by which a clock may seem to go wrong by chance.
_SLIP: Final = 0.002

# Chosen: what a slot of the division is wider than 1 / limit. The limit is the same on all machines,
# and what each has learned is not.
_WIDER: Final = 1.01

# Chosen: seconds without an answer after which it is not known any more how many machines there are.
_KNOWN_FOR: Final = 60.0

# Chosen: seconds of an absence, at least; twice as many each time that it follows soon on another.
_SHORTEST: Final = 2.0
_LONGEST: Final = 32.0
_SOON: Final = 30.0


def lease(waiting: int, interval: float) -> int:
    """How many slots to ask for, where so many more are wanted behind the first."""
    return max(1, min(waiting + 1, LEASE, int(_AHEAD / interval)))


@attrs.define(eq=False)
class StoreClock:
    """How far our monotonic clock is ahead of the store's, by the answer that was the least late."""

    _least: float = math.inf
    _recent: float = math.inf
    _since: float = -math.inf

    def see(self, said: float, *, sent: float, received: float) -> None:
        """One answer: what the store's clock said, and ours before and after it."""
        ahead = received - said
        if self.ahead < sent - said - _SLIP:  # set back, or another server's: what is known is wrong
            self._least = self._recent = ahead
            self._since = received
        if received - self._since > _CLOCK_LASTS:
            self._least = self._recent if received - self._since <= 2 * _CLOCK_LASTS else math.inf
            self._recent, self._since = ahead, received
        self._recent = min(self._recent, ahead)

    @property
    def ahead(self) -> float:
        """Seconds; infinity where nothing is known."""
        return min(self._least, self._recent)

    @property
    def is_known(self) -> bool:
        """Whether there was an answer ever."""
        return self.ahead < math.inf

    def here(self, there: float) -> float:
        """A moment of the store's clock, on ours."""
        return there + self.ahead

    def there(self, here: float) -> float:
        """A moment of our clock, on the store's."""
        return here - self.ahead


@attrs.frozen
class Division:
    """One machine's part of the rate: each ``machines``-th slot. ``rank`` is None where the store has
    not said it lately.
    """

    machines: int
    rank: int | None

    def known(self, *, ago: float, otherwise: int) -> Division:
        """What of it is still known, where the store said it so long ago; else it is ``otherwise``
        machines, or more.
        """
        if self.rank is None:
            return Division(otherwise, None)
        return self if ago <= _KNOWN_FOR else Division(max(self.machines, otherwise), None)

    def share(self, terms: Terms) -> Terms:
        """The pace of this machine."""
        return attrs.evolve(terms, interval=terms.interval * self.machines)

    def align(self, at: float, terms: Terms, clock: StoreClock) -> float:
        """The first slot of this machine that is not before ``at``; both on our clock."""
        if self.rank is None or not clock.is_known:
            return at
        width = _WIDER / terms.depth
        cycle, first = width * self.machines, width * self.rank
        number = math.ceil((clock.there(at) - first) / cycle - 1e-6)
        return max(at, clock.here(number * cycle + first))


@attrs.define(eq=False)
class Absence:
    """Whether the store is away, since when, and when it is relied upon again. All times are ours.

    ``quiet_until``: before it nothing goes but what the store had given.
    """

    since: float | None = None
    quiet_until: float = -math.inf
    _back_at: float = math.inf
    _ended: float = -math.inf
    _shortest: float = _SHORTEST

    def begin(self, now: float, *, asked_at: float, depth: float) -> bool:
        """The store did not answer what was asked at ``asked_at``; False where that is known.

        :param depth: seconds of slots that it had given ahead, to all, when it last answered
        """
        if self.since is not None:
            self._back_at = math.inf
            return False
        again = now - self._ended < _SOON
        self._shortest = min(2 * self._shortest, _LONGEST) if again else _SHORTEST
        self.since, self._back_at = now, math.inf
        self.quiet_until = asked_at + depth
        return True

    def answered(self, again: float) -> None:
        """The store answers, and all are to come back at ``again``."""
        if self.since is not None:
            self._back_at = max(again, self.since + self._shortest)

    @property
    def back_at(self) -> float:
        """When it is relied upon again; infinity while it does not answer."""
        return self._back_at

    def is_over(self, now: float) -> bool:
        """Whether it ends now."""
        return self.since is not None and now >= self._back_at

    def end(self, now: float) -> float:
        """It is over; the seconds that it took."""
        took = now - self.since if self.since is not None else 0.0
        self.since, self._ended = None, now
        return took
