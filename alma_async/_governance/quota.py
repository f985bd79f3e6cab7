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
our own interactive and normal calls. It is learned from the difference of two anchors, so it makes
no difference whether a program ran in between: where the anchor is kept (``file_budget``), two
short runs of a day teach what others used between them. What was used between the last answer of
a day and the first of the next is not known, and teaches nothing.

An hour seen in two weeks also has a **spread**: how far its need was from what was expected. As far
as the hours ahead have one the forecast is trusted, and bulk work goes at full pace down to the most
that others may need. What is between that and the reserve, and half of what is spare where nothing
is learned yet, is spread evenly to the reset: it is used up only as the day shows that nobody needs
it.

Times are seconds since 1970, UTC, as Alma's day is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from alma_async.settings import Limits, Priority

__all__ = [
    "DAY",
    "HOUR",
    "HOURS",
    "MAX_SKEW",
    "MOST",
    "UNLEARNED",
    "Quota",
    "Rule",
    "learned",
    "need",
    "spreads",
]

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


def _hours(start: float, end: float) -> Iterator[tuple[int, float]]:
    """The hours of the week between two moments, each with the part of it that lies between them."""
    at = start
    while at < end:
        until = min((at // HOUR + 1) * HOUR, end)
        yield _hour_of_week(at), (until - at) / HOUR
        at = until


def _needed(
    profile: Sequence[float], *, start: float, end: float, calls: float
) -> Iterator[tuple[int, float, float]]:
    """The hours between two moments, with the part of each and the calls an hour that were needed in
    it, if ``calls`` were in all: in the shape that ``profile`` knows, evenly where it knows none.
    """
    level = calls / (end - start) * HOUR
    hours = [
        (hour, part, profile[hour] if profile[hour] >= 0 else level) for hour, part in _hours(start, end)
    ]
    expected = sum(part * rate for _, part, rate in hours)
    for hour, part, rate in hours:
        yield hour, part, rate * calls / expected if expected else level


def learned(profile: Sequence[float], *, start: float, end: float, calls: float) -> list[float]:
    """The profile after ``calls`` were needed between ``start`` and ``end``."""
    new = list(profile)
    for hour, part, rate in _needed(profile, start=start, end=end, calls=calls):
        if new[hour] >= 0:
            new[hour] += _GAIN * part * (rate - new[hour])
        elif part >= _ENOUGH:
            new[hour] = rate
    return new


def spreads(
    spread: Sequence[float], profile: Sequence[float], *, start: float, end: float, calls: float
) -> list[float]:
    """How far each hour's need is from what ``profile`` said, after the same calls: the mean distance,
    in calls; UNLEARNED for an hour that was not seen in two weeks.

    Of calls over several hours it is not known in which they fell: that counts as a distance too.
    """
    new = list(spread)
    vague = _VAGUE * (1 - HOUR / max(end - start, HOUR))
    for hour, part, rate in _needed(profile, start=start, end=end, calls=calls):
        if profile[hour] < 0 or (new[hour] < 0 and part < _ENOUGH):
            continue
        off = max(abs(rate - profile[hour]), vague * rate)
        new[hour] = off if new[hour] < 0 else new[hour] + _GAIN * part * (off - new[hour])
    return new


def _typical(profile: Sequence[float], prior: float) -> float:
    known = [rate for rate in profile if rate >= 0]
    return (sum(known) + _PRIOR_HOURS * prior) / (len(known) + _PRIOR_HOURS)


def need(profile: Sequence[float], *, start: float, end: float, prior: float) -> float:
    """Calls needed between ``start`` and ``end``.

    An hour not learned yet counts as the mean of those learned and of ``prior`` (calls an hour),
    which weighs as a day does.
    """
    typical = _typical(profile, prior)
    return sum((profile[hour] if profile[hour] >= 0 else typical) * part for hour, part in _hours(start, end))


# Chosen: a header (or clock) may be off by this much before it is ignored. Alma's Date has a
# resolution of one second.
MAX_SKEW = 3600.0

# Chosen: figures that were seen so many seconds later than now are of a clock that was set back
# since. Answers of several machines are in disorder by less.
_SET_BACK = 300.0

# Chosen: no institution has more calls a day than this; the largest known pool has six million.
MOST = 10**9

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
_CHANCE = 3.0  # and by chance so many times the square root more, which matters in a day's last minutes
_PRIOR = 1 / 3

# Chosen: what is left of the day may be used at full pace down to the most that others may need: a
# third more than forecast, or the forecast and three mean distances (some 2.4 standard deviations),
# all hours off to the same side. Where nobody ever called, it is a tenth of the day's calls, by the
# time that is left.
_SAFE = 4 / 3
_DISTANCES = 3.0
_LEAST = 0.1

# Chosen: of calls over many hours, each hour's share may be off by this part.
_VAGUE = 1 / 6

# Chosen: the part of bulk work's share of the day that goes at full pace where nothing is learned.
_CAREFUL = 0.5

# Chosen: seconds without an answer after which what was learned is no longer trusted; it is
# still the forecast.
_FORGOTTEN = 28 * DAY

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


@attrs.frozen
class _Forecast:
    """What is kept for others until the reset: what they are expected to need, the reserve, the most
    that they may need, and the share of their need that comes from hours seen in two weeks (one
    call an hour is added, so that quiet hours count too).
    """

    expected: float
    reserve: float
    most: float
    trust: float


@attrs.define(eq=False)
class Quota:
    """The day's figures as last known; plain numbers, so that any store can keep them.

    Times are wall-clock seconds.

    ``taken`` counts what was not our bulk work; ``first_`` is the day's first sighting, ``hour_``
    that of the running hour. ``profile`` is what others need in each hour of the week, ``spread``
    how far off that was.
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
    spread: Sequence[float] = (UNLEARNED,) * HOURS

    def left(self, *, spent: int, wall: float) -> int | None:
        """Calls left today for everybody, after all of ours so far; None where nothing is known of
        today.
        """
        if self.anchor is None or self._today(wall) > self.day or self._is_ahead(wall):
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
        if not 0 <= remaining <= MOST:
            return
        self._forget(wall)
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
            if self.anchor - anchor > believed:
                if not self.doubted:
                    self.doubted = True
                    return
                self.hour_taken += self.anchor - anchor  # nobody's use: it teaches nothing
            self.anchor, self.seen_at = anchor, wall
            self._learn(spent=spent, wall=wall)
        self.doubted = False

    def stop(self, *, wall: float, jitter: float) -> None:
        """The day's threshold was hit: nothing goes before the reset, and then not in the same
        instant as everybody else.
        """
        self._forget(wall)
        since = (wall + self.skew) % DAY
        until = wall + _PROBE if since < _PROBE else self.next_reset(wall)
        self.stopped_until = max(self.stop_until(wall), until + _SPREAD * jitter)
        self.seen_at = max(self.seen_at, wall)  # by which it is noticed that the clock was set back

    def stop_until(self, wall: float) -> float:
        """When the stop ends that is in force; 0 where none is. One that ends later than any reset is of
        a wrong clock.
        """
        is_one = wall < self.stopped_until <= wall + DAY + _SPREAD and not self._is_ahead(wall)
        return self.stopped_until if is_one else 0.0

    def next_reset(self, wall: float) -> float:
        """The next midnight UTC of the server's clock, on ours."""
        return ((wall + self.skew) // DAY + 1) * DAY - self.skew

    def reserve(self, asked: float | str, *, spent: int, wall: float) -> float:
        """Calls that bulk work leaves to others until the reset: the forecast, and never less than
        what was asked for.

        Others' use so far today, beside what was forecast for the same hours, corrects the rest of
        the day.
        """
        return self._forecast(asked, spent=spent, wall=wall).reserve

    def rules(self, limits: Limits, *, spent: int, wall: float) -> dict[Priority, Rule]:
        """What each priority may do now: bulk stops at the reserve, normal at a quarter of it,
        interactive at zero.

        Bulk work goes at full pace as far as the forecast is trusted; the rest of its part of the day
        is spread evenly to the reset.
        """
        if self.stop_until(wall):
            return dict.fromkeys(Priority, Rule(math.inf))
        remaining = self.left(spent=spent, wall=wall)
        if remaining is None:
            return dict.fromkeys(Priority, Rule(-math.inf))
        forecast = self._forecast(limits.reserve, spent=spent, wall=wall)
        kept, spare = forecast.reserve, remaining - forecast.reserve
        used = self.bulk - self.first_bulk
        is_spread = spare > 0 and not _at_full_pace(remaining, forecast, limits, used=used)
        return {
            Priority.INTERACTIVE: Rule(0.0),
            Priority.NORMAL: Rule(kept / 4),
            Priority.BULK: Rule(kept, (self.next_reset(wall) - wall) / spare if is_spread else 0.0),
        }

    def at_full_pace(self, limits: Limits, *, spent: int, wall: float) -> float:
        """How many calls of bulk work may still go at full pace, before the rest of its part of the
        day is spread.
        """
        remaining = self.left(spent=spent, wall=wall)
        if remaining is None:
            return math.inf
        forecast = self._forecast(limits.reserve, spent=spent, wall=wall)
        return _at_full_pace(remaining, forecast, limits, used=self.bulk - self.first_bulk)

    def until_reset(self, limits: Limits, *, spent: int, wall: float) -> float:
        """How many calls bulk work may make today, at full pace or not, where others need what is
        expected; infinity where nothing is known of today.
        """
        remaining = self.left(spent=spent, wall=wall)
        if remaining is None:
            return math.inf
        return max(remaining - self._forecast(limits.reserve, spent=spent, wall=wall).expected, 0.0)

    def next_day(self, limits: Limits, *, wall: float) -> tuple[float, float]:
        """How many calls bulk work may make on the next day, and how many of them at full pace, as it is
        expected; infinity where the day's calls are not known.

        A day's calls are those that remained when this one was first seen, and what others had needed
        of it by then.
        """
        if self.anchor is None:
            return math.inf, math.inf
        start, prior = self.next_reset(wall), _PRIOR * self.full / 24
        size = self.full + need(self.profile, start=start - DAY, end=self.first_at, prior=prior)
        forecast = self._ahead(limits.reserve, start=start, end=start + DAY, scale=1.0, full=size)
        calls = max(size - forecast.expected, 1.0)
        return calls, min(_at_full_pace(size, forecast, limits, used=0), calls)

    def _forecast(self, asked: float | str, *, spent: int, wall: float) -> _Forecast:
        """Others' use so far today, beside what was forecast for the same hours, corrects the rest of
        the day.
        """
        prior = _PRIOR * self.full / 24
        expected = need(self.profile, start=self.first_at, end=wall, prior=prior)
        actual = max(0, self._taken(spent) - self.first_taken)
        weight = prior + 1
        scale = min(max((actual + weight) / (expected + weight), 1.0), _MAX_SCALE)
        return self._ahead(asked, start=wall, end=self.next_reset(wall), scale=scale, full=self.full)

    def _ahead(self, asked: float | str, *, start: float, end: float, scale: float, full: float) -> _Forecast:
        """What is kept for others between two moments of a day of so many calls."""
        typical, calls, known, distance = _typical(self.profile, _PRIOR * full / 24), 0.0, 0.0, 0.0
        for hour, part in _hours(start, end):
            rate, off = self.profile[hour], self.spread[hour]
            calls += (rate if rate >= 0 else typical) * part
            if rate >= 0 and off >= 0:
                known += (rate + 1) * part
                distance += off * part
        expected, wanted = scale * calls, _asked(asked, full)
        reserve = max(wanted, _CAUTION * expected, expected + _CHANCE * math.sqrt(expected))
        most = scale * max(_SAFE * calls, calls + _DISTANCES * distance)
        least = _LEAST * full * (end - start) / DAY
        return _Forecast(
            expected=max(wanted, expected),
            reserve=reserve,
            most=max(reserve, most, least),
            trust=known / (calls + (end - start) / HOUR),
        )

    def _today(self, wall: float) -> int:
        return int((wall + self.skew) // DAY)

    def _is_ahead(self, wall: float) -> bool:
        """Whether the figures were seen later than now: the clock was set back since, and their day may
        be one that is yet to come.
        """
        return self.seen_at > wall + _SET_BACK

    def _forget(self, wall: float) -> None:
        """Nothing is known of today where the figures are of a clock that was set back."""
        if self._is_ahead(wall):
            self.day, self.anchor, self.seen_at, self.stopped_until, self.skew = -1, None, wall, 0.0, 0.0

    def _taken(self, spent: int) -> int:
        return spent - self.bulk - (self.anchor or 0)

    def _begin(self, anchor: int, *, day: int, full: int, spent: int, wall: float) -> None:
        """The first answer of a new day (or of a counter that was set up again). What was needed since
        the last answer of the day before is not known.
        """
        if self.anchor is not None:
            self._teach(self._taken(spent), until=self.seen_at)
        if wall - self.seen_at > _FORGOTTEN:
            self.spread = (UNLEARNED,) * HOURS
        self.day, self.anchor, self.seen_at, self.full = day, anchor, wall, full
        self.first_bulk = self.bulk
        self.first_taken = self.hour_taken = self._taken(spent)
        self.first_at = self.hour_at = wall

    def _learn(self, *, spent: int, wall: float) -> None:
        """When an hour has ended, let the profile know what was needed in it."""
        if wall // HOUR <= self.hour_at // HOUR:
            return
        taken = self._taken(spent)
        self._teach(taken, until=wall)
        self.hour_taken, self.hour_at = taken, wall

    def _teach(self, taken: int, *, until: float) -> None:
        """Let the profile know what was needed since the running hour's first sighting."""
        start, calls = self.hour_at, max(0, taken - self.hour_taken)
        if _TEACHES <= until - start <= DAY:
            was = self.profile
            self.profile = learned(was, start=start, end=until, calls=calls)
            self.spread = spreads(self.spread, was, start=start, end=until, calls=calls)


def _at_full_pace(remaining: float, forecast: _Forecast, limits: Limits, *, used: int) -> float:
    """Half of bulk work's part of the day, of which ``used`` are gone; more as the forecast is
    trusted, but no call that others may need.
    """
    if limits.pacing == "greedy":
        return math.inf
    careful = _CAREFUL * (remaining - forecast.reserve + used)
    trusted = forecast.trust * (remaining - forecast.most + used)
    return max(careful - used, trusted - used, 0.0)


def _asked(reserve: float | str, full: float) -> float:
    if isinstance(reserve, str):
        return 0.0 if reserve == "forecast" else float(reserve.rstrip("%")) / 100 * full
    return reserve
