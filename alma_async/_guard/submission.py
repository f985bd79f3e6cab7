"""One intent to start a job: its unique name, and the witness of each send of it.

The reservation is made at the last moment, when the governor has granted the send and before its
first byte, so none grows old in a queue. What became of it is queued for the ledger in the same
step of the event loop in which it is learned, and written by the ledger's next transaction, before
the submission ends in whatever way. Where that fails, the reservation stays and the run is searched
for by its name. A submission that is cancelled while its reservation is being written takes it
back.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from alma_async._guard import rules
from alma_async._guard.monitor import Monitor
from alma_async._guard.rules import Decision, Go, WaitUntil
from alma_async._guard.server_clock import ServerTime
from alma_async._guard.state import UNRESOLVED, Book, Run, RunEvent, RunState, Waiter, Why
from alma_async._http.outcome import Done, Failed, Outcome, OutcomeClass, Reason
from alma_async.errors import AlmaError, InvalidRequest, JobOverlap, JobThresholdReached, OutcomeUnknown

__all__ = ["JOB_NAME", "NotYet", "Started", "Submission", "not_free", "unknown", "utc"]

JOB_NAME: Final = "job_name"  # the parameter by which manual jobs take the name of a run (recorded)
_NOT_SENT: Final = Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.CANCELLED)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Started:
    """A run that Alma accepted. ``submitted_at`` is the server's time in seconds since 1970.

    ``adopted``: not this submission started it, but an earlier one, under the same key or of
    unknown outcome. ``name`` is empty where the job takes none.
    """

    job_id: str
    instance_id: str
    name: str
    submitted_at: float
    adopted: bool = False


class NotYet(Exception):
    """The reservation was not granted, and nothing was sent."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision


class Submission:
    """One intent, and the witness of each of its sends. ``key`` is the caller's name for it; without one it
    is random.

    ``named``: whether the run is given a name that occurs once, by which it is found again.
    """

    def __init__(
        self,
        monitor: Monitor,
        job_id: str,
        parameters: Mapping[str, str],
        key: str | None,
        *,
        named: bool = True,
    ) -> None:
        self.job_id = job_id
        self.keyed: bool = key is not None
        self.key: str = mark(job_id, key)
        self.name: str = run_name(parameters, self.key) if named and monitor.port.names(job_id) else ""
        self.parameters: dict[str, str] = dict(parameters)
        if self.name or not monitor.port.names(job_id):
            self.parameters.pop(JOB_NAME, None)
        self.digest: str = digest_of(parameters)
        self._monitor = monitor
        self._run: Run | None = None
        self._started: str | None = None  # the instance id that Alma answered
        self.rejection: AlmaError | None = None  # Alma's, for a caller who does not wait
        self.waiter: Waiter = Waiter(key=self.key, job_id=job_id, since=monitor.arrival(), until=0.0)

    async def intend(self, deadline: float) -> None:
        """Reserve: read, decide and write in one transaction.

        :raises NotYet: where no start is free any more.
        """
        monitor, granted = self._monitor, list[Run]()

        def reserve(book: Book, now: ServerTime) -> Decision:
            latest = monitor.at(deadline).latest
            run = Run(
                key=self.key,
                job_id=self.job_id,
                name=self.name,
                state=RunState.RESERVED,
                reserved_at=now.earliest,
                latest_start=latest + monitor.timing.quarantine,
                poll_at=latest,
                usual=monitor.usual(self.job_id),
                parameters=self.digest,
            )
            limits, timing = monitor.limits, monitor.timing
            decision = rules.reserve(book, run, self.waiter, now=now, limits=limits, timing=timing)
            granted[:] = [run] if isinstance(decision, Go) else []
            return decision

        try:
            decision = await monitor.update(reserve, key=self.key, at_once=True)
        except BaseException:
            if granted:  # it may be written all the same: the thread ends before a cancellation goes on
                self._run = granted[0]
                self.settle(_NOT_SENT)
            raise
        if not granted:
            raise NotYet(decision)
        self._run = granted[0]

    def settle(self, outcome: Outcome) -> None:
        """Record what became of the send. A good answer waits for the ids in it, which come in the
        next step.
        """
        run, monitor = self._run, self._monitor
        if run is None or isinstance(outcome, Done):
            return
        monitor.update_soon(
            lambda book, now: rules.settle(book, run, outcome, now=now, timing=monitor.timing), key=self.key
        )

    def accepted(self, job_id: str, instance_id: str) -> Started:
        """Record the run that the answer names."""
        run, monitor = self._run, self._monitor
        assert run is not None, "started without a reservation"  # noqa: S101 - the port must call its witness

        def accept(book: Book, now: ServerTime) -> None:
            poll_at = now.at + monitor.timing.next_poll(0.0, run.usual)
            book.move(run, RunEvent.ACCEPT, instance_id=instance_id, latest_start=now.latest, poll_at=poll_at)

        monitor.update_soon(accept, key=self.key)
        self._started = instance_id
        submitted = monitor.alma_time(monitor.now().at)
        return Started(job_id=job_id, instance_id=instance_id, name=self.name, submitted_at=submitted)

    async def leave(self, *, cancelled: bool = False) -> None:
        """Write what became of the sends, and leave the queue. A start of unknown outcome is
        marked, for a submission that repeats this one.

        :param cancelled: whether the caller gets neither run nor error, as it does where it is
            cancelled while this is written; then the log names them.
        """
        left: list[Run] = []

        def leave(book: Book, _: ServerTime) -> None:
            book.leave(self.key)
            run = book.runs.get(self.key)
            if self._run is not None and run is not None and run.state in UNRESOLVED:
                book.runs[self.key] = attrs.evolve(run, reported=True)
                left.append(run)

        self._monitor.update_soon(leave, key=self.key)
        try:
            await self._monitor.flush()
        except BaseException:
            cancelled = True
            raise
        finally:
            if cancelled and left:
                self._monitor.warn_of(left[0])
            elif cancelled and self._started is not None:
                self._monitor.warn_of_started(self.job_id, self._started)

    def check(self, run: Run) -> None:
        """:raises InvalidRequest: where the run under this key was given other parameters."""
        name = f"{run.instance_id or repr(run.name)} of job {run.job_id}"
        if run.parameters:
            require_same(name, run.parameters, self.digest)
        # found in Alma's list: its name says whether they differ, not in what
        elif _in_name(run.name) not in (None, _short(self.digest)):
            raise _differ(name, "its name says so, not which")


