"""How far a load is, and how it ended: plain values, and the counting behind them. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import attrs

from alma_async.load.entries import OPEN, Entry, State
from alma_async.wire.outcome import Failed, Outcome, OutcomeClass, Reason

__all__ = ["Meter", "Progress", "Report", "row_counts"]

_SPAN: Final = 10.0  # seconds over which the present rate is taken


@attrs.frozen(kw_only=True)
class Progress:
    """A moment of a running load.

    ``rate`` is calls a second over the last ten seconds, ``mean`` over the whole run; ``eta`` seconds to the end at the mean pace
    so far. ``waiting`` says for what the load waits, or is None while it works; ``waited`` for how many seconds now.
    """

    rows: int
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    duplicates: int = 0
    review: int = 0
    pending: int = 0
    calls: int = 0
    throttled: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    remaining: int | None = None
    eta: float | None = None
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
    """How a load ended. ``pending`` rows go on when the load is resumed; ``stopped`` says why there are any."""

    rows: int
    created: int
    updated: int
    unchanged: int
    deleted: int
    rejected: int
    duplicates: int
    review: int
    pending: int
    calls: int
    throttled: int
    seconds: float
    remaining: int | None
    stopped: str | None = None

    @property
    def exit_code(self) -> int:
        """0 all done; 1 done, but rows were refused or need review; 3 stopped, resumable."""
        if self.pending:
            return 3
        return 1 if self.rejected or self.review else 0

    def summary(self) -> dict[str, float | int | str | None]:
        """The one object that ``--json`` ends with."""
        return attrs.asdict(self)


def row_counts(counts: Mapping[tuple[State, str | None], int]) -> dict[str, int]:
    """The journal's counts by state and action, under the names of ``Report``."""
    named = ("created", "updated", "unchanged", "deleted", "rejected", "duplicates", "review", "pending")
    found = dict.fromkeys(named, 0)
    names = {State.REJECTED: "rejected", State.DUPLICATE: "duplicates", State.REVIEW: "review"}
    for (state, action), count in counts.items():
        if state is State.DONE:
            found[action or "unchanged"] += count
        else:
            found["pending" if state in OPEN else names[state]] += count
    return {"rows": sum(counts.values()), **found}


@attrs.define
class Meter:
    """Counts calls and rows of one run."""

    started: float
    rows: dict[str, int] = attrs.field(factory=dict)
    calls: int = 0
    throttled: int = 0
    _waiting: tuple[str, float] | None = None
    _recent: deque[float] = attrs.field(factory=lambda: deque(maxlen=1000))
    _done_before: int = 0

    def begin(self, counts: Mapping[tuple[State, str | None], int]) -> None:
        """Start from what the journal says is done already."""
        self.rows = row_counts(counts)
        self._done_before = self.rows["rows"] - self.rows["pending"]

    def called(self, outcome: Outcome, now: float) -> None:
        """One attempt ended; one that was not sent cost nothing."""
        if isinstance(outcome, Failed) and outcome.outcome is OutcomeClass.NOT_SENT:
            return
        self.calls += 1
        self._recent.append(now)
        if isinstance(outcome, Failed) and outcome.reason in (Reason.THROTTLED, Reason.QUOTA):
            self.throttled += 1

    def settled(self, entry: Entry) -> None:
        """A row went as far as it goes now; finished ones leave the pending."""
        if entry.state in OPEN:
            return
        for name, count in row_counts({(entry.state, entry.action): 1}).items():
            if name != "rows":
                self.rows[name] += count
        self.rows["pending"] -= 1

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
    ) -> Report:
        """How it ended at ``now``: rows by the journal's count, calls by ours."""
        return Report(
            **row_counts(counts),
            calls=self.calls,
            throttled=self.throttled,
            seconds=now - self.started,
            remaining=remaining,
            stopped=stopped,
        )

    def progress(self, now: float, remaining: int | None) -> Progress:
        """How far it is at ``now``."""
        seconds = now - self.started
        span = min(max(seconds, 1.0), _SPAN)
        done = self.rows["rows"] - self.rows["pending"] - self._done_before
        return Progress(
            **self.rows,
            calls=self.calls,
            throttled=self.throttled,
            seconds=seconds,
            rate=sum(1 for at in self._recent if at > now - span) / span,
            remaining=remaining,
            eta=self.rows["pending"] * seconds / done if done else None,
            waiting=self._waiting[0] if self._waiting else None,
            waited=now - self._waiting[1] if self._waiting else 0.0,
        )
