"""An institution's job runs at the far end of a wire, and what it saw of ours, by the names that they were started under."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

import attrs
import orjson

from alma_async import sim
from alma_async._http.messages import Request
from alma_async.sim.codes import Rejection
from alma_async.sim.job_runs import BY_API
from alma_async.sim.routes import Call
from tests.wires import REFUSALS, Remote

__all__ = ["JobRuns", "key_of"]

_NO_EFFECT: Final = (*REFUSALS, "no connection", "too fast")


@attrs.define(kw_only=True)
class JobRuns(Remote):
    """``over`` counts submissions that our own runs alone put over a limit; ``refused`` those that a limit refused."""

    ours: Collection[str]
    """The names that we start runs under."""
    most_sends: int = 20_000
    late: Collection[str] = ("late", "slow", "no route after", "strange fault after")
    leapt: float = 0.0
    under_way: dict[int, tuple[float, Callable[[], None]]] = attrs.field(factory=dict)
    """What is yet to be carried out, and when, by the server's clock."""
    over: int = 0
    refused: int = 0
    unclear: Counter[str] = attrs.field(
        factory=Counter
    )  # submissions under this name that may have been carried out

    def wall(self) -> float:
        return super().wall() + self.leapt

    def after(self, delay: float, work: Callable[[], None]) -> None:
        number = self.sends
        self.under_way[number] = (self.wall() + delay, work)
        super().after(delay, lambda: self._do(number))

    def _do(self, number: int) -> None:
        if number in self.under_way:
            self.under_way.pop(number)[1]()

    def leap(self, seconds: float) -> None:
        """The callers' clocks stand still, and the server goes on with what it has under way."""
        start, before = self.wall(), self.leapt
        for number, (due, _) in sorted(self.under_way.items(), key=lambda item: item[1][0]):
            if due < start + seconds:
                self.leapt = before + due - start
                self._do(number)
        self.leapt = before + seconds

    def note(self, request: Request, fault: str) -> None:
        if request.method == "POST" and fault not in _NO_EFFECT:
            self.unclear[key_of(request)] += 1

    def carry_out(self, request: Request, run: Callable[[Call], Any], call: Call, fault: str) -> Any:
        if request.method != "POST":
            return run(call)
        self.over += self._is_over(call["job"])
        try:
            return run(call)
        except Rejection as refusal:
            self.refused += refusal.code in ("402222", "402223")
            raise

    def _is_over(self, job_id: str) -> bool:
        """Our own runs leave no room for another one."""
        now, config = self.wall(), self.world.config
        known = [one for one in self.world.jobs.runs.known() if name_of(one) in self.ours]
        running = sum(not one.ended(now) for one in known)
        recent = sum(one.job.id == job_id and now - one.submitted_at < config.job_window for one in known)
        return running >= config.jobs_running or recent >= config.job_starts

    def is_free(self, job_id: str) -> bool:
        """Alma would take another run of this job."""
        now, config = self.wall(), self.world.config
        known = self.world.jobs.runs.known()
        running = sum(one.by_api and not one.ended(now) for one in known)
        counted = [one for one in known if one.job.id == job_id and (one.by_api or config.ui_starts_count)]
        recent = sum(now - one.submitted_at < config.job_window for one in counted)
        return running < config.jobs_running and recent < config.job_starts

    def forgotten(self, name: str) -> list[str]:
        """The runs under this name that Alma knows no more."""
        known, kept = self.world.jobs.runs.known(), self.world.config.runs_kept
        return [
            one.id
            for one in self.started().get(name, ())
            if one not in known or (kept is not None and self.wall() >= one.ends_at + kept)
        ]

    def started(self) -> dict[str, list[sim.Run]]:
        """All runs of ours that there ever were, by name."""
        found: dict[str, list[sim.Run]] = {}
        for one in self.world.jobs.runs:
            if one.submitted_by == BY_API and name_of(one) in self.ours:
                found.setdefault(name_of(one), []).append(one)
        return found


def name_of(run: sim.Run) -> str:
    """The name that whoever started it gave it; marks follow it."""
    return run.name.partition(" ")[0]


def key_of(request: Request) -> str:
    """The name that a submission starts a run under."""
    sent = orjson.loads(request.body or b"{}").get("parameter", ())
    names = (one["value"] for one in sent if one["name"]["value"] == "job_name")
    return str(next(names, "")).partition(" ")[0]
