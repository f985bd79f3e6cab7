"""A small Alma of job runs for the guard's tests: it enforces the documented limits, and counts what it was asked to do.

It knows nothing of the guard. Time is the server's own: it may run ahead of the client's, and leap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs

from alma_async._guard.port import Instance


class Threshold(Exception):
    """402222 or 402223."""


@attrs.define
class Row:
    """One run as the server knows it."""

    id: str
    job_id: str
    name: str
    by: str
    started: float
    ends: float
    listed_from: float

    def shown(self, now: float) -> Instance:
        ended = now >= self.ends
        return Instance(
            id=self.id,
            job_id=self.job_id,
            name=f"{self.name} - 09/21/2026 14:13:20 UTC",
            status="COMPLETED_SUCCESS" if ended else "RUNNING",
            submitted_by=self.by,
            submit_time=self.started,
            end_time=self.ends if ended else None,
            ended=ended,
        )


@attrs.define
class ModelAlma:
    """The server. ``over`` counts starts that our own runs alone put over a limit; ``refused`` those of ours it refused."""

    time: Callable[[], float]
    duration: Callable[[str], float]
    running: int = 3
    starts: int = 5
    window: float = 3600.0
    lag: Callable[[], float] = lambda: 0.0
    rows: list[Row] = attrs.field(factory=list)
    queued: list[tuple[float, str, str]] = attrs.field(factory=list)
    over: int = 0
    refused: int = 0
    calls: int = 0

    def start(self, job_id: str, name: str, *, by: str = "exl_api", at: float | None = None) -> Row:
        """Start a run, if the limits allow."""
        now = self.time() if at is None else at
        ours = by == "exl_api"
        if ours and self._full(job_id, now, [row for row in self.rows if row.by == "exl_api"]):
            self.over += 1
        if self._full(job_id, now, self.rows):
            self.refused += ours
            raise Threshold
        row = Row(
            f"{len(self.rows) + 1:05}",
            job_id,
            name,
            by,
            now,
            now + self.duration(job_id),
            now + self.lag(),
        )
        self.rows.append(row)
        return row

    def _full(self, job_id: str, now: float, rows: Sequence[Row]) -> bool:
        running = sum(row.by in ("API", "exl_api") and row.started <= now < row.ends for row in rows)
        recent = sum(row.job_id == job_id and now - row.started < self.window for row in rows)
        return running >= self.running or recent >= self.starts

    def start_later(self, job_id: str, name: str, *, at: float) -> None:
        """A request that it holds, and carries out when nobody listens any more."""
        self.queued.append((at, job_id, name))

    def catch_up(self) -> None:
        """Carry out what was held and is due."""
        now = self.time()
        for entry in sorted(each for each in self.queued if each[0] <= now):
            self.queued.remove(entry)
            with suppress(Threshold):
                self.start(entry[1], entry[2], at=entry[0])

    def listed(self, job_id: str, since: float) -> list[Instance]:
        """What it lists of a job: whole days, and not yet what is too new."""
        self.catch_up()
        now = self.time()
        return [
            row.shown(now)
            for row in self.rows
            if row.job_id == job_id and row.listed_from <= now and row.started >= since - 86400
        ]

    def get(self, instance_id: str) -> Instance:
        """One run."""
        return self.rows[int(instance_id) - 1].shown(self.time())

    def named(self, mark: str) -> list[Row]:
        """The runs under a unique name."""
        return [row for row in self.rows if row.name == mark]
