"""One intent to start a job: its unique name, and what the session tells of each send of it.

The reservation is made at the last moment, when the governor has granted the send and before its first byte, so none
grows old in a queue. What became of it is written down in the same step of the event loop in which it is learned;
where that fails, the reservation stays and the run is looked for by its name.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from alma_async.errors import AlmaError, JobOverlap, JobThresholdReached, OutcomeUnknown
from alma_async.guard import rules
from alma_async.guard.book import Book, Run, Waiter, Why
from alma_async.guard.lifecycle import Event, State
from alma_async.guard.lookout import Lookout
from alma_async.guard.rules import Decision, Go, WaitUntil
from alma_async.wire.outcome import Done, Outcome

__all__ = ["Attempt", "NotYet", "Started", "refusal", "started", "unknown"]

_JOB_NAME: Final = "job_name"  # the parameter by which manual jobs take the name of a run (recorded)


@attrs.frozen(kw_only=True)
class Started:
    """A run that Alma accepted. ``submitted_at`` is the server's time in seconds since 1970."""

    job_id: str
    instance_id: str
    name: str
    submitted_at: float


def started(run: Run) -> Started:
    """What a caller is told of a run whose instance is known."""
    return Started(
        job_id=run.job_id,
        instance_id=run.instance_id or "",
        name=run.name,
        submitted_at=run.latest_start,
    )


class NotYet(Exception):
    """The reservation was not granted, and nothing was sent."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision


class Attempt:
    """An intent, and the witness of its sends. ``key`` is the caller's own name for it; without one it is drawn."""

    def __init__(self, alma: Lookout, job_id: str, parameters: Mapping[str, str], key: str | None) -> None:
        self.job_id = job_id
        self.parameters: dict[str, str] = {
            name: value for name, value in parameters.items() if name != _JOB_NAME
        }
        self.key: str = _mark(job_id, key)
        # The mark comes last and has a fixed length, so no such name is the beginning of another.
        self.name: str = f"{parameters.get(_JOB_NAME, 'alma-async')} {self.key}"
        self._alma = alma
        self._run: Run | None = None
        self.told: AlmaError | None = None  # Alma's own refusal, for a caller who does not wait
        self.waiter: Waiter = Waiter(key=self.key, job_id=job_id, since=alma.arrival(), until=0.0)

    @property
    def look_again(self) -> float:
        """When to try again where no end is known (server's time)."""
        return self._alma.now().at + self._alma.patience.overlap

    async def intend(self, deadline: float) -> None:
        """Reserve: read, decide and write in one transaction.

        :raises NotYet: where no start is free any more.
        """
        alma, now = self._alma, self._alma.now()
        latest = alma.at(deadline).latest
        run = Run(
            key=self.key,
            job_id=self.job_id,
            name=self.name,
            state=State.RESERVED,
            reserved_at=now.earliest,
            latest_start=latest + alma.patience.quarantine,
            look_at=latest,
        )
        decision = await alma.update(
            lambda book: rules.reserve(book, run, self.waiter, now=now, limits=alma.limits), key=self.key
        )
        if not isinstance(decision, Go):
            raise NotYet(decision)
        self._run = run

    def settle(self, outcome: Outcome) -> None:
        """Record what became of the send. A good answer waits for the ids in it, which come in the next step."""
        run, alma = self._run, self._alma
        if run is None or isinstance(outcome, Done):
            return
        now = alma.now()
        alma.tell(
            lambda book: rules.settle(
                book, run, outcome, now=now, limits=alma.limits, patience=alma.patience
            ),
            key=self.key,
        )

    def accepted(self, job_id: str, instance_id: str) -> Started:
        """Record the run that the answer names."""
        run, now = self._run, self._alma.now()
        assert run is not None, "started without a reservation"  # noqa: S101 - the port must tell its witness
        look_at = now.at + self._alma.patience.look_first

        def accept(book: Book) -> None:
            book.move(run, Event.ACCEPT, instance_id=instance_id, latest_start=now.latest, look_at=look_at)

        self._alma.tell(accept, key=self.key)
        return Started(job_id=job_id, instance_id=instance_id, name=self.name, submitted_at=now.at)


def _mark(job_id: str, key: str | None) -> str:
    if key is None:
        return secrets.token_hex(8)
    return hashlib.blake2b(f"{job_id}\0{key}".encode(), digest_size=8).hexdigest()


def refusal(decision: WaitUntil, attempt: Attempt) -> AlmaError:
    """Why a start that may not wait is not made: with Alma's own words, where it was Alma that refused."""
    told = attempt.told
    facts: dict[str, Any] = {} if told is None else {"errors": told.errors, "status": told.status}
    facts["retry_at"] = _utc(attempt.look_again if decision.moment == math.inf else decision.moment)
    if decision.why is Why.OVERLAP:
        return JobOverlap(f"Job {attempt.job_id} overlaps with a running job.", **facts)
    message = f"No start of job {attempt.job_id} is free ({decision.why.value})."
    return JobThresholdReached(message, **facts)


def unknown(run: Run, strangers: Iterable[Run]) -> OutcomeUnknown:
    """A run whose fate stayed unknown. Scheduled jobs take no name (seen): then it may be one of the ``strangers``."""
    listed = ", ".join(f"{each.instance_id} ({_utc(each.latest_start):%H:%M:%S} UTC)" for each in strangers)
    since = f" since {_utc(run.reserved_at):%Y-%m-%d %H:%M:%S} UTC"
    others = f", but these of the API under other names: {listed}" if listed else ""
    return OutcomeUnknown(
        f"It is unknown whether job {run.job_id} was started: its answer was lost, and Alma lists no run named "
        f"{run.name!r}{since}{others}.",
        advice="Look among the job's runs; only if it is not there, submit the job anew (under a new key).",
    )


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
