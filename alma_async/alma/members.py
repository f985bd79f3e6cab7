"""The members of a set: listed, added, removed, replaced, in requests of at most 1,000 ids and constant memory.

Decides how ids become requests, and what a refusal says of them; when each goes is the governor's to say. 1,000 ids a
request, and that one wrong id refuses the whole request, are documented; that a set takes several requests side by
side is not, hence no more than four.

What is wrong with ids is told in the answer, request by request. Whatever else fails (there is no such set, the quota
is spent, an answer was lost) is raised: requests under way are waited for, no further one goes out. The same call
with ``reconcile=True`` then does what is left to do, and no more.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import Final, Literal, TypeAlias, TypedDict, Unpack, overload

import anyio
import attrs

from alma_async.alma import routes
from alma_async.alma.models.sets import AlmaSet, SetMember, SetMembers
from alma_async.alma.resource import Resource
from alma_async.errors import AlmaError, InvalidRequest
from alma_async.pager import Pager
from alma_async.wire.messages import Request

__all__ = ["Ids", "Members", "MembersChange", "RefusedIds"]

Ids: TypeAlias = Iterable[str] | AsyncIterable[str]
Operation: TypeAlias = Literal["add_members", "delete_members", "replace_members"]
Step: TypeAlias = tuple[Operation, tuple[str, ...]]

MOST: Final = 1000  # documented: ids in one request (60118)
AT_ONCE: Final = 4

# Documented: the fault lies in one id or several, and nothing was changed.
_OF_IDS: Final = frozenset({"60114", "60115", "60116", "60117", "60119", "60120", "60176"})
_WORD: Final = re.compile(r"[^\s,;:'\"()\[\]{}<>]+")


@attrs.frozen(kw_only=True)
class RefusedIds:
    """The ids of one request, which Alma refused whole, and why."""

    ids: tuple[str, ...] = attrs.field(repr=lambda ids: f"<{len(ids)} ids>")
    error: InvalidRequest

    @property
    def named(self) -> tuple[str, ...]:
        """Those of them that Alma's messages name; none where they name none. The rest may well be right."""
        words = {word.rstrip(".") for problem in self.error.errors for word in _WORD.findall(problem.message)}
        return tuple(one for one in self.ids if one in words)


@attrs.frozen(kw_only=True)
class MembersChange:
    """What became of the ids.

    ``added`` and ``removed`` count the ids of accepted requests; with ``fail_on_invalid_id=False`` Alma leaves out what
    it does not know and does not say which: compare ``number_of_members`` of the set. ``unchanged`` were not sent, being
    so already (``reconcile``). ``refused`` holds the ids of refused requests.
    """

    added: int = 0
    removed: int = 0
    unchanged: int = 0
    refused: tuple[RefusedIds, ...] = ()


class Terms(TypedDict, total=False):
    """How members are changed; see ``Members.add_members``."""

    id_type: str | None
    fail_on_invalid_id: bool
    reconcile: bool


@attrs.define
class _Outcome:
    """What a change under way has come to."""

    added: int = 0
    removed: int = 0
    unchanged: int = 0
    refused: list[RefusedIds] = attrs.field(factory=list)
    failure: AlmaError | None = None

    def took(self, step: Step) -> None:
        op, ids = step
        self.removed += len(ids) if op == "delete_members" else 0
        self.added += len(ids) if op != "delete_members" else 0

    def failed(self, step: Step, error: AlmaError) -> None:
        """Ids are told in the answer; but what follows a replacement that was refused would be added to the old members."""
        op, ids = step
        if isinstance(error, InvalidRequest) and error.code in _OF_IDS and op != "replace_members":
            self.refused.append(RefusedIds(ids=ids, error=error))
        else:
            self.failure = self.failure or error

    def told(self) -> MembersChange:
        if self.failure is not None:
            raise self.failure
        return MembersChange(
            added=self.added, removed=self.removed, unchanged=self.unchanged, refused=tuple(self.refused)
        )


