"""How many calls the day still holds, what others will need of them, and who may have the rest.

Pure.

Decides what an answer's remaining-calls header means, how much is reserved, which priority must
stop, and when bulk work should go slower. Leaves to ``budget`` where the figures are kept, and to
``governor`` the waiting.

What is known of Alma: its remaining-calls header counts down for the whole institution
(documented), is missing from some answers, and starts anew at midnight UTC (documented as midnight,
GMT in practice). ``DAILY_THRESHOLD`` is the code of a call beyond them (documented; the status
varies).

One number carries everything: the **anchor**, which is *remaining + our own calls counted when that
call was sent*. Our own calls do not move it; it falls by what others use. Hence

* what is left now = anchor - our own calls counted now: calls in flight, and answers without the
  header, are already subtracted;
* of answers that crossed on the way, the lowest anchor is the truth (they arrive in any order);
* an answer to a call sent *after* that truth arrived cannot be old. If it is higher, the server's
  count went up: a reset.

The main part of the reserve is a forecast: what others will still need of the day's calls, learned
by hour of the week. Everything that is not our bulk work counts as need: other applications, and
our own interactive and normal calls. Times are seconds since 1970, UTC, as Alma's day is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from alma_async.settings import Limits, Priority

__all__ = ["DAY", "HOUR", "HOURS", "MAX_SKEW", "UNLEARNED", "Quota", "Rule", "learned", "need"]

HOUR: Final = 3600.0
DAY: Final = 86400.0
HOURS: Final = 168
UNLEARNED: Final = -1.0

# Chosen: about three weeks weigh as much as all before; a holiday fades within a month.
_GAIN = 0.3

# Chosen: an hour's first figure comes from half of it at least, not from the minute by which its
# neighbour was late.
_ENOUGH = 0.5

# Chosen: the prior weighs as much as a day's hours. A first night's figures must not speak for the
# first afternoon.
_PRIOR_HOURS = 24

# 1970-01-01 was a Thursday; with Monday 0 the week began 72 hours before.
_THURSDAY = 72


def _hour_of_week(wall: float) -> int:
    return (int(wall // HOUR) + _THURSDAY) % HOURS


def learned(profile: Sequence[float], *, start: float, end: float, calls: float) -> list[float]:
    """The profile after ``calls`` were needed between ``start`` and ``end``, spread evenly over the
    hours in between.
    """
    new = list(profile)
    rate = calls / (end - start) * HOUR
    at = start
    while at < end:
        until = min((at // HOUR + 1) * HOUR, end)
        hour, part = _hour_of_week(at), (until - at) / HOUR
        if new[hour] >= 0:
            new[hour] += _GAIN * part * (rate - new[hour])
        elif part >= _ENOUGH:
            new[hour] = rate
        at = until
    return new


def need(profile: Sequence[float], *, start: float, end: float, prior: float) -> float:
    """Calls needed between ``start`` and ``end``.

    An hour not learned yet counts as the mean of those learned and of ``prior`` (calls an hour),
    which weighs as a day does.
    """
    known = [rate for rate in profile if rate >= 0]
    typical = (sum(known) + _PRIOR_HOURS * prior) / (len(known) + _PRIOR_HOURS)
    total, at = 0.0, start
    while at < end:
        until = min((at // HOUR + 1) * HOUR, end)
        rate = profile[_hour_of_week(at)]
        total += (rate if rate >= 0 else typical) * (until - at) / HOUR
        at = until
    return total


# Chosen: a header (or clock) may be off by this much before it is ignored. Alma's Date has a
# resolution of one second.
MAX_SKEW = 3600.0

# Chosen: no institution has more calls a day than this; the largest known pool has six million.
_MOST = 10**9

# Chosen: others are believed to draw at most this many times our own limit a second (a consortium
# of 5,984,000 calls a day averages three times 25), and a fall beyond that must be confirmed by the
# next answer: one garbled header must not end the day.
_OTHERS = 10.0
_SLACK = 10.0

# Chosen: a rise by this share of the day's calls is a new day and not two gateway nodes that
# disagree by a few.
_RESET_RISE = 0.01

# Chosen: the forecast of others' need is multiplied by the factor; with it nobody was denied a call
# in the modelled day (docs/measured.md). With nothing learned yet, others are taken to need a third of the day's
# calls, evenly over its hours.
_CAUTION = 1.2
_PRIOR = 1 / 3

# Chosen: today may need up to three times what the same hours needed before.
_MAX_SCALE = 3.0

# Chosen: shorter than this teaches nothing about an hour.
_TEACHES = 900.0

# Chosen: where a call is rejected though midnight has just passed, the reset is late or the clocks
# differ; one is sent again after this.
_PROBE = 900.0

# Chosen: whoever waited for the reset comes back within a minute of it, not in one instant (the
# ramp is in ``rate``).
_SPREAD = 60.0


@attrs.frozen
class Rule:
    """What one priority may do: go while more than ``floor`` calls are left, ``interval`` seconds
    apart; shut altogether at infinity.
    """

    floor: float
    interval: float = 0.0


@attrs.define(eq=False)
class Quota:
    """The day's figures as last known; plain numbers, so that any store can keep them.

    Times are wall-clock seconds.

    ``taken`` counts what was not our bulk work; ``first_`` is the day's first sighting, ``hour_``
    that of the running hour.
    """

    day: int = -1
    anchor: int | None = None
    seen_at: float = 0.0
    full: int = 0
    stopped_until: float = 0.0
    skew: float = 0.0
    doubted: bool = False
    bulk: int = 0
    first_bulk: int = 0
    first_taken: int = 0
    first_at: float = 0.0
    hour_taken: int = 0
    hour_at: float = 0.0
    profile: Sequence[float] = (UNLEARNED,) * HOURS

    def left(self, *, spent: int, wall: float) -> int | None:
        """Calls left today for everybody, after all of ours so far; None where nothing is known of
        today.
        """
        if self.anchor is None or self._today(wall) > self.day:
            return None
        return max(0, self.anchor - spent)

    def observe(
        self,
        remaining: int,
        *,
        ordinal: int,
        sent_at: float,
        date: float | None,
        spent: int,
        wall: float,
        per_second: float,
    ) -> None:
        """Take in one answer: calls remaining, its call's ordinal and time of sending, the server's
        ``Date``.

        Late, impossible and lonely values change nothing.
        """
        if not 0 <= remaining <= _MOST:
            return
        if date is not None and abs(date - wall) <= MAX_SKEW:
            self.skew = date - wall
        day, anchor = self._today(wall), remaining + ordinal
        if day == self.day - 1:
            return  # yesterday's, late. A day further off is no answer's fault but a damaged figure's: begin anew
        causal = sent_at > self.seen_at
        if (
            day != self.day
            or self.anchor is None
            or (causal and anchor - self.anchor > 100 + _RESET_RISE * self.full)
        ):
            self._begin(anchor, day=day, full=remaining, spent=spent, wall=wall)
        elif anchor <= self.anchor or causal:
            believed = _OTHERS * per_second * (max(wall - self.seen_at, 0.0) + _SLACK)
            if self.anchor - anchor > believed and not self.doubted:
                self.doubted = True
                return
            self.anchor, self.seen_at = anchor, wall
            self._learn(spent=spent, wall=wall)
        self.doubted = False

    def stop(self, *, wall: float, jitter: float) -> None:
        """The day's threshold was hit: nothing goes before the reset, and then not in the same
        instant as everybody else.
        """
        since = (wall + self.skew) % DAY
        until = wall + _PROBE if since < _PROBE else self.next_reset(wall)
        self.stopped_until = max(self.stopped_until, until + _SPREAD * jitter)

    def next_reset(self, wall: float) -> float:
        """The next midnight UTC of the server's clock, on ours."""
        return ((wall + self.skew) // DAY + 1) * DAY - self.skew

    def reserve(self, asked: float | str, *, spent: int, wall: float) -> float:
        """Calls that bulk work leaves to others until the reset: the forecast, and never less than
        what was asked for.

        Others' use so far today, beside what was forecast for the same hours, corrects the rest of
        the day.
        """
        prior = _PRIOR * self.full / 24
        ahead = need(self.profile, start=wall, end=self.next_reset(wall), prior=prior)
        expected = need(self.profile, start=self.first_at, end=wall, prior=prior)
        actual = max(0, self._taken(spent) - self.first_taken)
        weight = prior + 1
        scale = min(max((actual + weight) / (expected + weight), 1.0), _MAX_SCALE)
        return max(_asked(asked, self.full), _CAUTION * scale * ahead)

    def rules(self, limits: Limits, *, spent: int, wall: float) -> dict[Priority, Rule]:
        """What each priority may do now: bulk stops at the reserve, normal at a quarter of it,
        interactive at zero.

        Bulk work may hurry through the first half of its part of the day; the rest is spread evenly
        to the reset.
        """
        if wall < self.stopped_until <= wall + DAY + _SPREAD:
            return dict.fromkeys(Priority, Rule(math.inf))
        remaining = self.left(spent=spent, wall=wall)
        if remaining is None:
            return dict.fromkeys(Priority, Rule(-math.inf))
        kept = self.reserve(limits.reserve, spent=spent, wall=wall)
        spare = remaining - kept
        even = (
            0.0 if spare <= 0 or self._at_full_pace(spare, limits) else (self.next_reset(wall) - wall) / spare
        )
        return {
            Priority.INTERACTIVE: Rule(0.0),
            Priority.NORMAL: Rule(kept / 4),
            Priority.BULK: Rule(kept, even),
        }

    def at_full_pace(self, limits: Limits, *, spent: int, wall: float) -> float:
        """How many calls of bulk work may still go at full pace, before the rest of its part of the
        day is spread.
        """
        remaining = self.left(spent=spent, wall=wall)
        if remaining is None:
            return math.inf
        return self._at_full_pace(remaining - self.reserve(limits.reserve, spent=spent, wall=wall), limits)

    def _at_full_pace(self, spare: float, limits: Limits) -> float:
        used = self.bulk - self.first_bulk
        return math.inf if limits.pacing == "greedy" else max((spare - used) / 2, 0.0)

    def _today(self, wall: float) -> int:
        return int((wall + self.skew) // DAY)

    def _taken(self, spent: int) -> int:
        return spent - self.bulk - (self.anchor or 0)

    def _begin(self, anchor: int, *, day: int, full: int, spent: int, wall: float) -> None:
        """The first word of a new day (or of a counter that was set up again)."""
        self.day, self.anchor, self.seen_at, self.full = day, anchor, wall, full
        self.first_bulk = self.bulk
        self.first_taken = self.hour_taken = self._taken(spent)
        self.first_at = self.hour_at = wall

    def _learn(self, *, spent: int, wall: float) -> None:
        """When an hour has ended, let the profile know what was needed in it."""
        if wall // HOUR <= self.hour_at // HOUR:
            return
        taken = self._taken(spent)
        if wall - self.hour_at >= _TEACHES:
            needed = max(0, taken - self.hour_taken)
            self.profile = learned(self.profile, start=self.hour_at, end=wall, calls=needed)
        self.hour_taken, self.hour_at = taken, wall


def _asked(reserve: float | str, full: int) -> float:
    if isinstance(reserve, str):
        return 0.0 if reserve == "forecast" else float(reserve.rstrip("%")) / 100 * full
    return reserve
