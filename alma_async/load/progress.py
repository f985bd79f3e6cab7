"""How far a load is, how it ended, what the institution allows now: plain values, and the counting
behind them. Pure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from alma_async._http.outcome import Failed, Outcome, OutcomeClass, Reason
from alma_async._text import duration
from alma_async.errors import AlmaError
from alma_async.load.entries import OPEN, Entry, State, begun
from alma_async.load.facts import JOB_ENDED, JOB_RUN, JOB_SET, ROWS, SURPLUS, SURPLUS_KEPT, undecided
from alma_async.settings import Priority

if TYPE_CHECKING:
    from alma_async._governance.governor import QuotaSnapshot

__all__ = [
    "Ended",
    "Meter",
    "Progress",
    "Quote",
    "Report",
    "begun_count",
    "hold",
    "job_of",
    "quote",
    "row_counts",
]

_SPAN: Final = 10.0  # seconds over which the present rate is taken
_WHOLE: Final[Mapping[str, str]] = {ROWS: "all"}  # what a journal says that has its rows
_DAY: Final = 86_400.0
_FEW: Final = 10  # chosen: rows that outweigh what is assumed of a row's calls


_SLOW: Final = 2.0  # chosen: seconds until the next call from which on a person wonders
_SPREAD: Final = "bulk work is spread evenly over the rest of the day (pacing greedy does not)"


@attrs.frozen(kw_only=True)
class Quote:
    """What the institution allows now: the pace in force, what remains today (None: unknown), what
    bulk work leaves to others of it, how many calls go at that pace before the rest is spread over
    the day, and the seconds until the day's calls begin anew. ``opens_in`` is how many seconds bulk
    work has to wait before its next call. ``until_reset`` is how many calls today has for it, all in
    all (None: what the reserve leaves), ``next_day`` how many a later day,
    ``next_day_at_full_pace`` how many of these at that pace.
    """

    per_second: float
    remaining: int | None
    reserve: float
    at_full_pace: float
    resets_in: float
    opens_in: float = 0.0
    until_reset: float | None = None
    next_day: float = math.inf
    next_day_at_full_pace: float = math.inf

    def seconds(self, calls: float) -> float:
        """How long so many calls take, if nobody else draws more than now; what a day has no room
        for goes on the next.
        """
        at_full_pace = min(calls, self.at_full_pace) if self.opens_in < self.resets_in else 0.0
        seconds, rest = self.opens_in + at_full_pace / self.per_second, calls - at_full_pace
        if rest and self.remaining is not None and seconds < self.resets_in:
            today = self.remaining - self.reserve if self.until_reset is None else self.until_reset
            spare = max(today - at_full_pace, 0.0)
            spread = min(rest, spare)
            if spread:
                seconds += spread * max((self.resets_in - seconds) / spare, 1 / self.per_second)
            rest -= spread
        if rest and self.remaining is not None:
            return max(seconds, self.resets_in) + self._later(rest)
        return seconds + rest / self.per_second

    def _later(self, calls: float) -> float:
        """How long so many calls take from a reset on."""
        days = max(math.ceil(calls / self.next_day) - 1, 0)
        rest = calls - days * self.next_day if days else calls
        fast = min(rest, self.next_day_at_full_pace)
        slow = (rest - fast) * max(_DAY / (self.next_day - fast), 1 / self.per_second) if rest > fast else 0.0
        return days * _DAY + fast / self.per_second + slow


def hold(quota: QuotaSnapshot, wall: float) -> str | None:
    """What holds bulk work back now; None where nothing does."""
    if quota.stopped_until is not None:
        return f"the day's calls are spent; calls go again at {_when(quota.stopped_until)}"
    if quota.held_until is not None:
        return f"rejected for too many calls a second; calls go again at {_when(quota.held_until)}"
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
        at_full_pace=quota.at_full_pace,
        until_reset=quota.until_reset,
        next_day=quota.next_day,
        next_day_at_full_pace=quota.next_day_at_full_pace,
        resets_in=resets.timestamp() - wall,
        opens_in=max(opens.timestamp() - wall, 0.0) if opens is not None else 0.0,
    )


@attrs.frozen(kw_only=True)
class Ended:
    """The end of one row.

    ``state`` is done, rejected, duplicate, review or undone, ``action`` what was done (created,
    updated, unchanged, deleted, known), ``reason`` a code of docs/reasons.md. ``before`` and
    ``after`` are the fields that changed, as texts. ``code`` and ``tracking_id`` are Alma's.
    ``line`` and ``key`` say which row it is: rows that are no file's are counted from 1.
    """

    line: int
    key: str | None
    state: str
    action: str | None
    reason: str | None
    message: str | None
    mms_id: str | None
    portfolio_id: str | None
    before: Mapping[str, str]
    after: Mapping[str, str]
    code: str | None
    tracking_id: str | None

    @classmethod
    def of(cls, entry: Entry) -> Ended:
        """The end of a row, which its entry says."""
        return cls(
            line=entry.line,
            key=entry.key,
            state=entry.state.value,
            action=entry.action,
            reason=entry.reason,
            message=entry.message,
            mms_id=entry.mms_id,
            portfolio_id=entry.portfolio_id,
            before={one.field: one.old for one in entry.differences},
            after={one.field: one.new for one in entry.differences},
            code=entry.code,
            tracking_id=entry.tracking_id,
        )


@attrs.frozen(kw_only=True)
class Progress:
    """A moment of a running load.

    ``pending`` rows have not ended; of these ``begun`` were sent in part or have an unknown
    outcome. ``rate`` is calls a second over the last ten seconds, ``mean`` over the whole run.
    ``eta`` is seconds to the end, by the calls still ``needed`` and the pace allowed. ``reading``: the
    file is still being read. ``waiting`` says for what the load waits and until when, or is None
    while it works; ``waited`` for how many seconds now.
    """

    rows: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    known: int = 0
    deleted: int = 0
    rejected: int = 0
    duplicates: int = 0
    review: int = 0
    undone: int = 0
    pending: int = 0
    begun: int = 0
    calls: int = 0
    throttled: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    remaining: int | None = None
    needed: int | None = None
    eta: float | None = None
    reading: bool = False
    waiting: str | None = None
    waited: float = 0.0

    @property
    def mean(self) -> float:
        """Calls a second over the whole run."""
        return self.calls / self.seconds if self.seconds else 0.0

    @property
    def done(self) -> int:
        """Rows that need nothing more."""
        return self.rows - self.pending


@attrs.frozen(kw_only=True)
class Report:
    """The end of a load. ``pending`` rows go on when the load is resumed; ``stopped`` says why
    there are any. ``undone`` rows were taken back by an undo of the load; ``known`` ones an earlier
    load had done (``since``). ``read`` says whether all rows are in the journal, and so in
    ``rows``. Of a load with ``missing``, ``surplus`` is how many portfolios of the service the list
    does not name, which are rows too (None: not known, or not yet), and ``surplus_kept`` why none
    of them was touched; ``undecided``: it stopped before that was known. Of a load by a job,
    ``job`` is its set, its run, and how that ended, as far as it came. ``resume_at``: when to
    resume it, where what stopped it says that. ``error`` is what stopped it.
    """

    rows: int
    created: int
    updated: int
    unchanged: int
    known: int = 0
    deleted: int
    rejected: int
    duplicates: int
    review: int
    undone: int = 0
    pending: int
    calls: int
    throttled: int
    seconds: float
    remaining: int | None
    stopped: str | None = None
    read: bool = True
    surplus: int | None = None
    surplus_kept: str | None = None
    undecided: bool = False
    job: str | None = None
    resume_at: datetime | None = None
    error: AlmaError | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def is_finished(self) -> bool:
        """True where nothing is left to do; else the load can be resumed."""
        return self.read and not self.pending and not self.undecided

    @property
    def exit_code(self) -> int:
        """0 all done; 1 done, but rows were rejected, need review or were undone, or what the list
        does not name was not touched; 3 stopped, resumable.
        """
        if not self.is_finished:
            return 3
        return 1 if self.rejected or self.review or self.undone or self.surplus_kept else 0

    def summary(self) -> dict[str, float | int | str | None]:
        """The one object that ``--json`` ends with; ``resume_at`` in ISO 8601."""
        found = attrs.asdict(self, filter=lambda field, _: field.name != "error")
        return {**found, "resume_at": None if self.resume_at is None else self.resume_at.isoformat()}


def job_of(meta: Mapping[str, str]) -> str | None:
    """What a journal says of its load's job."""
    facts = (("set", JOB_SET), ("run", JOB_RUN), ("ended:", JOB_ENDED))
    return ", ".join(f"{name} {meta[fact]}" for name, fact in facts if meta.get(fact)) or None