class Members(Resource):
    """What the members of a set can be asked and told."""

    def members(self, set_id: str, *, offset: int = 0) -> Pager[SetMember]:
        """All members; each once, although offsets shift while a set changes. Of portfolio sets they carry ids alone.

        :raises NotFound: Alma's 60107.
        """
        return self._pager(routes.SET_MEMBERS, (set_id,), "member", SetMember, offset=offset)

    @overload
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[False] = ..., **terms: Unpack[Terms]
    ) -> MembersChange: ...
    @overload
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[True], **terms: Unpack[Terms]
    ) -> tuple[Request, ...]: ...
    @overload
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: bool, **terms: Unpack[Terms]
    ) -> MembersChange | tuple[Request, ...]: ...
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: bool = False, **terms: Unpack[Terms]
    ) -> MembersChange | tuple[Request, ...]:
        """Add members, from any iterable of any length, async or not. A repeat within 1,000 ids is sent once.

        :param id_type: what the ids are if not Alma's own: BARCODE (items); SYSTEM_NUMBER, OCLC_NUMBER, ISBN, ISSN (bibs);
            a type of the table UserIdentifierTypes (users).
        :param fail_on_invalid_id: False lets Alma skip ids it does not know, in sets of bibs, items and users only. A member
            that is in the set already (60115) still refuses its whole request.
        :param reconcile: read the members first and send what is missing only. Takes the memory of all their ids, some 100
            bytes each; others' changes meanwhile are not seen.
        """
        return await self._change("add_members", set_id, ids, dry_run=dry_run, **terms)

    @overload
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[False] = ..., **terms: Unpack[Terms]
    ) -> MembersChange: ...
    @overload
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[True], **terms: Unpack[Terms]
    ) -> tuple[Request, ...]: ...
    @overload
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: bool, **terms: Unpack[Terms]
    ) -> MembersChange | tuple[Request, ...]: ...
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: bool = False, **terms: Unpack[Terms]
    ) -> MembersChange | tuple[Request, ...]:
        """Remove members, as ``add_members`` adds them. One that is not in the set (60117) refuses its whole request, unless
        ``reconcile`` leaves it out.
        """
        return await self._change("delete_members", set_id, ids, dry_run=dry_run, **terms)

    @overload
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[False] = ..., **terms: Unpack[Terms]
    ) -> MembersChange: ...
    @overload
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[True], **terms: Unpack[Terms]
    ) -> tuple[Request, ...]: ...
    @overload
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: bool, **terms: Unpack[Terms]
    ) -> MembersChange | tuple[Request, ...]: ...
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: bool = False, **terms: Unpack[Terms]
    ) -> MembersChange | tuple[Request, ...]:
        """Make these the members. Atomic for up to 1,000; of more, the first 1,000 replace and the rest are added after.

        With ``reconcile`` what is missing is added and what is too much removed, so that the set is never without the
        members it keeps; this takes the memory of both.

        :raises InvalidRequest: where the replacement itself is refused; nothing was changed then.
        """
        return await self._change("replace_members", set_id, ids, dry_run=dry_run, **terms)

    async def _change(
        self,
        op: Operation,
        set_id: str,
        ids: Ids,
        *,
        dry_run: bool,
        id_type: str | None = None,
        fail_on_invalid_id: bool = True,
        reconcile: bool = False,
    ) -> MembersChange | tuple[Request, ...]:
        if reconcile and id_type is not None:
            raise InvalidRequest(
                "reconcile compares Alma's own ids of members, so id_type cannot be given with it."
            )
        terms = {"id_type": id_type, "fail_on_invalid_id": None if fail_on_invalid_id else "false"}
        outcome = _Outcome()
        if reconcile:
            present = {str(member.id) async for member in self.members(set_id)}
            steps = _differences(op, _each(ids), present, outcome)
        else:
            steps = _steps(op, _each(ids))
        if dry_run:
            return tuple([self._request(set_id, step, terms) async for step in steps])
        async for together in _rounds(steps):
            async with anyio.create_task_group() as group:
                for step in together:
                    group.start_soon(self._send, self._request(set_id, step, terms), step, outcome)
            if outcome.failure is not None:
                break
        return outcome.told()

    def _request(self, set_id: str, step: Step, terms: dict[str, str | None]) -> Request:
        op, ids = step
        body = self._encoded(AlmaSet(members=SetMembers(member=[SetMember(id=one) for one in ids])))
        query = {"op": op, **terms}
        return routes.SET["POST"].bind(set_id, query=query.items(), body=body, expects=set_id)

    async def _send(self, request: Request, step: Step, outcome: _Outcome) -> None:
        try:
            await self._done(request, AlmaSet)
        except AlmaError as error:
            outcome.failed(step, error)
        else:
            outcome.took(step)


async def _each(ids: Ids) -> AsyncGenerator[str, None]:
    """The ids one by one. A single text is refused: its letters are not ids."""
    if isinstance(ids, str):
        raise InvalidRequest(f"Give the ids in a list, not as the text {ascii(ids)[:40]}.")
    if isinstance(ids, AsyncIterable):
        async for one in ids:
            yield _checked(one)
    else:
        for one in ids:
            yield _checked(one)


def _checked(one: object) -> str:
    if not isinstance(one, str) or not one.strip():
        raise InvalidRequest(f"{ascii(one)[:60]} is not the id of a member.")
    return one.strip()


async def _chunks(ids: AsyncIterator[str]) -> AsyncGenerator[tuple[str, ...], None]:
    chunk: dict[str, None] = {}
    async for one in ids:
        chunk[one] = None
        if len(chunk) == MOST:
            yield tuple(chunk)
            chunk = {}
    if chunk:
        yield tuple(chunk)


async def _steps(op: Operation, ids: AsyncIterator[str]) -> AsyncGenerator[Step, None]:
    """As told, without looking. To replace by nothing is sent as it is, for Alma to refuse (60113)."""
    then: Operation = "add_members" if op == "replace_members" else op
    count = 0
    async for chunk in _chunks(ids):
        yield (then if count else op), chunk
        count += 1
    if not count and op == "replace_members":
        yield op, ()


async def _differences(
    op: Operation, ids: AsyncIterator[str], present: set[str], outcome: _Outcome
) -> AsyncGenerator[Step, None]:
    """Only what is not so yet; ``present`` follows what was decided, so that repeats count as unchanged."""
    removing = op == "delete_members"
    extra = set(present) if op == "replace_members" else set()

    async def needed() -> AsyncGenerator[str, None]:
        async for one in ids:
            extra.discard(one)
            if (one in present) is not removing:
                outcome.unchanged += 1
                continue
            present.symmetric_difference_update((one,))
            yield one

    async for chunk in _chunks(needed()):
        yield ("delete_members" if removing else "add_members"), chunk
    async for chunk in _chunks(_each(extra)):
        yield "delete_members", chunk


async def _rounds(steps: AsyncIterator[Step]) -> AsyncGenerator[list[Step], None]:
    """Steps to be sent side by side; a replacement goes alone, before all others."""
    together: list[Step] = []
    async for step in steps:
        together.append(step)
        if len(together) == AT_ONCE or step[0] == "replace_members":
            yield together
            together = []
    if together:
        yield together
