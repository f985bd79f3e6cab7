"""The simulated institution: its objects, what it has received, and what it has spent of its thresholds.

Decides nothing by itself; each area of the institution is a part of its own (`electronic`, `portfolios`, `sets`, `jobs`),
events on their way out are `webhooks`, and the gateway's limits are `thresholds`. Knows no web and no clock: `now` is a
parameter, in seconds of the simulated wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from alma_async.sim.analytics import Analytics
from alma_async.sim.bibs import Bib, Bibs
from alma_async.sim.codes import TABLES
from alma_async.sim.config import Config
from alma_async.sim.electronic import Electronic, Portfolios
from alma_async.sim.fields import Json, Reading
from alma_async.sim.job_runs import Counter, Job, Runs
from alma_async.sim.jobs import Jobs
from alma_async.sim.records import Records, object_id
from alma_async.sim.sets import Holdings, Sets
from alma_async.sim.tally import Tally
from alma_async.sim.thresholds import Thresholds
from alma_async.sim.webhooks import Webhooks

__all__ = ["DEMO_COLLECTION", "DEMO_IMPORT", "DEMO_JOB", "DEMO_SERVICE", "INSTITUTION", "World"]

INSTITUTION = "01SIM_INST"
DEMO_COLLECTION = object_id("61", 1)
DEMO_SERVICE = object_id("62", 2)
DEMO_JOB = "M50"
DEMO_IMPORT = "S4711"


@attrs.define
class World:
    """One institution. `plant` puts in what is there from the start, and again after a reset."""

    config: Config = attrs.field(factory=Config)
    known: Mapping[str, frozenset[str]] = attrs.field(factory=dict, kw_only=True)
    """Codes that exist (`library`, `license`, `po_line`, `proxy`, ...); of a kind left out, every plausible one does."""
    plant: Callable[[World], object] = attrs.field(default=lambda _world: None, kw_only=True)
    analytics: Analytics = attrs.field(init=False)
    bibs: Bibs = attrs.field(init=False)
    tally: Tally = attrs.field(init=False)
    thresholds: Thresholds = attrs.field(init=False)
    electronic: Electronic = attrs.field(init=False)
    portfolios: Portfolios = attrs.field(init=False)
    sets: Sets = attrs.field(init=False)
    jobs: Jobs = attrs.field(init=False)
    webhooks: Webhooks = attrs.field(factory=Webhooks, init=False)
    _records: Records = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reset()

    @classmethod
    def demo(cls, config: Config | None = None) -> World:
        """One selective package with one full-text service and a few jobs, under ids that never change."""
        return cls(config or Config(), plant=_plant_demo)

    def reset(self) -> None:
        """Back to the start: objects, counts and what was spent."""
        self.tally = Tally()
        self.analytics = Analytics()
        self.bibs = Bibs()
        self._records = Records(bibs=self.bibs, tally=self.tally, reading=Reading(), config=self.config)
        self.electronic = Electronic(self._records)
        self.portfolios = Portfolios(self._records, self.electronic)
        runs = Runs()
        holdings = Holdings(self._records, self.electronic, self.portfolios)
        self.sets = Sets(self._records, self.portfolios, runs, holdings)
        self.jobs = Jobs(self._records, self.sets, self.portfolios, runs, self.webhooks.began)
        self.sets.filling = self.jobs.fill
        self.webhooks.reset()
        self.thresholds = Thresholds()
        self.configure(self.config)
        self.plant(self)
        self.tally.created.clear()  # what was planted was not received

    def configure(self, config: Config) -> None:
        """Live by other switches from now on; objects, counts and the day's use stay."""
        self.config = config
        self.bibs.known_only = config.require_known_bibs
        self._records.config = config
        self._records.reading = Reading(known=self.known, months_as_objects=config.months_as_objects)
        self.thresholds = Thresholds.of(config, before=self.thresholds)

    def draw(self, calls: int) -> None:
        """Let other integrations of the institution spend so many calls."""
        self.thresholds.draw(calls)

    def add_bib(self, mms_id: str, title: str, *, author: str = "", issn: str = "", **more: Any) -> Bib:
        """Put a title in; ``more`` are further members of `Bib`."""
        if issn:
            self.sets.holdings.identifiers["ISSN", issn] = mms_id
        return self.bibs.add(Bib(mms_id, title=title, author=author, issn=issn, **more))

    def summary(self) -> Json:
        """What `GET /_sim/stats` answers."""
        return self.tally.summary() | {
            "remaining": self.thresholds.remaining,
            "others": dict(self.thresholds.others),
            "portfolios": len(self.portfolios.all),
            "duplicates": self.portfolios.duplicates(),
            "jobs": self.jobs.summary(),
        }


def _plant_demo(world: World) -> None:
    collection = {"public_name": "Simulated Journals", "type": {"value": "0"}, "is_local": True}
    service = {"type": {"value": "getFullTxt"}, "activation_status": {"value": "11"}, "is_local": True}
    world.electronic.create_collection(collection)
    world.electronic.create_service(DEMO_COLLECTION, service)
    for job in _DEMO_JOBS:
        world.jobs.add(job)


def _set_availability(given: Mapping[str, str]) -> Json:
    """What the demonstration's job sets: the availability, where the parameter `task_availability` names one."""
    code = given.get("task_availability", "")
    return {"availability": {"value": code, "desc": TABLES["availability"][code]}} if code else {}


_DEMO_JOBS = (
    Job(
        id=DEMO_JOB,
        name="Change electronic portfolios",
        category="PORTFOLIO",
        content="PORTFOLIO",
        mandatory=("set_id",),
        duration=lambda rng: rng.uniform(60.0, 600.0),
        change=_set_availability,
        counters=(
            Counter("label.processed.records", "Records processed"),
            Counter("label.failed.records", "Records failed", share=0.0),
        ),
    ),
    Job(
        id=DEMO_IMPORT,
        name="Import of simulated journals",
        category="MD_IMPORT",
        profile_id="4712",
        duration=lambda rng: rng.lognormvariate(6.0, 0.5),
        records=3,
        imports={"TOTAL_RECORDS_IMPORTED": ("9900000001", "9900000002", "9900000003")},
        matches={"SINGLE_MATCHES": ({"incoming_record": "1", "mms_id": "9900000001"},)},
    ),
    Job(
        id="S4713",
        name="Send simulated notices",
        category="FULFILLMENT",
        submittable=False,
        details={"schedule": {"value": "DAILY", "desc": "Every day at 04:00"}},
    ),
)
