"""A job, one run of it, and what a run is doing at any moment.

Decides state, progress, counters and outcome of a run from `now` alone: everything else was drawn when it was submitted, so
that no task has to live with it. Recorded: the fields, counters as texts that need not be numbers, a progress above 100, a
success that failed on every record, `exl_api` as submitter, the name (`job_name`, a dash, local time). Known from
public clients: the states, and a progress of 0 on FAILED. Inferred: how long each state lasts; that counters come at the end;
that what a job does to the members of its set shows at its end, all at once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import formatdate
from itertools import accumulate
from typing import Any

import attrs

from alma_async.sim.answers import day_of, moment_of
from alma_async.sim.codes import TABLES, Rejection
from alma_async.sim.fields import ROOT, Json

__all__ = ["BY_API", "Counter", "Job", "Run", "Runs", "submitter"]

JOBS = f"{ROOT}/conf/jobs"
BY_API = "exl_api"

_TYPES = {"M": "MANUAL", "S": "SCHEDULED", "O": "OTHER"}
_JOB_ID = re.compile(r"[MSO][0-9]+", re.ASCII)
_SUBMITTERS = {BY_API: "Ex Libris, API", "System": None}
_ALERTS = {
    "COMPLETED_SUCCESS": (
        "alert_general_success",
        "The job completed successfully. The report has the details.",
    ),
    "COMPLETED_WARNING": (
        "alert_general_warning",
        "The job completed with warnings. The report has the details.",
    ),
    "COMPLETED_FAILED": ("alert_general_error", "The job completed with errors. The report has the details."),
}


def is_job_id(value: str) -> bool:
    return _JOB_ID.fullmatch(value) is not None


def _well_formed(_job: object, _field: object, value: str) -> None:
    if not is_job_id(value):
        raise ValueError(f"A job id is M, S or O and digits, not {value!r}.")


def submitter(value: str) -> Json:
    """Who made or started something; the system itself has no description."""
    desc = _SUBMITTERS.get(value, value)
    return {"value": value} if desc is None else {"value": value, "desc": desc}


def coded(table: str, value: str) -> Json:
    """A value with its description; what the table does not know, Alma may have learnt since."""
    return {"value": value, "desc": TABLES[table].get(value) or value.replace("_", " ").capitalize()}


@attrs.frozen
class Counter:
    """One line of a run's report: a share of its records, or a text of its own."""

    type: str
    desc: str
    share: float = attrs.field(default=1.0, kw_only=True)
    text: str | None = attrs.field(default=None, kw_only=True)

    def line(self, records: int) -> Json:
        value = str(round(self.share * records)) if self.text is None else self.text
        return {"type": {"value": self.type, "desc": self.desc}, "value": value}


@attrs.frozen(kw_only=True)
class Job:
    """What can be run, and how its runs go."""

    id: str = attrs.field(validator=_well_formed)
    name: str
    description: str = ""
    category: str
    content: str = ""
    profile_id: str = ""
    details: Mapping[str, Any] = attrs.field(factory=dict)
    """Further members of the answer, such as `schedule` or `next_run`."""
    mandatory: Sequence[str] = ()
    """Names of the parameters that a submission must carry."""
    tasks: int = 1
    submittable: bool = True
    overlaps: frozenset[str] = frozenset()
    """Ids of jobs (its own, for instance) that must not be running when it starts."""
    duration: float | Callable[[random.Random], float] = 300.0
    stages: Sequence[tuple[str, float]] = (
        ("QUEUED", 0.05),
        ("INITIALIZING", 0.05),
        ("RUNNING", 0.85),
        ("FINALIZING", 0.05),
    )
    """The states before the end, each with its share of the duration; a run has started when the first is over."""
    ends: Mapping[str, float] = {"COMPLETED_SUCCESS": 1.0}
    """The states at the end, each with its weight."""
    progress: float = 100.0
    """What the progress comes to; 101.3 was recorded."""
    records: int = 0
    """How many records a run treats if it is not given a set."""
    counters: Sequence[Counter] = (Counter("label.processed.records", "Records processed"),)
    imports: Mapping[str, Sequence[str]] | None = None
    """Of an MD import: which records make up each population."""
    matches: Mapping[str, Sequence[Json]] = attrs.field(factory=dict)
    events: Sequence[Json] = ()
    change: Callable[[Mapping[str, str]], Json | None] | None = None
    """From the parameters: what it sets in each portfolio of its set; None where it deletes them. The names of real jobs'
    parameters are not public: these are the simulator's own."""
    leaves: float = 0.0
    """The share of the portfolios that it leaves as they are: it failed on them."""

    @property
    def type(self) -> str:
        return _TYPES[self.id[0]]

    @property
    def link(self) -> str:
        return f"{JOBS}/{self.id}"

    def answer(self) -> Json:
        profile = f"{ROOT}/conf/md-import-profiles/{self.profile_id}"
        more = {
            "content": {"value": self.content, "desc": self.content} if self.content else None,
            "related_profile": {"value": self.profile_id, "link": profile} if self.profile_id else None,
        }
        return {
            "id": self.id,
            "name": self.name,
            "description": self.description or self.name,
            "type": coded("job_type", self.type),
            "category": coded("job_category", self.category),
            **{member: value for member, value in more.items() if value is not None},
            **self.details,
            "link": self.link,
        }

    def reference(self) -> Json:
        """The job as its instances name it."""
        whole = self.answer()
        return {member: whole[member] for member in ("id", "name", "description", "type", "category", "link")}


