"""The members of a set: listed, added, removed, replaced, in requests of at most 1,000 ids.

Decides how ids become requests, and what a rejection says of them; the governor decides when each
goes. 1,000 ids a request, and that one wrong id has the whole request rejected, are documented;
that a set takes several requests side by side is not, hence no more than four. An id that comes
again is sent once, for which all are remembered (some 100 bytes each). A rejected request is sent
again in two parts, the ids that Alma's message names and the others, or else by halves, until only
the wrong ones are rejected, each with its reason; a replacement, which is atomic, is not. Alma
names one id of those that are in the set already (seen), so after some such rejections the members
are read, once, and only what is missing is sent; likewise what is to be removed and is not there.

Wrong ids are in the result. Any other failure (there is no such set, the quota is spent, an answer
was lost) is raised, with what was done until then: requests in progress are waited for, no further
one goes out. The same call with ``reconcile=True`` then does what is left to do, and no more.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, Literal, TypeAlias, TypedDict, Unpack, overload

import anyio
import attrs

from alma_async._core.pager import Pager
from alma_async._http.codec import unstructure
from alma_async._http.json_text import dumps
from alma_async._http.messages import Request
from alma_async._secret import discreet
from alma_async.alma import routes
from alma_async.alma.models.sets import AlmaSet, SetMember, SetMembers
from alma_async.alma.resource import Resource
from alma_async.errors import AlmaError, InvalidRequest, OutcomeUnknown
from alma_async.settings import FLAG, Check

__all__ = ["IN_SET", "MOST", "Ids", "Members", "MembersChange", "RejectedIds", "size_of"]

Ids: TypeAlias = Iterable[str] | AsyncIterable[str]
Operation: TypeAlias = Literal["add_members", "delete_members", "replace_members"]
Step: TypeAlias = tuple[Operation, tuple[str, ...]]

MOST: Final = 1000  # documented: ids in one request (60118)
AT_ONCE: Final = 4
MOST_SPLITS: Final = (
    200  # ours: requests of one change that are sent again in part; the rest is rejected together
)

# Documented: the fault lies in one id or several, and nothing was changed.
_OF_IDS: Final = frozenset({"60114", "60115", "60116", "60117", "60119", "60120", "60176"})
IN_SET: Final = "60115"  # documented: the id is in the set already
_IS_SO: Final = {"add_members": IN_SET, "delete_members": "60117"}  # documented: or is not in it
# Ours: such rejections of one change after which the members are read. Each costs two requests, a page of 100 members one.
_READ_AFTER: Final = 5
_IDS: Final = Check(
    "a list of ids, or another iterable that is no text",
    lambda value: isinstance(value, (Iterable, AsyncIterable)) and not isinstance(value, (str, bytes)),
)
_WORD: Final = re.compile(r"[^\s,;:'\"()\[\]{}<>]+")


@attrs.frozen(kw_only=True)
class RejectedIds:
    """Ids that Alma rejected together, and why: one, where its request was halved down to it."""

    ids: tuple[str, ...] = attrs.field(repr=lambda ids: f"<{len(ids)} ids>")
    error: InvalidRequest

    @property
    def named(self) -> tuple[str, ...]:
        """Those of them that Alma's messages name; none where they name none. The rest may well be
        right.
        """
        words = {word.rstrip(".") for problem in self.error.errors for word in _WORD.findall(problem.message)}
        return tuple(one for one in self.ids if one in words)


@attrs.frozen(kw_only=True)
class MembersChange:
    """The outcome of a change of members, by their ids.

    ``added`` and ``removed`` count the ids of accepted requests; ``replaced`` says that a
    replacement took out what was in the set before, which nobody counts. With
    ``fail_on_invalid_id=False`` Alma leaves out what it does not know and does not say which:
    compare ``number_of_members`` of the set. ``unchanged`` were given before, or were so already
    (``reconcile``, or where many are). ``rejected`` holds the ids that Alma rejected. ``size`` is
    how many members the set had then, by the answer of one request; None where it took several, as
    these are answered side by side. Of a call that was raised, the error's ``done`` is this.
    """

    added: int = 0
    removed: int = 0
    unchanged: int = 0
    rejected: tuple[RejectedIds, ...] = ()
    replaced: bool = False
    size: int | None = None


class MemberOptions(TypedDict, total=False):
    """How members are changed; see ``Members.add_members``."""

    id_type: str | None
    fail_on_invalid_id: bool
    reconcile: bool


@attrs.define
class _Outcome:
    """What has become of a change so far."""

    added: int = 0
    removed: int = 0
    unchanged: int = 0
    splits: int = 0
    replaced: bool = False
    sizes: list[int | None] = attrs.field(factory=list)  # by the answers
    rejected: list[RejectedIds] = attrs.field(factory=list)
    failure: AlmaError | None = None
    present: set[str] | None = None  # what was in the set, once it was read
    were_so: int = 0  # rejections of ids that were so already
    reading: anyio.Lock = attrs.field(factory=anyio.Lock)

    def left(self, step: Step) -> Step:
        """The step without the ids that are known to be so already; a replacement as it is."""
        op, ids = step
        if self.present is None or op == "replace_members":
            return step
        left = tuple(one for one in ids if (one in self.present) is (op == "delete_members"))
        self.unchanged += len(ids) - len(left)
        return op, left

    def found(self, present: set[str]) -> None:
        """The members are known: what was rejected before for being so already was so."""
        self.present = present
        for one in [one for one in self.rejected if one.error.code in _IS_SO.values()]:
            if all((single in present) is (one.error.code == _IS_SO["add_members"]) for single in one.ids):
                self.rejected.remove(one)
                self.unchanged += len(one.ids)

    def took(self, step: Step) -> None:
        op, ids = step
        self.replaced |= op == "replace_members"
        self.removed += len(ids) if op == "delete_members" else 0
        self.added += len(ids) if op != "delete_members" else 0

    def failed(self, step: Step, error: AlmaError) -> tuple[Step, ...]:
        """What to send instead. Not where a replacement is rejected: what follows would be added to
        the old members.
        """
        op, ids = step
        if not isinstance(error, InvalidRequest) or error.code not in _OF_IDS:
            self.failure = self.failure or error
            return ()
        rejected = RejectedIds(ids=ids, error=error)
        if op == "replace_members":
            self.rejected.append(rejected)
            self.failure = self.failure or error
            return ()
        rest = self.left(step)
        if rest != step:
            return (rest,) if rest[1] else ()
        named = rejected.named
        if len(ids) == 1 or self.splits >= MOST_SPLITS:
            self.rejected.append(rejected)
            return ()
        self.splits += 1
        if 0 < len(named) < len(ids):
            return (op, tuple(one for one in ids if one not in {*named})), (op, named)
        middle = len(ids) // 2
        return (op, ids[:middle]), (op, ids[middle:])

    def result(self) -> MembersChange:
        """What became of the ids; a failure is raised with it."""
        change = MembersChange(
            added=self.added,
            removed=self.removed,
            unchanged=self.unchanged,
            rejected=tuple(self.rejected),
            replaced=self.replaced,
            size=self.sizes[0] if len(self.sizes) == 1 else None,
        )
        if self.failure is None:
            return change
        self.failure.done = change
        if self.failure.effect == "none" and (change.added or change.removed):
            self.failure._effect = "done"
        counts = (
            f"Until then {change.added:,} were added, {'those before' if change.replaced else f'{change.removed:,}'} removed, "
            f"{sum(len(one.ids) for one in change.rejected):,} rejected."
        )
        self.failure.add_note(counts)
        advice = self.failure._advice
        if isinstance(self.failure, OutcomeUnknown):  # here, unlike elsewhere, a repeat does nothing twice
            advice = "Make the same call with reconcile=True: it does what is left to do, and no more."
        self.failure._advice = f"{counts} {advice}"
        raise self.failure


@attrs.define
class _Steps:
    """How ids become requests, one id after the other. ``present`` is what is in the set, where
    only the rest is sent.

    To replace by nothing is sent as it is; Alma rejects it (60113).
    """

    op: Operation
    present: set[str] | None
    outcome: _Outcome
    _seen: set[str] = attrs.field(factory=set)
    _chunk: list[str] = attrs.field(factory=list)
    _begun: bool = False

    def take(self, one: str) -> Iterator[Step]:
        """The request that is complete with this id, if one is."""
        if one in self._seen or self._is_so(one):
            self.outcome.unchanged += 1
        else:
            self._chunk.append(one)
        self._seen.add(one)
        if len(self._chunk) == MOST:
            yield self._step()

    def rest(self) -> Iterator[Step]:
        """The requests for what is left."""
        replacing = self.op == "replace_members"
        if self._chunk or (replacing and self.present is None and not self._begun):
            yield self._step()
        extra = sorted((self.present or set()) - self._seen) if replacing else []
        for at in range(0, len(extra), MOST):
            yield "delete_members", tuple(extra[at : at + MOST])

    def _is_so(self, one: str) -> bool:
        return self.present is not None and (one in self.present) is not (self.op == "delete_members")

    def _step(self) -> Step:
        follows = self.op == "replace_members" and (self._begun or self.present is not None)
        step: Step = ("add_members" if follows else self.op), tuple(self._chunk)
        self._begun, self._chunk = True, []
        return step


@discreet
class Members(Resource):
    """The members of a set: list, add, remove, replace."""

    def members(self, set_id: str, *, offset: int = 0) -> Pager[SetMember]:
        """All members; each once, although offsets shift while a set changes. Of portfolio sets
        they carry ids alone.

        :raises NotFound: Alma's 60107.
        """
        return self._pager(routes.SET_MEMBERS, (set_id,), "member", SetMember, offset=offset)

    @overload
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[False] = ..., **terms: Unpack[MemberOptions]
    ) -> MembersChange: ...
    @overload
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[True], **terms: Unpack[MemberOptions]
    ) -> tuple[Request, ...]: ...
    @overload
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: bool, **terms: Unpack[MemberOptions]
    ) -> MembersChange | tuple[Request, ...]: ...
    async def add_members(
        self, set_id: str, ids: Ids, *, dry_run: bool = False, **terms: Unpack[MemberOptions]
    ) -> MembersChange | tuple[Request, ...]:
        """Add members, from any iterable of any length, async or not. A repeat is sent once.

        :param id_type: what the ids are if not Alma's own: BARCODE (items); SYSTEM_NUMBER,
            OCLC_NUMBER, ISBN, ISSN (bibs); a type of the table UserIdentifierTypes (users).
        :param fail_on_invalid_id: False lets Alma skip ids it does not know, in sets of bibs, items
            and users only. A member that is in the set already (60115) is rejected still; where
            that comes again and again, the members are read, and those that are in are
            ``unchanged``.
        :param reconcile: read the members first and send what is missing only. Takes the memory of
            all their ids, some 100 bytes each; others' changes meanwhile are not seen.
        """
        return await self._change("add_members", set_id, ids, dry_run=dry_run, **terms)

    @overload
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[False] = ..., **terms: Unpack[MemberOptions]
    ) -> MembersChange: ...
    @overload
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[True], **terms: Unpack[MemberOptions]
    ) -> tuple[Request, ...]: ...
    @overload
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: bool, **terms: Unpack[MemberOptions]
    ) -> MembersChange | tuple[Request, ...]: ...
    async def remove_members(
        self, set_id: str, ids: Ids, *, dry_run: bool = False, **terms: Unpack[MemberOptions]
    ) -> MembersChange | tuple[Request, ...]:
        """Remove members, as ``add_members`` adds them. One that is not in the set (60117) is
        rejected, unless ``reconcile`` leaves it out.
        """
        return await self._change("delete_members", set_id, ids, dry_run=dry_run, **terms)

    @overload
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[False] = ..., **terms: Unpack[MemberOptions]
    ) -> MembersChange: ...
    @overload
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: Literal[True], **terms: Unpack[MemberOptions]
    ) -> tuple[Request, ...]: ...
    @overload
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: bool, **terms: Unpack[MemberOptions]
    ) -> MembersChange | tuple[Request, ...]: ...
    async def replace_members(
        self, set_id: str, ids: Ids, *, dry_run: bool = False, **terms: Unpack[MemberOptions]
    ) -> MembersChange | tuple[Request, ...]:
        """Make these the members. Atomic for up to 1,000; of more, the first 1,000 replace and the
        rest are added after.

        With ``reconcile`` what is missing is added and what is too much removed, so that the set is
        never without the members it keeps; this takes the memory of both.

        :raises InvalidRequest: where the replacement itself is rejected; nothing was changed then.
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
        for name, flag in (
            ("dry_run", dry_run),
            ("fail_on_invalid_id", fail_on_invalid_id),
            ("reconcile", reconcile),
        ):
            FLAG.require(name, flag, InvalidRequest)
        _IDS.require("ids", ids, InvalidRequest)
        if reconcile and id_type is not None:
            raise InvalidRequest(
                "reconcile compares Alma's own ids of members, so id_type cannot be given with it."
            )
        terms = {"id_type": id_type, "fail_on_invalid_id": None if fail_on_invalid_id else "false"}
        outcome, present = _Outcome(), None
        if reconcile:
            present = {str(member.id) async for member in self.members(set_id)}
        outcome.present = present
        steps = _Steps(op, present, outcome)
        planned: list[Step] = []
        async with aclosing(_each(ids)) as each:
            async for one in each:
                planned.extend(steps.take(one))
                if not dry_run and _is_round(planned):
                    await self._round(set_id, planned, terms, outcome)
                    planned = []
                if outcome.failure is not None:
                    return outcome.result()
        planned.extend(steps.rest())
        if dry_run:
            return tuple(self._request(set_id, step, terms) for step in planned)
        while planned and outcome.failure is None:
            at = 1 if planned[0][0] == "replace_members" else AT_ONCE
            await self._round(set_id, planned[:at], terms, outcome)
            planned = planned[at:]
        return outcome.result()

    async def _round(
        self, set_id: str, steps: Iterable[Step], terms: dict[str, str | None], outcome: _Outcome
    ) -> None:
        """These requests side by side."""
        async with anyio.create_task_group() as group:
            for step in steps:
                group.start_soon(self._send, set_id, step, terms, outcome)

    def _request(self, set_id: str, step: Step, terms: dict[str, str | None]) -> Request:
        op, ids = step
        body = dumps(unstructure(AlmaSet(members=SetMembers(member=[SetMember(id=one) for one in ids]))))
        query = {"op": op, **terms}
        return routes.SET["POST"].bind(set_id, query=query.items(), body=body, expects=set_id)

    async def _send(self, set_id: str, step: Step, terms: dict[str, str | None], outcome: _Outcome) -> None:
        """Send one request, and after a rejection the parts of it that may be right."""
        waiting = [step]
        while waiting and outcome.failure is None:
            given = waiting.pop()
            step = outcome.left(given)
            if step != given and not step[1]:
                continue
            try:
                answer = await self._done(self._request(set_id, step, terms), AlmaSet)
            except AlmaError as error:
                outcome.were_so += error.code == _IS_SO.get(step[0])
                if outcome.were_so >= _READ_AFTER and terms["id_type"] is None:
                    await self._read_present(set_id, outcome)
                waiting.extend(outcome.failed(step, error))
            else:
                outcome.took(step)
                outcome.sizes.append(size_of(answer))

    async def _read_present(self, set_id: str, outcome: _Outcome) -> None:
        async with outcome.reading:
            if outcome.present is None and outcome.failure is None:
                try:
                    outcome.found({str(member.id) async for member in self.members(set_id)})
                except AlmaError as error:
                    outcome.failure = error


def size_of(alma_set: AlmaSet) -> int | None:
    """How many members a set has; None where the answer does not say."""
    size = alma_set.number_of_members.value
    return size if isinstance(size, int) else None


def _is_round(steps: Sequence[Step]) -> bool:
    """Whether these are to be sent now; a replacement goes alone, before all others."""
    return len(steps) == AT_ONCE or any(op == "replace_members" for op, _ in steps)


async def _each(ids: Ids) -> AsyncGenerator[str, None]:
    """The ids one by one."""
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
