"""Jobs: what each call on `/conf/jobs…` does to the world, or why it is rejected.

Decides which submission becomes a run, by the thresholds of jobs too; leaves the course of a run to `job_runs`. Documented:
the codes of each call, `op=run`, `ALL` in place of a job id, 3 running jobs that the API started, 5 starts of one job in the
previous hour, codes 402222 and 402223 without saying which is which (hence a switch). Inferred: the order of the checks, the
members of matches and events, that a run on a set that is not there fails, that only jobs of category USERS keep events, that
a run counts as running from its submission to its end, and that a start of exactly an hour ago no longer counts.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from alma_async.sim.answers import XML, Answer, Page, day_of, local_time_of
from alma_async.sim.bibs import as_binary, as_xml
from alma_async.sim.codes import TABLES, Rejection
from alma_async.sim.config import Config
from alma_async.sim.electronic import Portfolios
from alma_async.sim.fields import Json, is_date, members, plain
from alma_async.sim.job_runs import BY_API, Job, Run, Runs, is_job_id
from alma_async.sim.queries import choice
from alma_async.sim.records import Records
from alma_async.sim.sets import Sets
from alma_async.sim.tally import busiest

__all__ = ["Jobs", "most_running", "most_starts", "starts", "threshold"]

_ROUNDING = 1e-6
"""Starts exactly a window apart share none, whichever way their stamps were rounded."""


def threshold(job: Job, runs: Iterable[Run], config: Config, *, now: float) -> str | None:
    """The code that a submission is rejected with now, if any."""
    runs = list(runs)
    running, starts = _codes(config, now)
    if sum(run.by_api and not run.ended(now) for run in runs) >= config.jobs_running:
        return running
    counted = (run for run in runs if run.job.id == job.id and (run.by_api or config.ui_starts_count))
    recent = sum(run.submitted_at > now - (config.job_window - _ROUNDING) for run in counted)
    return starts if recent >= config.job_starts else None


def _codes(config: Config, now: float) -> tuple[str, str]:
    """The code for too many running jobs, and that for too many starts."""
    codes = ("402222", "402223")
    if config.running_code == "either":
        rng = random.Random(f"{config.seed}:{now}")
        return rng.choice(codes), rng.choice(codes)
    return codes if config.running_code == "402222" else codes[::-1]


def most_running(runs: Iterable[Run]) -> int:
    """The most runs started by the API that ever ran at once; one that ends makes room for one that starts then."""
    changes = sorted(
        change for run in runs if run.by_api for change in ((run.submitted_at, 1), (run.ends_at, -1))
    )
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def starts(runs: Iterable[Run]) -> dict[str, list[float]]:
    """When the API started each job."""
    stamps: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.by_api:
            stamps[run.job.id].append(run.submitted_at)
    return {job_id: sorted(of_job) for job_id, of_job in stamps.items()}


def most_starts(runs: Iterable[Run], config: Config) -> dict[str, int]:
    """The most starts of each job in any hour (or whatever the window is)."""
    window = config.job_window - _ROUNDING
    return {job_id: busiest(stamps, window=window) for job_id, stamps in starts(runs).items()}


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}Z?", re.ASCII)
_ANY_JOB = "ALL"
_FILLING = Job(id="M21", name="Fill a set", category="REPOSITORY", submittable=False)


@attrs.define
class Jobs:
    """The jobs of the institution by id, and their runs."""

    _records: Records
    _sets: Sets
    _portfolios: Portfolios
    runs: Runs
    _began: Callable[[Run], object]
    """Called with every run, whoever started it."""
    all: dict[str, Job] = attrs.field(factory=dict, init=False)
    rejected: Counter[str] = attrs.field(factory=Counter, init=False)
    """Submissions rejected by a threshold or an overlap, by code."""
    _changing: list[Run] = attrs.field(factory=list, init=False)
    """Runs that will change portfolios when they end."""

    def add(self, job: Job) -> Job:
        self.all[job.id] = job
        return job

    def list(self, query: Mapping[str, str]) -> Json:
        page = Page.asked(query)
        kind = choice(query, "type", TABLES["job_type"])
        category = choice(query, "category", TABLES["job_category"])
        profile = query.get("profile_id", "")
        found = [
            job
            for job in self.all.values()
            if kind in ("", job.type) and category in ("", job.category) and profile in ("", job.profile_id)
        ]
        return page.envelope("job", (job.answer() for job in page.cut(found)), total=len(found))

    def get(self, job_id: str) -> Json:
        return self._known(job_id).answer()

    def run(self, job_id: str, query: Mapping[str, str], sent: Json, *, now: float) -> Json:
        """Submit a job: the job again, with the parameters and a link to the run."""
        job = self._known(job_id)
        _check_operation(query.get("op", ""))
        if not job.submittable:
            raise Rejection("402248")
        if job.tasks > 1:
            raise Rejection("402231")
        parameters = _parameters(sent)
        _check_mandatory(job, dict(parameters))
        self._check_limits(job, now)
        run = self._start(job, now, parameters=parameters)
        return _submitted(run)

    def start_by_others(
        self, job_id: str, *, now: float, submitted_by: str = "ui_user", duration: float | None = None
    ) -> Run:
        """A run that no call of ours started: a person's, the schedule's (`System`), another integration's (`exl_api`)."""
        return self._start(self.all[job_id], now, submitted_by=submitted_by, duration=duration)

    def fill(self, now: float) -> Run:
        """The run that fills a set which is made of others."""
        self.all.setdefault(_FILLING.id, _FILLING)
        duration = self._records.config.set_fill_delay
        return self.start_by_others(_FILLING.id, now=now, submitted_by="System", duration=duration)

    def instances(self, job_id: str, query: Mapping[str, str], *, now: float) -> Json:
        self._known(job_id)
        page = Page.asked(query)
        since = _day(query.get("submit_date_from", "")) or "0000"
        until = _day(query.get("submit_date_to", "")) or "9999"
        status = choice(query, "status", TABLES["job_status"])
        found = [
            run
            for run in self.runs.known()
            if run.job.id == job_id and self._kept(run, now)
            if since <= day_of(run.submitted_at)[:10] <= until and status in ("", run.status(now))
            if now - run.submitted_at >= self._records.config.list_lag
        ]
        return page.envelope("job_instance", (run.answer(now) for run in page.cut(found)), total=len(found))

    def instance(self, job_id: str, instance_id: str, *, now: float) -> Json:
        return self._run_of(job_id, instance_id, now).answer(now)

    def events(self, job_id: str, instance_id: str, page: Page, *, now: float) -> Json:
        """The rejected entries of a run of the student information system."""
        run = self._run_of(job_id, instance_id, now)
        if run.job.category != "USERS":
            raise Rejection("60332")
        listed = run.job.events if run.ended(now) else ()
        return page.envelope("event", page.cut(listed), total=len(listed))

    def matches(self, job_id: str, instance_id: str, query: Mapping[str, str], *, now: float) -> Json:
        run = self._run_of(job_id, instance_id, now)
        page = Page.asked(query)
        population = query.get("population", "")
        if population not in ("SINGLE_MATCHES", "MULTI_MATCHES"):
            raise Rejection("40166410", "population")
        listed = run.job.matches.get(population, ()) if run.ended(now) else ()
        return page.envelope("match", page.cut(listed), total=len(listed))

    def download(self, job_id: str, instance_id: str, query: Mapping[str, str], *, now: float) -> Answer:
        """The file with the loaded records of an import."""
        run = self._run_of(job_id, instance_id, now)
        if run.job.imports is None:
            raise Rejection("402218", "Not an MD import.")
        population = query.get("line_type") or "TOTAL_RECORDS_IMPORTED"
        bibs = filter(None, map(self._records.bibs.find, run.populations(now).get(population, ())))
        if query.get("download_format") == "BINARY":
            return Answer(body=as_binary(bibs), content_type="application/marc")
        return Answer(body=as_xml(bibs), content_type=XML)

    def settle(self, now: float) -> None:
        """Have done what runs that have ended by now did to portfolios."""
        for run in sorted((run for run in self._changing if run.ended(now)), key=lambda run: run.ends_at):
            self._changing.remove(run)
            wanted = run.job.change(dict(run.parameters)) if run.job.change else {}
            rng = random.Random(f"{self._records.config.seed}:{run.id}:leaves")
            for one in run.members:
                if rng.random() >= run.job.leaves:
                    self._portfolios.change(one, wanted)

    def summary(self) -> Json:
        """What `GET /_sim/stats` answers about jobs: the API's own starts, and what was rejected."""
        return {
            "starts": starts(self.runs),
            "most_running": most_running(self.runs),
            "most_starts": most_starts(self.runs, self._records.config),
            "rejected_starts": dict(self.rejected),
        }

    def dump(self, *, now: float) -> Iterator[Json]:
        """Each run whole, with its parameters."""
        for run in self.runs:
            yield run.answer(now) | {"parameter": _echo(run)}

    def _known(self, job_id: str) -> Job:
        if not is_job_id(job_id):
            raise Rejection("402215", job_id)
        if job_id not in self.all:
            raise Rejection("402216", job_id)
        job = self.all[job_id]
        if job.type == "SCHEDULED" and job.category not in TABLES["job_category"]:
            raise Rejection("402249", job.category)
        return job

    def _run_of(self, job_id: str, instance_id: str, now: float) -> Run:
        if job_id != _ANY_JOB:
            self._known(job_id)
        run = self.runs.find(instance_id)
        if job_id not in (_ANY_JOB, run.job.id) or not self._kept(run, now):
            raise Rejection("402218", instance_id)
        return run

    def _kept(self, run: Run, now: float) -> bool:
        kept = self._records.config.runs_kept
        return kept is None or now < run.ends_at + kept

    def _check_limits(self, job: Job, now: float) -> None:
        runs = self.runs.known()
        code = threshold(job, runs, self._records.config, now=now)
        if code is None and any(run.job.id in job.overlaps and not run.ended(now) for run in runs):
            code = "60347"
        if code is not None:
            self.rejected[code] += 1
            raise Rejection(code)

    def _start(
        self,
        job: Job,
        now: float,
        *,
        parameters: tuple[tuple[str, str], ...] = (),
        submitted_by: str = BY_API,
        duration: float | None = None,
    ) -> Run:
        given, run_id = dict(parameters), self._records.created("95")
        rng = random.Random(f"{self._records.config.seed}:{run_id}")
        drawn = job.duration(rng) if callable(job.duration) else job.duration
        end = rng.choices([*job.ends], [*job.ends.values()])[0]
        records: int | None = job.records
        members: Sequence[str] = ()
        if "set_id" in given:
            held = self._sets.held_by(given["set_id"], now=now)
            records, members = (None, ()) if held is None else (len(held), held)
        run = Run(
            id=run_id,
            job=job,
            name=self._name(job, given.get("job_name", ""), now),
            parameters=parameters,
            submitted_by=submitted_by,
            submitted_at=now,
            duration=drawn if duration is None else duration,
            end="FAILED" if records is None else end,
            records=records or 0,
            members=members if job.change else (),
        )
        if run.members and run.end != "FAILED":
            self._changing.append(run)
        self._began(self.runs.add(run))
        return run

    def _name(self, job: Job, wanted: str, now: float) -> str:
        at = local_time_of(now, utc_offset=self._records.config.utc_offset)
        return f"{wanted} - {at}" if wanted else job.name


def _day(value: str) -> str:
    if value and (_DAY.fullmatch(value) is None or not is_date(value[:10])):
        raise Rejection("402217", value)
    return value[:10]


def _check_operation(operation: str) -> None:
    if not operation:
        raise Rejection("402220")
    if operation != "run":
        raise Rejection("402221", operation)


def _parameters(sent: Json) -> tuple[tuple[str, str], ...]:
    listed = sent.get("parameter") or []
    listed = [listed] if isinstance(listed, dict) else listed
    return tuple((plain(members(one).get("name")), plain(members(one).get("value"))) for one in listed)


def _check_mandatory(job: Job, given: Mapping[str, str]) -> None:
    for name in job.mandatory:
        if name not in given:
            raise Rejection("402228", name)
        if not given[name]:
            raise Rejection("402229", name)


def _echo(run: Run) -> list[Json]:
    return [{"name": {"value": name}, "value": value} for name, value in run.parameters]


def _submitted(run: Run) -> Json:
    return run.job.answer() | {"parameter": _echo(run), "additional_info": run.reference()}
