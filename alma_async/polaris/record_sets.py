"""``polaris.record_sets``: make a record set of ids, and read sets back.

Decides what is checked before anything is sent: a name, one of the five types, an organization as
the owner of a weeding set (all documented), ids that an ``int`` of Polaris can hold (documented as
array of int; 32 bits inferred: barcodes are longer than that), each of them once. One POST carries
all ids: a call that adds to a set is not known, and neither is any limit on their number.

That POST is not idempotent, and no known call finds a set by its name. Where its answer is lost,
whether there is a set can be seen only in Polaris itself; so it is never sent again but where it
provably had no effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Literal, overload

import attrs

from alma_async._core.pager import MOST_ITEMS, Pager
from alma_async._core.session import CallOptions, Session
from alma_async._http.json_text import dumps
from alma_async._http.messages import Request
from alma_async._http.outcome import Done
from alma_async._secret import discreet, secretive
from alma_async._text import counted
from alma_async.errors import BadAnswer, InvalidRequest, OutcomeUnknown
from alma_async.polaris import routes
from alma_async.polaris.models import (
    ObjectType,
    Record,
    RecordSet,
    RecordSetChange,
    record_class,
    structure,
)
from alma_async.polaris.routes import Place

__all__ = ["MOST", "PAGE", "RecordSets"]

PAGE: Final = 1000  # documented: the default of numRecords
MOST: Final = 2**31 - 1
_NAMED: Final = 20  # wrong ids that a message names


@discreet
class RecordSets:
    """Record sets."""

    def __init__(self, session: Session, options: CallOptions, place: Place) -> None:
        self._session = session
        self._options = options
        self._parts = place.parts

    @overload
    async def create(
        self,
        name: str,
        object_type: ObjectType,
        *,
        records: Iterable[int] = ...,
        organization_owner_id: int | None = ...,
        creator_id: int | None = ...,
        note: str | None = ...,
        dry_run: Literal[False] = ...,
    ) -> RecordSetChange: ...
    @overload
    async def create(
        self,
        name: str,
        object_type: ObjectType,
        *,
        records: Iterable[int] = ...,
        organization_owner_id: int | None = ...,
        creator_id: int | None = ...,
        note: str | None = ...,
        dry_run: Literal[True],
    ) -> Request: ...
    async def create(
        self,
        name: str,
        object_type: ObjectType,
        *,
        records: Iterable[int] = (),
        organization_owner_id: int | None = None,
        creator_id: int | None = None,
        note: str | None = None,
        dry_run: bool = False,
    ) -> RecordSetChange | Request:
        """Create a record set with these records, in one request.

        :param name: of printable characters.
        :param object_type: what it holds.
        :param records: ids of Polaris' own, not barcodes. An id that comes again is sent once and
            is in ``duplicates``.
        :param organization_owner_id: makes the organization the owner; None or 0: whoever creates
            it. A weeding set needs it.
        :param creator_id: a Polaris user; None: the one who is logged in.
        :param note: a text that Polaris shows with it.
        :param dry_run: send nothing, not even a login, and return what would be sent.
        :raises InvalidRequest: for what breaks a rule above; nothing is sent, and each wrong id is
            named with its place.
        :raises OutcomeUnknown: where the answer was lost; the message names the set and how many
            records it was to hold.
        :raises Unauthorized: where the login was rejected or a permission is missing; no set was
            made.
        """
        _check(name, object_type, organization_owner_id, creator_id)
        ids, duplicates = _each_once(records)
        members = {
            "Name": name,
            "ObjectTypeID": int(object_type),
            "CreatorID": creator_id,
            "OrganizationOwnerID": organization_owner_id,
            "Note": note,
            "Records": ids,
        }
        body = dumps({member: value for member, value in members.items() if value is not None})
        request = routes.RECORD_SETS.bind(*self._parts, body=body, expects="*")
        if dry_run:
            return request
        change = await self._created(request, f"the record set {name!r} with {counted(len(ids), 'record')}")
        return attrs.evolve(change, sent=len(ids), duplicates=duplicates)

    async def get(self, record_set_id: int) -> RecordSet:
        """The header of one set.

        :raises NotFound: where there is none of this id.
        """
        return structure((await self._read(record_set_id)).data, RecordSet)

    async def owner(self, record_set_id: int) -> RecordSet:
        """Whose a set is. Needs no permission (documented), and has few other fields."""
        return structure((await self._read(record_set_id, ownerInfoOnly="true")).data, RecordSet)

    def records(self, record_set_id: int, *, offset: int = 0) -> Pager[Record]:
        """What is in a set, 1,000 records a page: ``AuthorityRecord``, ``BibliographicRecord``,
        ``ItemRecord`` (also of weeding sets) or ``PatronRecord``.
        """

        async def fetch(at: int, limit: int) -> tuple[list[Record], int | None]:
            if not limit:  # asked for the total alone; to Polaris 0 would mean everything
                return [], (await self.get(record_set_id)).number_of_records
            query = {"startIndex": str(at), "numRecords": str(limit), "sortResults": "false"}
            request = routes.RECORDS.bind(*self._parts, str(record_set_id), query=query.items())
            done = await self._session.call(request, self._options)
            return await self._session.clock.aside(partial(_records, done.data)), None

        # a wrong id is an error now, not at the first use
        routes.RECORDS.bind(*self._parts, str(record_set_id))
        return Pager(fetch, key=lambda record: str(record.record_id), offset=offset, page=PAGE)

    async def _read(self, record_set_id: int, **query: str) -> Done:
        own_id = str(record_set_id)
        request = routes.RECORD_SET.bind(*self._parts, own_id, query=query.items(), expects=own_id)
        return await self._session.call(request, self._options)

    async def _created(self, request: Request, what: str) -> RecordSetChange:
        try:
            done = await self._session.call(request, self._options)
        except OutcomeUnknown as error:
            lost = error
        else:
            return _change(done, request, what)
        raise OutcomeUnknown(
            f"It is unknown whether {what} was made: {lost.message.partition(': ')[2]}",
            **lost.facts(),
            advice="Search for it in Polaris before you send it again: a repeat could make a second set.",
        )


def _check(name: str, object_type: int, organization_owner_id: int | None, creator_id: int | None) -> None:
    if not name.strip() or not name.isprintable():
        raise InvalidRequest("A record set needs a name of printable characters.")
    if object_type not in tuple(ObjectType):
        known = ", ".join(f"{kind.value} ({kind.name.lower()})" for kind in ObjectType)
        raise InvalidRequest(f"{object_type!r} is no type of record set: it is one of {known}.")
    for what, number in (("organization_owner_id", organization_owner_id), ("creator_id", creator_id)):
        if number is not None and not _is_number(number, least=0):
            raise InvalidRequest(f"{what} is a whole number, not {number!r}.")
    if object_type == ObjectType.WEEDING and not organization_owner_id:
        raise InvalidRequest("A weeding record set can be owned by an organization only: name it as owner.")


def _is_number(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def _each_once(records: Iterable[int]) -> tuple[list[int], tuple[int, ...]]:
    """The ids in their order, each once, and those that came again."""
    if isinstance(records, str | bytes):
        raise InvalidRequest("Give the ids as numbers in a list, not as a text.")
    ids: dict[int, None] = {}
    again: dict[int, None] = {}
    wrong: list[str] = []
    for place, one in enumerate(records):
        if not _is_number(one, least=1):
            wrong.append(f"records[{place}] is {ascii(one)[:40]}")
        elif one in ids:
            again[one] = None
        else:
            ids[one] = None
    if wrong:
        more = f" ... and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
        named = f"{', '.join(wrong[:_NAMED])}{more}"
        raise InvalidRequest(
            f"Ids of records are positive integers of at most {MOST:,}; nothing was sent: {named}."
        )
    return list(ids), tuple(again)


def _change(done: Done, request: Request, what: str) -> RecordSetChange:
    """What the answer to a creation says. The set is known to be made then, also where the answer
    cannot be read.
    """
    try:
        return structure(done.data, RecordSetChange)
    except BadAnswer as error:
        unreadable = error.message
    raise OutcomeUnknown(
        f"{what[0].upper()}{what[1:]} was made, but the answer could not be read: {unreadable}",
        status=done.response.status,
        method=request.method,
        path=request.path,
        effect="done",
        advice="Do not send it again.",
    )


@secretive
def _records(data: Any) -> list[Record]:
    listed = data.get("Records")
    if listed is not None and not isinstance(listed, list):
        raise BadAnswer(f"Records should be a list, but {type(listed).__name__} came.")
    if listed is not None and len(listed) > MOST_ITEMS * PAGE:
        raise BadAnswer(
            f"The answer holds {len(listed):,} records; not more than {MOST_ITEMS * PAGE:,} are read."
        )
    kind = record_class(data.get("ObjectTypeID"))
    return [structure(one, kind) for one in listed or ()]
