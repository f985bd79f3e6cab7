"""One value for all rows by a set and a job of Alma's: the rows' portfolios become members, and one
guarded run changes them.

Decides which rows can go together, and carries the job from its set to its end; which rows need it,
and how each ended, is ``row_by_job``'s to say: by the service's list, read before and after. What the
job does is the user's (``job_template``).

Each of these is in the journal before what follows it::

    the load's key ── set of that name made ── its id ── members added ── as many as rows
    ── each row's intent ── run submitted under the key ── its instance ── polled
    ── how it ended ── the list is read ── row by row DONE or REVIEW

* A set's name is unique in an institution (402263, documented), so making it again after a lost
  answer makes no second one.
* Members that may have been added are read and reconciled. Before the run the set must hold as many
  as there are rows (what becomes of a portfolio's wrong id is not documented). Else the load stops,
  and nothing was changed.
* The job guard starts one run under the key, or finds it (``JobGuard.submit``); a run that Alma
  does not list is never started again. A run that ended well may have done nothing (recorded), so
  its word counts for no row.
* What was seen of the service before the run is as old as this process: a load that is resumed
  before the intents were written lists and matches anew.

A run is polled after 10 seconds and then ever less often: a wait of an hour costs 16 calls, its end
is seen late by as long as the run has lasted, 5 minutes at most (chosen). The set stays in Alma, as
a record of what was in the job.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import partial
from itertools import chain, repeat
from typing import Final, Protocol, TypeVar

import attrs

from alma_async._core.pager import PAGE, pages_of
from alma_async._text import counted
from alma_async.alma.client import AlmaClient
from alma_async.alma.members import IN_SET, MOST, MembersChange
from alma_async.alma.models.common import Coded
from alma_async.alma.models.jobs import JobInstance
from alma_async.alma.models.sets import AlmaSet
from alma_async.alma.sets import NAME_TAKEN
from alma_async.errors import AlmaError, InvalidRequest, NotFound, OutcomeUnknown
from alma_async.load.entries import OF_WHOLE, Difference, Entry, Moment, State, Step
from alma_async.load.facts import JOB_BEGUN, JOB_ENDED, JOB_FILLING, JOB_KEY, JOB_RUN, JOB_SET, SERVICE_READ
from alma_async.load.fields import payload_of
from alma_async.load.job_template import JobTemplate
from alma_async.load.journal import Journal, slices
from alma_async.load.reasons import EndReason
from alma_async.load.row import Row

__all__ = [
    "FEW",
    "After",
    "SetDiffers",
    "ViaJob",
    "availabilities",
    "calls_of",
    "is_listed",
    "match_anew",
    "value_of",
]

T = TypeVar("T")

FEW: Final = 200  # chosen: rows below which row by row may be as good
_POLLS: Final = (10.0, 20.0, 40.0, 80.0, 160.0)
_LONGEST: Final = 300.0
_USUAL: Final = 5  # chosen: polls that a price reckons with, some five minutes
_SEARCHES: Final = (0.0, 5.0, 30.0, 60.0)  # seconds before each search for a set: a list may lag
_GONE: Final = "Alma does not know its run any more"
_UNLISTED: Final = "its answer was lost, and Alma lists no run"


class SetDiffers(AlmaError):
    """The set does not hold the portfolios of the rows, so the job was not run."""

    advice = "Nothing was changed. See the set in Alma; resume the load, or begin it anew with a new journal."


@attrs.frozen(kw_only=True)
class After:
    """What the service's list showed after the job: the availability of each portfolio. ``last``:
    it is not read again.
    """

    ended: str
    listed: Mapping[str, str]
    last: bool

    @property
    def is_over(self) -> bool:
        """Whether the job is known to have ended, so that it changes nothing any more."""
        return self.ended not in (_GONE, _UNLISTED)


# --- which rows can go together


def value_of(row: Row, action: str) -> Hashable | None:
    """What a row asks of its portfolio, the same for all rows that one job can carry out; None
    where no job can.
    """
    its = row.action or action
    if its in OF_WHOLE:
        return its
    if its != "update":
        return None
    if row.before_image is not None:
        return tuple((one.field, one.old) for one in row.before_image.differences)
    return payload_of(attrs.evolve(row, mms_id="", portfolio_id="-", identifiers=()))


def is_listed(row: Row, action: str) -> bool:
    """Whether the service's list shows all that a row asks of its portfolio: the availability, or
    that it is gone.
    """
    its = row.action or action
    if its in OF_WHOLE:
        return True
    if row.before_image is not None:
        return {one.field for one in row.before_image.differences} == {"availability"}
    return row.coverage is None and row.embargo is None and set(row.values) == {"availability"}


def calls_of(rows: int, held: int, *, read: int = 0) -> int:
    """Calls that the job costs so many rows, in a service that holds so many; ``read``: how many
    are read one by one after it.
    """
    if not rows:
        return 0
    members, start = -(-rows // MOST), 3  # Alma's time, the job's runs, and the run
    return 1 + members + (members > 1) + start + _USUAL + pages_of(held, PAGE) + read


# --- the job


class Persist(Protocol):
    """Does something, again and again where need be; see ``ServiceHealth.persist``."""

    async def __call__(self, work: Callable[[], Awaitable[T]]) -> T: ...


async def match_anew(journal: Journal) -> None:
    """Have rows matched again, unless their job may have been started: what was seen of the service
    is as old as a former run.
    """
    if (await journal.meta()).get(JOB_BEGUN) or not await journal.open_entries(after=0, limit=1):
        return
    async for entries in slices(journal.open_entries):
        rows = await journal.rows([entry for entry in entries if entry.step is not Step.MATCH])
        await journal.amend((_unmatched(entry, row) for entry, row in rows), facts={})
    await journal.note({SERVICE_READ: ""})


def _unmatched(entry: Entry, row: Row) -> Entry:
    return attrs.evolve(
        entry,
        state=State.PENDING,
        step=Step.MATCH,
        sent_by=None,
        portfolio_id=row.portfolio_id,
        differences=(),
    )


async def availabilities(alma: AlmaClient, place: tuple[str, str]) -> dict[str, str]:
    """The availability of each portfolio of the service. That none was left out between two pages,
    the pager sees to.
    """
    found = dict[str, str]()
    async for page in alma.electronic.portfolios.list(*place).pages():
        found |= {one.id: one.availability.value or "" for one in page if one.id}
    return found


@attrs.frozen(kw_only=True)
class ViaJob:
    """The job of one run of a load. ``persist`` waits out what passes by itself; ``waits`` gets
    what is waited for, ``give`` each row that ends before the job.
    """

    alma: AlmaClient
    journal: Journal
    template: JobTemplate
    persist: Persist
    waits: Callable[[str | None], None]
    moment: Callable[[], Moment]
    give: Callable[[Entry], Awaitable[None]]

    async def carry_out(self, changes: Mapping[int, tuple[Difference, ...]]) -> str | None:
        """From the set to the end of the run, which is given; None where no row needs it.

        :param changes: what each row's portfolio will show changed, by the row's number
        :raises SetDiffers: where the set does not come to hold the rows' portfolios.
        :raises AlmaError: where Alma rejects the set or the job; it was not run.
        """
        known = await self.journal.meta()
        if not known.get(JOB_BEGUN):
            if not changes or not await self._prepare(known, changes):
                return None
            known = await self.journal.meta()
        if JOB_RUN not in known and JOB_ENDED not in known:
            await self._start(known)
        known = await self.journal.meta()
        if JOB_ENDED not in known:
            await self.journal.note({JOB_ENDED: await self._wait(*known[JOB_RUN].split("/"))})
        self.waits(None)
        return (await self.journal.meta())[JOB_ENDED]

    # --- the set

    async def _prepare(self, known: Mapping[str, str], changes: Mapping[int, tuple[Difference, ...]]) -> bool:
        """Have a set of the rows' portfolios, and then each row's intent; whether Alma took any
        into it.
        """
        self.waits("the job's set is being made")
        if JOB_KEY not in known:
            await self.journal.note({JOB_KEY: secrets.token_hex(8)})
        if JOB_SET not in known:
            key = (await self.journal.meta())[JOB_KEY]
            await self.journal.note({JOB_SET: await self.persist(partial(self._make, _name(key)))})
        set_id = (await self.journal.meta())[JOB_SET]
        members = await self._members(changes)
        change = await self._fill(set_id, list(members), again=JOB_FILLING in known)
        for rejected in change.rejected:
            # What is in already came by a request whose answer was lost; others were to go.
            if rejected.error.code != IN_SET:
                left = [members.pop(one) for one in rejected.ids if one in members]
                await self._leave_out(left, rejected.error)
        if members:
            await self._count(set_id, len(members), change.size)
            await self._intend(set(members.values()), changes)
        return bool(members)

    async def _make(self, name: str) -> str:
        """The id of the set of this name, made now or found: it is this load's alone."""
        wanted = AlmaSet(
            name=name,
            type=Coded("ITEMIZED"),
            content=Coded("PORTFOLIO"),
            private=Coded("false"),
            status=Coded("ACTIVE"),
        )
        lost: AlmaError | None = None
        for pause in _SEARCHES:
            try:
                return (await self.alma.sets.create(wanted)).id
            except InvalidRequest as error:
                if error.code != NAME_TAKEN:
                    raise
                lost = error
            except OutcomeUnknown as error:
                lost = error
            await self.alma.sleep(pause)
            async for one in self.alma.sets.list(f"name~{name}"):
                if one.name == name and one.id:
                    return one.id
        assert lost is not None  # noqa: S101 - there is a pause
        raise lost

    async def _members(self, changes: Mapping[int, tuple[Difference, ...]]) -> dict[str, int]:
        """The portfolios of the rows, each with the row's number."""
        found = dict[str, int]()
        async for entries in slices(self.journal.open_entries):
            found |= {str(one.portfolio_id): one.n for one in entries if one.n in changes}
        return found

    async def _fill(self, set_id: str, ids: list[str], *, again: bool) -> MembersChange:
        """Have these in the set and no others, also where some of them may be in it already."""
        await self.journal.note({JOB_FILLING: "1"})
        for left in reversed(range(3)):
            try:
                return await self.persist(partial(self._add, set_id, ids, again=again))
            except OutcomeUnknown:
                if not left:
                    raise
            again = True
        raise AssertionError("unreachable")

    async def _add(self, set_id: str, ids: list[str], *, again: bool) -> MembersChange:
        if again:
            return await self.alma.sets.replace_members(set_id, ids, reconcile=True)
        return await self.alma.sets.add_members(set_id, ids)

    async def _leave_out(self, ns: list[int], error: AlmaError) -> None:
        why = EndReason.NOT_A_MEMBER
        ended = partial(
            attrs.evolve,
            state=State.REVIEW,
            reason=why.code,
            message=why.says(error.message),
            code=error.code,
            tracking_id=error.tracking_id,
        )
        left = list(map(ended, await self.journal.entries_of(ns)))
        await self.journal.amend(left, facts={})
        for entry in left:
            await self.give(entry)

    async def _count(self, set_id: str, rows: int, size: int | None) -> None:
        """See that the set holds as many as it should."""
        if size != rows:
            found = await self.persist(partial(self.alma.sets.get, set_id))
            size = found.number_of_members.value
        if size != rows:
            raise SetDiffers(
                f"Set {set_id} has {counted(size or 0, 'member')}, not the {counted(rows, 'portfolio')} of the rows; "
                f"job {self.template.job_id} was not run."
            )

    async def _intend(self, ns: set[int], changes: Mapping[int, tuple[Difference, ...]]) -> None:
        """Write down that these rows are about to be changed. Until the last fact is there, nothing
        is sent for them.
        """
        now = self.moment()
        async for entries in slices(self.journal.open_entries):
            its = [entry for entry in entries if entry.n in ns]
            intents = [
                attrs.evolve(one, state=State.INTENT, sent_by=now, differences=changes[one.n]) for one in its
            ]
            await self.journal.amend(intents, facts={})
        await self.journal.note({JOB_BEGUN: "1"})

    # --- the run

    async def _start(self, known: Mapping[str, str]) -> None:
        """Have the run started or found, once, or know that it is not to be found."""
        job = self.template.job_id
        self.waits(f"job {job} waits for a free start: 3 run at once, each 5 times an hour")
        key, set_id = known[JOB_KEY], known[JOB_SET]
        given = self.template.over(set_id, _name(key))
        try:
            run = await self.persist(lambda: self.alma.jobs.submit(job, given, key=key))
        except OutcomeUnknown:
            await self.journal.note({JOB_ENDED: _UNLISTED})
            return
        except InvalidRequest:  # nothing was sent for the rows
            await self.journal.note({JOB_BEGUN: ""})
            await match_anew(self.journal)
            raise
        await self.journal.note({JOB_RUN: f"{run.job_id}/{run.instance_id}"})

    async def _wait(self, job_id: str, instance_id: str) -> str:
        """How the run ended."""
        said, waited = "", 0.0
        for pause in chain(_POLLS, repeat(_LONGEST)):
            self.waits(f"job {job_id} runs, for {round(waited / 60)} min so far{said}")
            await self.persist(partial(self.alma.sleep, pause))
            waited += pause
            try:
                instance = await self.persist(partial(self._poll, job_id, instance_id))
            except NotFound:
                return _GONE
            if instance.ended:
                await self.alma.jobs.ended(instance)
                return instance.status.value or "without a status"
            said = f" ({instance.status.value})"
        raise AssertionError("unreachable")

    async def _poll(self, job_id: str, instance_id: str) -> JobInstance:
        """A link may name a job that its paths do not take (recorded)."""
        try:
            return await self.alma.jobs.instance(job_id, instance_id)
        except NotFound:
            return await self.alma.jobs.instance("ALL", instance_id)


def _name(key: str) -> str:
    """The name of the load's set, and the beginning of its run's."""
    return f"alma-async load {key}"
