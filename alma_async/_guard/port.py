"""What the guard needs of Alma: the time, a job's runs, one run, and a start. Values and one
protocol; see ``alma.job_port``.

Times are seconds since 1970 on the *server's* clock throughout: neither the client's wall clock nor
its time zone is ever compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from alma_async._core.session import Witness
from alma_async._guard.server_clock import ServerTime

__all__ = ["UNKNOWN_RUN", "Instance", "JobPort", "Spare"]

UNKNOWN_RUN: Final = (
    "402218"  # Alma's code for a run that it does not know (any more); its others speak of something else
)

# ``submitted_by`` of a run that the API started: documented as "API", recorded as "exl_api".
_API: Final = ("api", "exl_api")


@attrs.frozen(kw_only=True)
class Instance:
    """One run as Alma lists it. ``ended``: a terminal status or an end time; an unknown status
    alone is running.

    ``shown`` is the instance as Alma sent it.
    """

    id: str
    job_id: str
    name: str
    status: str
    submitted_by: str
    submit_time: float | None = None
    start_time: float | None = None
    end_time: float | None = None
    ended: bool = False
    shown: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def submitted(self) -> float | None:
        """The later of submission and start, in Alma's own time: which of them Alma counts from is
        not documented.
        """
        shown = [moment for moment in (self.submit_time, self.start_time) if moment is not None]
        return max(shown, default=None)

    @property
    def duration(self) -> float | None:
        """How long it ran, in seconds; None where Alma does not show it."""
        began, ends = self.start_time or self.submit_time, self.end_time
        if not self.ended or began is None or ends is None or ends < began:
            return None
        return ends - began

    @property
    def by_api(self) -> bool:
        """Whether it is one of those of which only so many may run."""
        return self.submitted_by.strip().lower() in _API


@attrs.frozen(kw_only=True)
class Spare:
    """What is left of the day's calls: how many, where the caller's priority stops, and the seconds
    until the reset.
    """

    remaining: float
    floor: float
    until_reset: float


class JobPort(Protocol):
    """What the guard needs of the system that runs the jobs. Failures are raised as ``AlmaError``."""

    def spare(self) -> Spare | None:
        """What is left of the day's calls, or None where that is not known."""

    async def server_time(self) -> ServerTime | None:
        """The ``Date`` of a cheap answer, its resolution and the round trip as the error; None
        where it has none.
        """

    async def instances(self, job_id: str, *, since: float) -> Sequence[Instance]:
        """Every run of the job that was submitted at or after ``since``, by whomever, all pages;
        older ones may be among them.

        Alma filters by whole days of an undocumented time zone, so ask for a day more.
        """

    async def instance(self, job_id: str, instance_id: str) -> Instance:
        """One run."""

    def names(self, job_id: str) -> bool:
        """Whether runs of this job take a name."""

    async def start(
        self, job_id: str, parameters: Mapping[str, str], *, job_name: str, witness: Witness
    ) -> tuple[str, str]:
        """Submit the job under ``job_name``, or without one where it is empty, and call ``witness``
        before and after each attempt; returns job id and instance id of the answer's link.

        What ``witness.intend`` raises must come out unchanged: then nothing was sent.
        """
