"""Jobs, their runs (Alma says instances), and what a run counted.

Decides names and kinds, and which status ends a run; how models are kept and written: see
``alma_async._http.codec``. Fields as documented for ``rest_job_instance.xsd``, recorded in 2020 and
2025, or seen in other clients' models; grades as in ``common``.
"""

from __future__ import annotations

import re
from collections import Counter as Counts
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import define, field

from alma_async._http.codec import Model, checked
from alma_async.alma.models.common import Coded, Counted, Linked

__all__ = [
    "ALL",
    "Counter",
    "Job",
    "JobAction",
    "JobEvent",
    "JobInfo",
    "JobInstance",
    "JobMatch",
    "JobParameter",
]

ALL: Final = "ALL"  # documented: may stand for the id of the job where an instance is asked for

# Seen in two clients and in Alma's table systemJobStatus; COMPLETED_SUCCESS and COMPLETED_FAILED recorded.
_SUCCEEDED: Final = frozenset({"COMPLETED_SUCCESS", "COMPLETED_WARNING", "COMPLETED_NO_BULKS"})
_ENDED: Final = _SUCCEEDED | {
    "COMPLETED_FAILED",  # with errors: part of it may have been done (recorded)
    "FAILED",
    "MANUAL_HANDLING_REQUIRED",
    "SKIPPED",
    "SYSTEM_ABORTED",
    "USER_ABORTED",
}
_GOES_ON: Final = frozenset({"QUEUED", "PENDING", "INITIALIZING", "RUNNING", "FINALIZING"})

_WHOLE: Final = re.compile(r"\s*(-?\d{1,18})\s*", re.ASCII)
# A code of Alma's tables names a count (recorded: c.jobs.publishing.failed.publishing). Free text may name anything: "Failed to
# process record" was recorded with the id of a record as its value.
_CODE: Final = re.compile(r"[A-Za-z]\w*(?:\.\w+)+", re.ASCII)
_FAILURE: Final = re.compile(r"fail(?:ed|ures?)?|reject(?:ed|ions?)?|errors?", re.IGNORECASE)
_NEGATION: Final = frozenset({"no", "not", "non", "without", "free"})
_JOB_IN_LINK: Final = re.compile(r"/jobs/([A-Z][0-9]{1,32})/instances/")
_NO_JOB: Final = "M0"  # recorded: what the link of a webhook may name in place of the job


@define(kw_only=True, repr=False, on_setattr=checked)
class JobParameter(Model):
    """A parameter of a job (recorded). Names are opaque but for ``set_id`` and ``job_name``; the
    user interface shows them.
    """

    name: Coded = field(factory=Coded)
    value: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class Job(Model):
    """A job, and the answer to its submission: ``additional_info`` then links the run that was
    started (recorded).
    """

    id: str = ""
    name: str | None = None
    description: str | None = None
    type: Coded = field(factory=Coded)
    category: Coded = field(factory=Coded)
    content: Coded = field(factory=Coded)
    schedule: Coded = field(factory=Coded)
    creator: str | None = None
    next_run: str | None = None
    parameter: list[JobParameter] = field(factory=list)
    related_profile: Linked = field(factory=Linked)
    additional_info: Linked = field(factory=Linked)
    link: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class JobInfo(Model):
    """The job of an instance (recorded)."""

    id: str = ""
    name: str | None = None
    description: str | None = None
    type: Coded = field(factory=Coded)
    category: Coded = field(factory=Coded)
    link: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class Counter(Model):
    """One line of a run's report. The type may be free text and the value a sentence (recorded)."""

    type: Coded = field(factory=Coded)
    value: str | None = None

    @property
    def name(self) -> str:
        """The code of its type, or its text where it has no code."""
        return self.type.value or self.type.desc or ""

    @property
    def is_count(self) -> bool:
        """Whether it is known to count something, since its type is a code and its value a number."""
        return _CODE.fullmatch(self.name) is not None and self.number is not None

    @property
    def counts_failures(self) -> bool:
        """Whether it is a count of what failed or was rejected, by the words of its code (inferred
        from recorded ones).
        """
        words = [word.lower() for word in self.name.split(".")]
        return self.is_count and any(map(_FAILURE.fullmatch, words)) and not _NEGATION.intersection(words)

    @property
    def number(self) -> int | None:
        """The value as a number, or None where it is none."""
        whole = _WHOLE.fullmatch(self.value or "")
        return int(whole[1]) if whole else None


@define(kw_only=True, repr=False, on_setattr=checked)
class JobAction(Model):
    """What can be asked for after a metadata import (documented; kinds inferred, hence both forms
    are read).
    """

    type: str | Coded | None = None
    population: str | Coded | None = None
    members: str | Counted | None = None
    link: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class JobInstance(Model):
    """A run of a job.

    ``progress`` is not reliable and nothing here uses it: it was recorded as 101.3 on a run that
    had ended, and stays 0 on one that failed (seen). ``status_date`` is kept as text, as in sets.
    """

    id: str = ""
    external_id: str | None = None
    name: str | None = None
    submitted_by: Coded = field(factory=Coded)
    submit_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    progress: str | None = None
    status: Coded = field(factory=Coded)
    status_date: str | None = None
    alert: list[Coded] = field(factory=list)
    counter: list[Counter] = field(factory=list)
    action: list[JobAction] = field(factory=list)
    job_info: JobInfo = field(factory=JobInfo)
    link: str | None = None

    @property
    def ended(self) -> bool:
        """True once the run is over. A status never seen before goes on until an ``end_time`` is set
        (inferred).
        """
        status = self.status.value
        return status in _ENDED or (status not in _GOES_ON and self.end_time is not None)

    @property
    def succeeded(self) -> bool:
        """True where it ended with a status of success, which may hide that every record failed: see
        ``counter``.
        """
        return self.status.value in _SUCCEEDED

    @property
    def counters(self) -> Mapping[str, int]:
        """What was counted, by the code of its type, equal codes summed.

        Types in free text are here too, unless one occurs twice: their numbers may be ids.
        ``counter`` has all as Alma sent it.
        """
        found: dict[str, int] = {}
        names = Counts(counter.name for counter in self.counter)
        for counter in self.counter:
            if counter.number is not None and counter.name and (counter.is_count or names[counter.name] == 1):
                found[counter.name] = found.get(counter.name, 0) + counter.number
        return found

    @property
    def failed_count(self) -> int | None:
        """The number of failed ones, by the counters that are known to count failures; None where there are
        none, whatever the status.

        Types differ from job to job, so 0 and None prove nothing: see ``counter``.
        """
        failures = [counter.number or 0 for counter in self.counter if counter.counts_failures]
        return sum(failures) if failures else None

    @property
    def job_id(self) -> str:
        """The id of its job: of ``job_info``, or the link's unless that names ``M0``; else ``ALL``,
        which serves as well.
        """
        found = _JOB_IN_LINK.search(self.link or "")
        linked = found[1] if found and found[1] != _NO_JOB else ALL
        return self.job_info.id or linked


@define(kw_only=True, repr=False, on_setattr=checked)
class JobEvent(Model):
    """A rejected entry of a student information load. No body is known: everything is in ``extra``."""


@define(kw_only=True, repr=False, on_setattr=checked)
class JobMatch(Model):
    """A match of an import. No body is known: everything is in ``extra``."""
