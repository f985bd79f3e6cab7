"""What a load measures of itself as it runs: calls by kind; calls and waiting over time. Pure.

It is kept in the journal's facts (``facts.MEASURED``), so that a report has it though the load was
interrupted and resumed, and it is small however long a load takes: a run has at most ``_MOST``
samples; where it would have more, two neighbours become one and the step doubles. Earlier runs are
kept more coarsely, the last ``_RUNS`` of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from alma_async._http.json_text import dumps, loads
from alma_async.errors import BadAnswer

__all__ = ["EVERY", "Measured", "Stretch"]

EVERY: Final = 20.0  # chosen: seconds between two writes of it, and so what a crash loses
_MOST: Final = 120
_COARSE: Final = 40  # of a run that is over
_RUNS: Final = 20


@attrs.define(kw_only=True)
class Stretch:
    """One run. ``began`` and ``ended`` are civil seconds; a sample holds what happened in ``step``
    seconds: calls, those of them that were throttled, and the seconds that calls waited, by reason.
    ``sent`` are all calls, also those whose end was not waited for.
    """

    began: float
    ended: float
    step: float = 1.0
    calls: list[int] = attrs.field(factory=list)
    throttled: list[int] = attrs.field(factory=list)
    waits: dict[str, list[float]] = attrs.field(factory=dict)
    sent: int = 0

    def called(self, after: float, *, throttled: bool) -> None:
        """A call ended, so many seconds after the run began."""
        at = self._sample(after)
        self.calls[at] += 1
        self.throttled[at] += throttled

    def waited(self, after: float, seconds: float, waits: Mapping[str, float]) -> None:
        """A call of so many seconds ended then. Its waits are spread over the time that it took."""
        last, first = self._sample(after), int(max(after - seconds, 0.0) / self.step)
        for reason, waited in waits.items():
            if waited > 0:
                series = self.waits.setdefault(reason, [0.0] * len(self.calls))
                for at in range(first, last + 1):
                    series[at] += waited / (last + 1 - first)

    def _sample(self, after: float) -> int:
        self.ended = max(self.ended, self.began + after)
        while (at := int(max(after, 0.0) / self.step)) >= _MOST:
            self._halve()
        every: list[list[Any]] = [self.calls, self.throttled, *self.waits.values()]
        for series in every:
            series.extend([0] * (at + 1 - len(series)))
        return at

    def _halve(self) -> None:
        self.step *= 2
        self.calls, self.throttled = _paired(self.calls), _paired(self.throttled)
        self.waits = {reason: _paired(series) for reason, series in self.waits.items()}

    def coarse(self) -> None:
        """Make it small: it is over."""
        while len(self.calls) > _COARSE:
            self._halve()


def _paired(series: list[Any]) -> list[Any]:
    return [sum(series[at : at + 2]) for at in range(0, len(series), 2)]


@attrs.define
class Measured:
    """All runs of a load that are known, oldest first, and all its calls by kind (as
    ``CallFinished.route`` names them).
    """

    runs: list[Stretch] = attrs.field(factory=list)
    kinds: dict[str, int] = attrs.field(factory=dict)
    count: int = 0  # of all runs, also of those that are not kept

    @classmethod
    def read(cls, text: str | None) -> Self:
        """From the fact of a journal; nothing where there is none, or what there is cannot be read."""
        try:
            found = loads((text or "{}").encode())
            runs = [Stretch(**run) for run in found.get("runs", ())]
            return cls(runs, dict(found.get("kinds", {})), int(found.get("count", len(runs))))
        except (AttributeError, BadAnswer, TypeError, ValueError):
            return cls()

    def written(self) -> str:
        """As the fact of a journal."""
        rounded = [
            attrs.evolve(
                run, waits={why: [round(each, 2) for each in series] for why, series in run.waits.items()}
            )
            for run in self.runs
        ]
        return dumps(attrs.asdict(attrs.evolve(self, runs=rounded))).decode()

    def begin(self, wall: float) -> Stretch:
        """A further run."""
        for run in self.runs:
            run.coarse()
        self.runs = [*self.runs[1 - _RUNS :], Stretch(began=wall, ended=wall)]
        self.count += 1
        return self.runs[-1]

    def finished(self, kind: str, attempts: int) -> None:
        """A call ended with all its attempts."""
        if attempts:
            self.runs[-1].sent += attempts
            self.kinds[kind] = self.kinds.get(kind, 0) + attempts
