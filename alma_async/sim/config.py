"""How a simulated Alma behaves: every switch, and how long an answer takes.

Decides nothing but which address is of this machine, the only one that the simulator speaks with. Documented numbers: 25
calls a second (slides of 2016), 100,000 a day (100 named users), 3 jobs running and 5 starts of one job an hour; they vary or
may come to, so all are settings. What Alma leaves open (windows, statuses, coverage in POST, which code means which threshold
of jobs) is a switch. 5 s to fill a set: a public client waits as long.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Literal, get_args

import attrs

from alma_async.sim.faults import FaultPlan
from alma_async.sim.fields import EMPTY_VALUES, Effect

__all__ = ["Config", "Dates", "Latency"]


def is_loopback(host: str) -> bool:
    """Whether this is a literal loopback address; a name is none, since it could be resolved to anything."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@attrs.frozen(kw_only=True)
class Latency:
    """Seconds that an answer takes: a base, an even jitter, and for some calls a long tail."""

    base: float = 0.2
    jitter: float = 0.0
    tail: float = 0.0
    tail_share: float = 0.0

    def __call__(self, rng: random.Random) -> float:
        wait = self.base + rng.uniform(0.0, self.jitter)
        if rng.random() < self.tail_share:
            wait += self.tail * rng.expovariate(1.0)
        return wait


@attrs.frozen(kw_only=True)
class Dates:
    """Seconds that the `Date` of an answer is off: all of them or a share, so that it jumps; some may have no `Date`."""

    off: float = 0.0
    share: float = 1.0
    missing: float = 0.0

    def __call__(self, rng: random.Random) -> float | None:
        if rng.random() < self.missing:
            return None
        return self.off if rng.random() < self.share else 0.0


def _known_effects(_config: object, _field: object, effects: Mapping[str, str]) -> None:
    for value, effect in effects.items():
        if value not in EMPTY_VALUES or effect not in get_args(Effect):
            raise ValueError(f"No such switch: {value!r}: {effect!r}. There are {', '.join(EMPTY_VALUES)}.")


@attrs.frozen(kw_only=True)
class Config:
    """The switches of one simulated institution and of the gateway before it."""

    rate: float | None = 25
    window: Literal["fixed", "sliding", "bucket"] = "fixed"
    quota: int = 100_000
    rejected_count: bool = False
    foreign: float | Callable[[float], float] = 0.0
    """Calls per second that others make: a number, or a function of the simulated wall clock."""
    retry_after: int | None = None
    """What `Retry-After` says of a 429 and a 503; None sends none."""
    date: Callable[[random.Random], float | None] = attrs.field(factory=Dates)
    """Seconds that the `Date` of the next answer is ahead; None leaves it out."""
    remaining_header: bool = True
    remaining_on_204: bool = False
    threshold_status: int = 429
    daily_status: int = 429
    latency: float | Callable[[random.Random], float] = 0.0
    seed: int = 0
    faults: FaultPlan = attrs.field(factory=FaultPlan)
    allow_any_key: bool = False
    areas: Collection[str] | None = None
    """What the key has rights to, by the first part of a path below the root; None is everything."""
    denied_status: int = 400
    """The status with which a key is rejected (400 recorded, 401 and 403 reported)."""
    seconds_a_bib: float = 0.0
    """Seconds that each record of a call for many takes: large answers were recorded to be slow, and to time out."""
    totals_of_bibs: bool = True
    """Whether the answer to a call for many records has their total; null was recorded, too."""
    bibs_a_call: int = 100
    """How many records one call may ask for (documented: 100); more reject it."""
    longest_url: int | None = None
    """Characters of an address above which a proxy before the gateway rejects the call (414)."""
    require_known_bibs: bool = False
    coverage_in_post: bool = False
    put: Literal["replaces", "keeps"] = "replaces"
    """What a PUT of an electronic object does with what it leaves out: Ex Libris says both. Where that stays, ``""`` clears."""
    clears: Mapping[str, Effect] = attrs.field(factory=dict, validator=_known_effects)
    """What an empty value in a PUT does to a field that says something, by kind of field and value, as ``"text null"``. One that
    is not named: as `put` has it.
    """
    write_answers: Literal["whole", "without_coverage", "short"] = "whole"
    """What POST and PUT of electronic objects answer: all, all but coverage, or no more than a list shows."""
    post_answers: Literal["whole", "without_coverage", "short"] | None = None
    """What POST answers, where that is not what PUT answers."""
    post_adds: Literal["nothing", "the same", "of the record"] = "nothing"
    """What a new portfolio holds that nobody sent: an interface, the same for all; or, too, a description that names its record."""
    empty_members: bool = True
    """Whether answers have members that say nothing, as in 2018; newer ones leave them out."""
    months_as_objects: bool = False
    set_fill_delay: float = 5.0
    """Seconds until a set that is made of others is full; in the second half of them it fills evenly."""
    members_order: Literal["oldest", "newest", "unstable"] = "oldest"
    """Alma documents none. Newest first repeats items while a list grows; unstable shuffles at every change of size."""
    set_jobs: bool = False
    """Whether a set that is made of others is filled by a job, and names its run in `additional_info`."""
    combined_names: Literal["required", "optional", "given"] = "required"
    """Whether two sets are combined under a name that must be sent, may be, or is always given by Alma."""
    combine_seconds: float = 0.0
    """How long it takes to combine two sets; there is no set before."""
    list_lag: float = 0.0
    """Seconds until lists show a new set or a new run of a job."""
    gateway_timeout: float | None = None
    """Seconds after which the gateway answers ROUTING_ERROR, while the work goes on to its end."""
    odd_fields: float = 0.0
    """Share of the optional members that come in an unusual form, the same ones each time: a date with a time, ``"True"``,
    ``12.0``, a code as plain text."""
    environment: str = "SANDBOX"
    """What `/conf/general` says the institution is; `PRODUCTION` is the other kind."""
    in_network: bool = False
    jobs_running: int = 3
    job_starts: int = 5
    job_window: float = 3600.0
    """Seconds for which a start of a job counts: an hour; shorter for tests."""
    running_code: Literal["402222", "402223", "either"] = "402222"
    """The code for too many running jobs; the other one stands for too many starts of one job. ``either``: both stand for both."""
    runs_kept: float | None = None
    """Seconds after its end for which a run is known; its id draws 402218 then."""
    ui_starts_count: bool = False
    """Whether runs that people or schedules start count for the starts of an hour, too."""
    utc_offset: float = 0.0
    """Hours that the clocks of the institution are ahead of UTC: in the names of job runs."""
    epoch: float | None = None
    """The wall clock at the start, in seconds since 1970 UTC; None takes the real one."""
