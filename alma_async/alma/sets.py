"""``alma.sets``: sets and how they are made; their members are in ``alma_async.alma.members``.

A name is unique in an institution (402263, documented), which makes creation safe to repeat: where
an answer was lost, the set is searched for by its whole name and returned if this call made it; if
it is not there, the request is sent once more, and a second set cannot come of it. Three are never
sent again: what is known to be done, what has no name, and combinations. Alma gives combinations
names of its own (seen), and combining takes minutes, in which the gateway times out though the work
goes on (reported): they are searched for as long.

Alma fills sets made from a logical set, by combining or by filtering after its answer (seen). Where
``additional_info`` names the run of the job that fills the set (seen), ``wait_until_filled`` waits
for its end. Else nothing says when the set is full, so that is inferred (``Filling``): a number of
members that stays the same, and no members at all only after much longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Final, Literal, Self, TypeAlias, TypeVar, get_args, overload

import anyio
import attrs

from alma_async._core.pager import Pager
from alma_async._guard.monitor import PASSING
from alma_async._http.codec import structure
from alma_async._http.messages import Request
from alma_async._http.outcome import server_time
from alma_async._secret import discreet
from alma_async._text import counted, duration
from alma_async.alma import routes
from alma_async.alma.members import Members, size_of
from alma_async.alma.models.jobs import JobInstance
from alma_async.alma.models.sets import AlmaSet
from alma_async.alma.resource import id_to_update, named
from alma_async.errors import (
    AlmaError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ServerFault,
)
from alma_async.settings import COUNT, FLAG, NOT_NEGATIVE, Check, Priority, one_of

__all__ = ["NAME_TAKEN", "Filling", "Sets", "pause"]

# Ours, in seconds. One client's tests wait 5 s for small sets (seen); nothing is known of large ones.
STEADY: Final = 15.0
EMPTY: Final = 300.0
PAUSES: Final = (2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0)


def pause(polls: int) -> float:
    """Seconds to wait after so many polls: few at first, then a minute."""
    return PAUSES[min(polls, len(PAUSES)) - 1]


@attrs.frozen
class Filling:
    """How many members there are, and since when."""

    members: int
    since: float

    def seen(self, members: int, *, now: float) -> Self:
        """The state after another poll."""
        return self if members == self.members else type(self)(members, now)

    def is_full(self, *, now: float, expected: int | None = None) -> bool:
        """Whether nothing more is to come; with ``expected``, whether so many are there."""
        if expected is not None:
            return self.members >= expected
        return now - self.since >= (STEADY if self.members else EMPTY)


T = TypeVar("T")

Operator = Literal["AND", "OR", "NOT"]
_OPERATOR: Final = one_of(get_args(Operator))
_GIVEN: Final = Check(
    "a text that is not empty, or a number",
    lambda value: type(value) is int or (isinstance(value, str) and value.strip() != ""),
)
_SECONDS: Final = NOT_NEGATIVE.or_none()
_EXPECTED: Final = COUNT.or_none()
Failures: TypeAlias = list[AlmaError]
Polled: TypeAlias = list[AlmaSet]  # here: in the class, ``list`` is its method

NAME_TAKEN: Final = "402263"
RESOLUTION: Final = 2.0  # seconds; the Date of an answer has whole ones

# Ours, in seconds: the pauses after which a set whose answer was lost is searched for.
AT_ONCE: Final = (0.0,)
SOON: Final = (0.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # it is known to be there, and a list may lag
SLOW: Final = (0.0, 5.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)  # it may be in progress


@discreet
class Sets(Members):
    """Sets."""

    def list(
        self,
        q: str | None = None,
        *,
        content_type: str | None = None,
        set_type: Literal["ITEMIZED", "LOGICAL"] | None = None,
        set_origin: Literal["UI", "UI_CZ"] | None = None,
        offset: int = 0,
    ) -> Pager[AlmaSet]:
        """All sets of the institution, or those matching ``q`` (``field~words``; name, created_by).

        :param q: a search, which finds words, not equality
        :param content_type: of the table SetContentType
        :param set_type: itemized or logical sets alone
        :param set_origin: UI by default
        :param offset: how many sets are left out at the beginning
        """
        query = {"q": q, "content_type": content_type, "set_type": set_type, "set_origin": set_origin}
        return self._pager(routes.SETS["GET"], (), "set", AlmaSet, query=query, offset=offset)

    async def get(self, set_id: str) -> AlmaSet:
        """One set, without its members.

        :raises NotFound: Alma's 60107.
        """
        return await self._read(routes.SET["GET"].bind(set_id, expects=set_id), AlmaSet)

    @overload
    async def create(self, alma_set: AlmaSet, *, dry_run: Literal[False] = ...) -> AlmaSet: ...
    @overload
    async def create(self, alma_set: AlmaSet, *, dry_run: Literal[True]) -> Request: ...
    @overload
    async def create(self, alma_set: AlmaSet, *, dry_run: bool) -> AlmaSet | Request: ...
    async def create(self, alma_set: AlmaSet, *, dry_run: bool = False) -> AlmaSet | Request:
        """Create a set, empty if itemized; ``AlmaSet`` lists what is mandatory.

        :raises InvalidRequest: 402263 where the name is taken.
        :raises OutcomeUnknown: where the answer was lost and no set of ours is found under the
            name.
        """
        return await self._create(alma_set, {}, dry_run=dry_run)

    @overload
    async def create_from_logical(
        self, alma_set: AlmaSet, logical_set_id: str, *, dry_run: Literal[False] = ...
    ) -> AlmaSet: ...
    @overload
    async def create_from_logical(
        self, alma_set: AlmaSet, logical_set_id: str, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def create_from_logical(
        self, alma_set: AlmaSet, logical_set_id: str, *, dry_run: bool
    ) -> AlmaSet | Request: ...
    async def create_from_logical(
        self, alma_set: AlmaSet, logical_set_id: str, *, dry_run: bool = False
    ) -> AlmaSet | Request:
        """Create an itemized set of what a logical set finds now. It fills later:
        ``wait_until_filled``.
        """
        return await self._create(alma_set, {"from_logical_set": logical_set_id}, dry_run=dry_run)

    @overload
    async def create_from_import(
        self, alma_set: AlmaSet, job_instance_id: str, population: str, *, dry_run: Literal[False] = ...
    ) -> AlmaSet: ...
    @overload
    async def create_from_import(
        self, alma_set: AlmaSet, job_instance_id: str, population: str, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def create_from_import(
        self, alma_set: AlmaSet, job_instance_id: str, population: str, *, dry_run: bool
    ) -> AlmaSet | Request: ...
    async def create_from_import(
        self, alma_set: AlmaSet, job_instance_id: str, population: str, *, dry_run: bool = False
    ) -> AlmaSet | Request:
        """Create a set of bibs from one run of a metadata import; the run's ``action`` names its
        populations.
        """
        query = {"job_instance_id": job_instance_id, "population": population}
        return await self._create(alma_set, query, dry_run=dry_run)

    @overload
    async def combine(
        self, alma_set: AlmaSet, operator: Operator, set1: str, set2: str, *, dry_run: Literal[False] = ...
    ) -> AlmaSet: ...
    @overload
    async def combine(
        self, alma_set: AlmaSet, operator: Operator, set1: str, set2: str, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def combine(
        self, alma_set: AlmaSet, operator: Operator, set1: str, set2: str, *, dry_run: bool
    ) -> AlmaSet | Request: ...
    async def combine(
        self, alma_set: AlmaSet, operator: Operator, set1: str, set2: str, *, dry_run: bool = False
    ) -> AlmaSet | Request:
        """Create a set of two of the same content: in both, in either, in the first but not in the
        second. It fills later.

        Combining may take minutes; where its answer is lost, the set is searched for as long, and
        never made a second time.

        :raises OutcomeUnknown: where it is not found; without a name (Alma gives one, seen) it
            cannot be searched for.
        """
        _OPERATOR.require("operator", operator, InvalidRequest)
        query = {"combine": operator, "set1": set1, "set2": set2}
        return await self._create(alma_set, query, dry_run=dry_run)

    @overload
    async def create_in_network(
        self, alma_set: AlmaSet, institution_set_id: str, *, dry_run: Literal[False] = ...
    ) -> AlmaSet: ...
    @overload
    async def create_in_network(
        self, alma_set: AlmaSet, institution_set_id: str, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def create_in_network(
        self, alma_set: AlmaSet, institution_set_id: str, *, dry_run: bool
    ) -> AlmaSet | Request: ...
    async def create_in_network(
        self, alma_set: AlmaSet, institution_set_id: str, *, dry_run: bool = False
    ) -> AlmaSet | Request:
        """Create a set in the Network Zone, of the records that those of a set of the Institution
        Zone are linked to.
        """
        return await self._create(alma_set, {"nz_set_from_iz_set": institution_set_id}, dry_run=dry_run)

    @overload
    async def create_filtered(
        self, alma_set: AlmaSet, set_id: str, indication_rule: str, *, dry_run: Literal[False] = ...
    ) -> AlmaSet: ...
    @overload
    async def create_filtered(
        self, alma_set: AlmaSet, set_id: str, indication_rule: str, *, dry_run: Literal[True]
    ) -> Request: ...
    @overload
    async def create_filtered(
        self, alma_set: AlmaSet, set_id: str, indication_rule: str, *, dry_run: bool
    ) -> AlmaSet | Request: ...
    async def create_filtered(
        self, alma_set: AlmaSet, set_id: str, indication_rule: str, *, dry_run: bool = False
    ) -> AlmaSet | Request:
        """Create a set of those members of another to which the indication rule of this name
        applies. It fills later.
        """
        query = {"filter_set": set_id, "indication_rule": indication_rule}
        return await self._create(alma_set, query, dry_run=dry_run)

    @overload
    async def update(
        self, alma_set: AlmaSet, *, replace: bool = ..., dry_run: Literal[False] = ...
    ) -> AlmaSet: ...
    @overload
    async def update(self, alma_set: AlmaSet, *, replace: bool = ..., dry_run: Literal[True]) -> Request: ...
    @overload
    async def update(self, alma_set: AlmaSet, *, replace: bool = ..., dry_run: bool) -> AlmaSet | Request: ...
    async def update(
        self, alma_set: AlmaSet, *, replace: bool = False, dry_run: bool = False
    ) -> AlmaSet | Request:
        """Replace a set's description by this one, as ``get`` returned it and changed; its members
        stay.

        :param replace: also by one that is not whole: what it lacks is emptied.
        :raises InvalidRequest: for one that came from a list or was made by hand, and where Alma
            rejects it.
        """
        own_id = id_to_update(alma_set, AlmaSet, "set", replace=replace)
        request = routes.SET["PUT"].bind(
            own_id, body=self._encoded("alma_set", alma_set, AlmaSet), expects=own_id
        )
        return await self._write(request, AlmaSet, dry_run=dry_run)

    @overload
    async def delete(self, set_id: str, *, dry_run: Literal[False] = ...) -> None: ...
    @overload
    async def delete(self, set_id: str, *, dry_run: Literal[True]) -> Request: ...
    @overload
    async def delete(self, set_id: str, *, dry_run: bool) -> Request | None: ...
    async def delete(self, set_id: str, *, dry_run: bool = False) -> Request | None:
        """Delete a set; what was in it stays.

        :raises NotFound: Alma's 402264.
        """
        return await self._delete(routes.SET["DELETE"].bind(set_id), dry_run=dry_run)

    async def wait_until_filled(
        self, set_id: str, *, expected: int | None = None, timeout: float | None = None
    ) -> AlmaSet:
        """Wait until the job that fills a set has ended, with few polls at the lowest priority.

        Where Alma names no such job, or does not know its run any more, until the set seems full:
        see ``alma_async.alma.sets``. An outage, or a quota that is spent, is waited out.

        :param expected: full is so many members; without it, a number that stays the same.
        :raises DeadlineExceeded: where that takes longer than ``timeout`` seconds.
        :raises NotSent: where the server cannot be reached and never answered.
        :raises ServerFault: where the job ended without success.
        """
        _SECONDS.require("timeout", timeout, InvalidRequest)
        _EXPECTED.require("expected", expected, InvalidRequest)
        sparing = self._options.changed(priority=Priority.BULK, wait_for_quota=True, deadline=None)
        poller = type(self)(self._session, sparing)
        seen: Polled = []
        failed: Failures = []
        with anyio.move_on_after(timeout):
            seen.append(await poller._answered(lambda: poller.get(set_id), failed, heard=False))
            if (run := seen[0].run) is not None and await poller._ended(set_id, *run, failed):
                return await poller._answered(lambda: poller.get(set_id), failed)
            return await poller._full(seen, expected, failed)
        known = f"had {counted(_members(seen[-1]), 'member')}" if seen else "could not be read"
        last = f"; the last poll failed: {failed[-1]}" if failed else "."
        raise DeadlineExceeded(f"Set {set_id} {known} after {duration(timeout or 0.0)}{last}")

    async def _answered(self, read: Callable[[], Awaitable[T]], failed: Failures, *, heard: bool = True) -> T:
        """The answer, once there is one: failures that may pass by themselves are waited out.
        ``failed`` gets those since the last answer.
        """
        for polls in count(1):
            try:
                answer = await read()
            except PASSING as error:
                if isinstance(error, NotSent) and not (heard or failed):
                    raise
                failed.append(error)
            else:
                failed.clear()
                break
            await self._session.governor.sleep(pause(polls))
        return answer

    async def _ended(self, set_id: str, job_id: str, instance_id: str, failed: Failures) -> bool:
        """Wait for the end of the run that fills a set; False where Alma does not know the run."""
        request = routes.JOB_INSTANCE.bind(job_id, instance_id, expects=instance_id)
        for polls in count(1):
            try:
                run = await self._answered(lambda: self._read(request, JobInstance), failed)
            except NotFound:
                break
            if run.ended and not run.succeeded:
                raise ServerFault(
                    f"The job that fills set {set_id} (run {instance_id}) ended as {run.status.value}.",
                    advice="What it did is in the set: compare, or delete the set and make it anew.",
                )
            if run.ended:
                return True
            await self._session.governor.sleep(pause(polls))
        return False

    async def _full(self, seen: Polled, expected: int | None, failed: Failures) -> AlmaSet:
        """Poll until the set seems full; ``seen`` has the first answer, and gets the others."""
        clock = self._session.clock
        state = Filling(_members(seen[0]), clock.now())
        while not state.is_full(now=clock.now(), expected=expected):
            await self._session.governor.sleep(pause(len(seen)))
            seen.append(await self._answered(lambda: self.get(seen[0].id), failed))
            state = state.seen(_members(seen[-1]), now=clock.now())
        return seen[-1]

    async def _create(
        self, alma_set: AlmaSet, query: Mapping[str, str], *, dry_run: bool
    ) -> AlmaSet | Request:
        """Create, or return what a request of ours created although its answer was lost.

        :raises OutcomeUnknown: the first one, whatever failed in the search for the set: that it
            may exist matters most.
        """
        FLAG.require("dry_run", dry_run, InvalidRequest)
        body = self._encoded("alma_set", alma_set, AlmaSet)
        named(alma_set.name)
        request = routes.SETS["POST"].bind(query=_whole(query), body=body, expects="*")
        if dry_run:
            return request
        started = self._session.clock.now()
        try:
            return await self._done(request, AlmaSet)
        except OutcomeUnknown as error:
            lost = error
        if lost.effect == "done" or not alma_set.name:
            raise lost
        combined = "combine" in query
        try:
            found = await self._ours(alma_set, started, SLOW if combined else AT_ONCE)
            if found is None and not combined:
                found = await self._create_again(request, alma_set, started)
        except AlmaError as error:
            if error.effect == "done":
                raise
            raise lost from error
        if found is None:
            raise lost
        return found

    async def _create_again(self, request: Request, alma_set: AlmaSet, started: float) -> AlmaSet:
        """If the first request is carried out meanwhile, this one is rejected for its name; a list
        may show the set later.
        """
        try:
            return await self._done(request, AlmaSet)
        except AlmaError as error:
            lost = isinstance(error, OutcomeUnknown) and error.effect != "done"
            if (
                not (lost or error.code == NAME_TAKEN)
                or (found := await self._ours(alma_set, started, SOON)) is None
            ):
                raise
            return found

    async def _ours(self, alma_set: AlmaSet, started: float, pauses: Sequence[float]) -> AlmaSet | None:
        """The set of exactly this name that was made since ``started``, searched for after each
        pause, within the deadline.
        """
        clock, deadline = self._session.clock, self._options.deadline
        for seconds in pauses:
            if deadline is not None and clock.now() + seconds >= started + deadline:
                break
            await self._session.governor.sleep(seconds)
            if (found := await self._listed(alma_set, started)) is not None:
                return found
        return None

    async def _listed(self, alma_set: AlmaSet, started: float) -> AlmaSet | None:
        """The set of exactly this name, if it was made since ``started``: its date against the
        ``Date`` of the answer.
        """
        async for listed in self.list(f"name~{alma_set.name}"):
            if listed.name == alma_set.name and listed.id:
                done = await self._call(routes.SET["GET"].bind(listed.id, expects=listed.id))
                found = structure(done.data, AlmaSet, warned=self._session.warned)
                server = server_time(done.response.headers)
                created = _moment(found.created_date)
                lasted = self._session.clock.now() - started
                if server is not None and created is not None and server - created <= lasted + RESOLUTION:
                    return found
        return None


def _whole(query: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The parameters of what a set is made of: none of them may be missing.

    :raises InvalidRequest: where one is.
    """
    for name, value in query.items():
        _GIVEN.require(name, value, InvalidRequest)
        yield name, value


def _members(alma_set: AlmaSet) -> int:
    return size_of(alma_set) or 0


def _moment(text: str | None) -> float | None:
    """Seconds since 1970 of a date with time and zone; None for a date alone."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()