def row_counts(counts: Mapping[tuple[State, str | None], int]) -> dict[str, int]:
    """The journal's counts by state and action, under the names of ``Report``."""
    named = (
        "created",
        "updated",
        "unchanged",
        "known",
        "deleted",
        "rejected",
        "duplicates",
        "review",
        "undone",
        "pending",
    )
    found = dict.fromkeys(named, 0)
    names = {
        State.REJECTED: "rejected",
        State.DUPLICATE: "duplicates",
        State.REVIEW: "review",
        State.UNDONE: "undone",
    }
    for (state, action), count in counts.items():
        if state is State.DONE:
            found[action or "unchanged"] += count
        else:
            found["pending" if state in OPEN else names[state]] += count
    return {"rows": sum(counts.values()), **found}


def begun_count(counts: Mapping[tuple[State, str | None], int]) -> int:
    """How many of the pending rows were begun: something was sent for them."""
    return sum(count for stand, count in counts.items() if begun(*stand))


@attrs.define
class Meter:
    """Counts calls and rows of one run."""

    started: float
    rows: dict[str, int] = attrs.field(factory=dict)
    calls: int = 0
    throttled: int = 0
    _waiting: tuple[str, float] | None = None
    _recent: deque[float] = attrs.field(factory=lambda: deque(maxlen=1000))
    _ended: int = 0  # rows that ended since it began
    _calls_before: int = 0
    _begun: int = 0
    foreseen: bool = True  # whether what is left is a matter of calls

    def begin(self, counts: Mapping[tuple[State, str | None], int]) -> None:
        """Start from what the journal says is done already."""
        self.rows = row_counts(counts)
        self._begun, self._calls_before, self._ended = begun_count(counts), self.calls, 0

    def called(self, outcome: Outcome, now: float) -> bool:
        """One attempt ended; whether it was sent: one that was not cost nothing."""
        if isinstance(outcome, Failed) and outcome.outcome is OutcomeClass.NOT_SENT:
            return False
        self.calls += 1
        self._recent.append(now)
        if isinstance(outcome, Failed) and outcome.reason in (Reason.THROTTLED, Reason.QUOTA):
            self.throttled += 1
        return True

    def came(self) -> None:
        """One more row."""
        self.rows["rows"] += 1
        self.rows["pending"] += 1

    def settled(self, before: Entry, entry: Entry) -> None:
        """A row went as far as it goes now; finished ones leave the pending."""
        self._begun += entry.is_begun - before.is_begun
        if entry.state in OPEN:
            return
        for name, count in row_counts({(entry.state, entry.action): 1}).items():
            if name != "rows":
                self.rows[name] += count
        self.pass_over()

    def pass_over(self) -> None:
        """One pending row less."""
        self.rows["pending"] -= 1
        self._ended += 1

    @property
    def needed(self) -> float:
        """Calls that the pending rows still need, by what those that ended took: two each,
        as long as few have ended.
        """
        each = (self.calls - self._calls_before + 2.0 * _FEW) / (self._ended + _FEW)
        return max(self.rows["pending"] * each - self._begun, 0.0)

    def waits(self, why: str | None, now: float) -> None:
        """Everybody waits, or does no more."""
        since = now if self._waiting is None else self._waiting[1]
        self._waiting = None if why is None else (why, since)

    def report(
        self,
        now: float,
        remaining: int | None,
        *,
        counts: Mapping[tuple[State, str | None], int],
        stopped: str | None,
        meta: Mapping[str, str] = _WHOLE,
        error: AlmaError | None = None,
    ) -> Report:
        """How it ended at ``now``: rows by the journal's count and what it says
        (``meta``), calls by ours.
        """
        surplus = meta.get(SURPLUS)
        return Report(
            **row_counts(counts),
            calls=self.calls,
            throttled=self.throttled,
            seconds=now - self.started,
            remaining=remaining,
            stopped=stopped,
            read=bool(meta.get(ROWS)),
            surplus=None if surplus is None else int(surplus),
            surplus_kept=meta.get(SURPLUS_KEPT),
            undecided=undecided(meta),
            job=job_of(meta),
            resume_at=getattr(error, "retry_at", None),
            error=error,
        )

    def progress(self, now: float, quote: Quote, *, under_way: int = 0, reading: bool = False) -> Progress:
        """How far it is at ``now``, where so much is allowed. ``under_way``: how many more rows
        were begun than had been.
        """
        seconds = now - self.started
        span = min(max(seconds, 1.0), _SPAN)
        needed, is_open = self.needed, self.rows["pending"] > 0
        return Progress(
            **self.rows,
            begun=self._begun + under_way,
            reading=reading,
            calls=self.calls,
            throttled=self.throttled,
            seconds=seconds,
            rate=sum(1 for at in self._recent if at > now - span) / span,
            remaining=quote.remaining,
            needed=math.ceil(needed) if is_open else None,
            eta=quote.seconds(needed) if is_open and self.foreseen else None,
            waiting=self._waiting[0] if self._waiting else None,
            waited=now - self._waiting[1] if self._waiting else 0.0,
        )