def require_same(run: str, before: str, now: str) -> None:
    """Compare two digests of parameters; one that is "" is not known.

    :raises InvalidRequest: where they are not those of the same parameters.
    """
    if before and (differences := _differences(before, now)):
        raise _differ(run, ", ".join(differences))


def _differ(run: str, differences: str) -> InvalidRequest:
    return InvalidRequest(
        f"The key was used before, for run {run}, with other parameters: {differences}.",
        advice="Give another key for another run; nothing was sent.",
    )


def mark(job_id: str, key: str | None) -> str:
    """Identifies an intent: the same for the same key on every machine."""
    if key is None:
        return secrets.token_hex(8)
    return hashlib.blake2b(f"{job_id}\0{key}".encode(), digest_size=8).hexdigest()


def run_name(parameters: Mapping[str, str], mark: str) -> str:
    """The mark comes last and has a fixed length, so no such name is the beginning of another.

    A digest of the parameters stands before it, for whoever finds the run without the ledger.
    """
    return f"{parameters.get(JOB_NAME) or 'alma-async'} {_short(digest_of(parameters))} {mark}"


def _short(digest: str) -> str:
    return hashlib.blake2b(digest.encode(), digest_size=4).hexdigest()


def _in_name(name: str) -> str | None:
    """The digest of the parameters in a run's name; None where it has none."""
    found = re.search(r" ([0-9a-f]{8}) [0-9a-f]{16}$", name)
    return found[1] if found else None


def digest_of(parameters: Mapping[str, str]) -> str:
    """Shows which parameter differs, and not its value. The name of a run is not compared."""
    digests = {
        name: hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        for name, value in parameters.items()
        if name != JOB_NAME
    }
    return json.dumps(digests, sort_keys=True)


def _differences(then: str, now: str) -> list[str]:
    before, after = json.loads(then), json.loads(now)
    said = {(True, True): "another value", (True, False): "only then", (False, True): "only now"}
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{name} ({said[name in before, name in after]})" for name in names]


def not_free(decision: WaitUntil, submission: Submission, monitor: Monitor) -> AlmaError:
    """Why a start that does not wait is not made; with Alma's errors, where Alma rejected it."""
    said = submission.rejection
    facts: dict[str, Any] = {} if said is None else {"errors": said.errors, "status": said.status}
    facts |= {"retry_at": utc(monitor.civil(decision.worth_asking_at)), "firm": decision.firm}
    facts["advice"] = "Let the submission wait for it, or submit it again then."
    if decision.why is Why.OVERLAP:
        return JobOverlap(f"Job {submission.job_id} overlaps with a running job.", **facts)
    message = f"No start of job {submission.job_id} is free ({decision.why.value})."
    return JobThresholdReached(message, **facts)


def unknown(
    run: Run, strangers: Iterable[Run], monitor: Monitor, failure: AlmaError | None, *, sought: bool
) -> OutcomeUnknown:
    """The error for a run of unknown outcome. Scheduled jobs take no name (seen): then it may be
    one of the ``strangers``.

    ``sought``: whether a list was read since that does not have it.
    """
    listed = ", ".join(f"{each.instance_id} ({_clock(monitor, each.latest_start)} UTC)" for each in strangers)
    named = f" named {run.name!r}" if run.name else ""
    since = f" since {utc(monitor.civil(run.reserved_at)):%Y-%m-%d %H:%M:%S} UTC"
    others = f", but these of the API under other names: {listed}" if listed else ""
    why = "its answer was lost"
    if failure is not None and failure.effect == "done":
        why = "Alma accepted it, in an answer that names no run"
    elif failure is not None and failure.errors:
        why = f"Alma answered {failure.errors[0].message or failure.code!r}"
    advice = "Search the job's runs; only if it is not there, submit the job anew (under a new key)."
    still, seen = "", f"Alma lists no run{named}{since}{others}"
    if not sought:
        seen = f"the deadline passed before it was searched for (its run would be{named or ' one'}{since})"
    if run.state in UNRESOLVED:
        until = _clock(monitor, run.latest_start)
        still = f" It may still appear until {until} UTC."
        advice = (
            f"Search the job's runs after {until} UTC. The same submission, made again without a key or under the same "
            "one, waits for this run and does not start another."
        )
    return OutcomeUnknown(
        f"It is unknown whether job {run.job_id} was started: {why}, and {seen}.{still}",
        advice=advice,
        errors=() if failure is None else failure.errors,
        status=None if failure is None else failure.status,
    )


def _clock(monitor: Monitor, moment: float) -> str:
    return f"{utc(monitor.civil(moment)):%H:%M:%S}"


def utc(moment: float) -> datetime:
    """A moment as a datetime, within what one can hold."""
    try:
        return datetime.fromtimestamp(max(moment, 0.0), UTC)
    except (ValueError, OverflowError, OSError):
        return _LAST
