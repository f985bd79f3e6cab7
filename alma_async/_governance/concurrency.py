"""How many calls may be in flight at once, for each kind of call.

Decides the cap. Leaves the counting and the queueing to ``admission``: a call that finds the cap
reached waits, and none fails for it.

Little's law says how many calls are in flight by themselves: rate times latency. Half as much again
leaves room for slow ones. Beyond that a longer latency can mean two things. If more calls in flight
brought more answers a second, the server is only slower now and the cap follows. If they did not,
the server (or a gateway that delays instead of rejecting) is full, and the cap shrinks. So while
latency is longer than usual the cap is raised a step, kept if that brought more, and lowered if it
did not. Nothing about this is documented for Alma; the least and the most are chosen, the most is a
setting.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["Concurrency"]

_ROOM = 1.5
_LEAST = 4
_UNKNOWN = 1.0  # chosen: seconds of latency assumed of a kind never seen; writes to Alma take 5 to 11 s, reads a fraction
_FAST, _SLOW = 1 / 10, 1 / 600  # chosen: weights of one answer in the recent and in the usual latency
_LONGER = 1.5  # chosen: this much above the usual is "longer"
_MORE = 1.05  # chosen: this much more answers a second is "more"
_PACED = 0.9  # chosen: from this share of the rate on it is the pace that limits, not the server
_STEP = 1.25  # chosen: growth tried while latency is longer than usual
_WINDOW = 1.0  # chosen: seconds over which answers are counted, at least
_FIRST = 3  # chosen: latencies before the first review; until one has passed, what is answered took half of that on average
_ENOUGH = 10  # chosen: answers below which a window says nothing


@attrs.define(eq=False)
class _Kind:
    recent: float
    usual: float
    cap: float
    whole: int
    answers: int = 0
    busiest: int = 0
    since: float = -math.inf
    throughput: float = 0.0
    grew: bool = False
    reviewed: bool = False

    @property
    def window(self) -> float:
        """Seconds until the next review.

        The first is late: of many calls sent together the fastest are answered first.
        """
        return _WINDOW if self.reviewed else max(_WINDOW, _FIRST * self.recent)

    @property
    def enough(self) -> int:
        """Answers that say something: at first as many as were out at once, so that slow ones are
        among them.
        """
        return _ENOUGH if self.reviewed else max(_ENOUGH, self.busiest)


@attrs.define(eq=False)
class Concurrency:
    """Latency and cap by kind of call."""

    most: int
    _kinds: dict[str, _Kind] = attrs.field(factory=dict)

    def cap(self, kind: str) -> int:
        """Calls of this kind that may be in flight."""
        known = self._kinds.get(kind)
        return self.most if known is None else known.whole

    def latency(self) -> dict[str, float]:
        """Recent latency by kind, in seconds."""
        return {kind: known.recent for kind, known in list(self._kinds.items())}

    def answered(self, kind: str, *, latency: float, in_flight: int, rate: float, now: float) -> None:
        """An answer came after ``latency`` seconds while ``in_flight`` calls of its kind were out.

        Timeouts are no answers.
        """
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind(latency, latency, self.most, self.most, since=now)
        known.recent += _FAST * (latency - known.recent)
        known.usual += _SLOW * (latency - known.usual)
        known.answers += 1
        known.busiest = max(known.busiest, in_flight)
        if now - known.since >= known.window and known.answers >= known.enough:
            self._review(known, rate, now)

    def _review(self, known: _Kind, rate: float, now: float) -> None:
        throughput = known.answers / (now - known.since)
        wanted = _ROOM * rate * max(known.recent, 0.0 if known.reviewed else _UNKNOWN)
        if not known.reviewed:
            known.usual, known.reviewed = known.recent, True
        tried, known.grew = known.grew, False
        if known.busiest < known.cap / 2:
            # a cap nobody leans on must not grow: it would be none when it is needed
            known.cap = min(known.cap, wanted)
        elif known.recent <= _LONGER * known.usual or throughput >= _PACED * rate:
            known.cap = wanted
        elif tried and throughput < _MORE * known.throughput:
            known.cap *= max(0.5, known.usual / known.recent)
        else:
            known.cap, known.grew = min(known.cap * _STEP, wanted), True
        self._bound(known)
        known.answers, known.busiest, known.since, known.throughput = 0, 0, now, throughput

    def _bound(self, known: _Kind) -> None:
        known.cap = min(max(known.cap, _LEAST), self.most)
        known.whole = math.ceil(known.cap)