@attrs.frozen(kw_only=True)
class Run:
    """One run of a job: what was drawn when it was submitted."""

    id: str
    job: Job
    name: str
    parameters: Sequence[tuple[str, str]] = ()
    submitted_by: str = BY_API
    submitted_at: float
    duration: float
    end: str
    records: int
    members: Sequence[str] = ()
    """What the set held when it was submitted."""

    @property
    def by_api(self) -> bool:
        return self.submitted_by == BY_API

    @property
    def ends_at(self) -> float:
        return self.submitted_at + self.duration

    def ended(self, now: float) -> bool:
        return now >= self.ends_at

    def reference(self) -> Json:
        """The run as the answer to its start names it."""
        triggered = formatdate(self.submitted_at, usegmt=True)
        return {
            "value": f"Job no. {self.id} triggered on {triggered}",
            "link": f"{self.job.link}/instances/{self.id}",
        }

    def status(self, now: float) -> str:
        if self.ended(now):
            return self.end
        shares = accumulate(share for _, share in self.job.stages)
        over = sum(now >= self.submitted_at + share * self.duration for share in shares)
        return self.job.stages[min(over, len(self.job.stages) - 1)][0]

    def progress(self, now: float) -> float:
        if self.end == "FAILED":
            return 0.0
        share = 1.0 if self.ended(now) else max(0.0, now - self.submitted_at) / self.duration
        return round(share * self.job.progress, 1)

    def populations(self, now: float) -> Mapping[str, Sequence[str]]:
        """What an import has brought; nothing before it has ended."""
        return (self.job.imports or {}) if self.ended(now) else {}

    def answer(self, now: float) -> Json:
        """The job instance; what does not apply yet is left out, as in answers of 2025."""
        started = self.submitted_at + self.job.stages[0][1] * self.duration
        more: Json = {"start_time": moment_of(started)} if now >= started else {}
        if self.ended(now):
            more["end_time"] = moment_of(self.ends_at)
        return {
            "id": self.id,
            "external_id": f"{int(self.id) + 3}",
            "name": self.name,
            "submitted_by": submitter(self.submitted_by),
            "submit_time": moment_of(self.submitted_at),
            **more,
            "progress": self.progress(now),
            "status": coded("job_status", self.status(now)),
            "status_date": day_of(min(now, self.ends_at)),
            **(self._report(now) if self.ended(now) else {}),
            "job_info": self.job.reference(),
            "link": f"{self.job.link}/instances/{self.id}",
        }

    def _report(self, now: float) -> Json:
        value, desc = _ALERTS.get(self.end, ("alert_general_failure", "The job did not complete."))
        actions = [
            {
                "link": f"{ROOT}/conf/sets?job_instance_id={self.id}&population={population}",
                "type": {"value": "CREATE_SET", "desc": "Create set"},
                "population": {"value": population, "desc": population.replace("_", " ").capitalize()},
                "members": len(ids),
            }
            for population, ids in self.populations(now).items()
        ]
        lines = [counter.line(self.records) for counter in self.job.counters]
        report = {"alert": [{"value": value, "desc": desc}], "counter": lines, "action": actions}
        return {member: listed for member, listed in report.items() if listed}


@attrs.define
class Runs:
    """All runs that there ever were, in the order in which they were submitted, and those that are still known."""

    _by_id: dict[str, Run] = attrs.field(factory=dict, init=False)
    _purged: set[str] = attrs.field(factory=set, init=False)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._by_id.values())

    def add(self, run: Run) -> Run:
        self._by_id[run.id] = run
        return run

    def purge(self, instance_id: str) -> None:
        """Know this run no more, though it may not have ended."""
        self._purged.add(instance_id)

    def known(self) -> list[Run]:
        return [run for run in self if run.id not in self._purged]

    def find(self, instance_id: str) -> Run:
        if instance_id not in self._by_id or instance_id in self._purged:
            raise Rejection("402218", instance_id)
        return self._by_id[instance_id]
