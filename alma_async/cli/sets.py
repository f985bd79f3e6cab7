"""``sets``: sets, their members, and new sets made of other sets or of an import.

Decides what a new set is by default: itemized; visible to all staff, since Alma would show a set that an API key made to nobody
else; and of the content of the set that it is made of, or of bibs where it is made of an import or of a set of another zone.
Sets that are made of others fill after the answer, so each such command can wait for that.

Exit code 1 where Alma rejected some of the ids; up to twenty are printed with the reason (``--json``: all).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async._http.messages import Request
from alma_async.alma.client import AlmaClient
from alma_async.alma.members import MembersChange, RejectedIds
from alma_async.alma.models.common import Coded
from alma_async.alma.models.sets import AlmaSet
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.ids import read_ids
from alma_async.cli.tables import Columns, DryRun, Json, list_all, report_done, show_answer, show_requests
from alma_async.errors import AlmaError, ConfigurationError, InvalidRequest

__all__ = [
    "add_members",
    "combine_sets",
    "create_set",
    "delete_set",
    "filter_set",
    "get_set",
    "list_members",
    "list_sets",
    "remove_members",
    "replace_members",
    "set_from_import",
    "set_from_logical",
    "set_in_network",
    "update_set",
]

_SET: Final[Columns] = (("id", 20), ("type.value", 10), ("content.value", 13), ("name", 0))
_WHETHER: Final = {True: "true", False: "false"}
_PRINTED: Final = 20  # rejections, and ids of each
_MEMBER: Final[Columns] = (("id", 20), ("description", 0))
_BIBS: Final = "BIB_MMS"


@Parameter(name="*", group=Group("Set", sort_key=5))
@attrs.frozen(kw_only=True)
class NewSet:
    """The fields of a new set, and what is printed."""

    content: Annotated[
        str | None,
        Parameter(
            help="PORTFOLIO, IEPA, BIB_MMS, ITEM, USER ...; a set made of another has the content of that one by default"
        ),
    ] = None
    description: Annotated[str | None, Parameter(help="what the set is for")] = None
    note: Annotated[str | None, Parameter(help="a note on the set")] = None
    private: Annotated[
        bool,
        Parameter(help="visible to its creator alone, which is the key; by default to all staff"),
    ] = False
    dry_run: DryRun = False
    json: Json = False

    def as_set(self, name: str, *, content: str | None = None, query: str | None = None) -> AlmaSet:
        """The set to create; ``content`` is the default."""
        return AlmaSet(
            name=name,
            description=self.description,
            note=self.note,
            type=Coded("ITEMIZED" if query is None else "LOGICAL"),
            content=Coded(self.content or content),
            query=Coded(query),
            private=Coded(_WHETHER[self.private]),
        )

    async def like(self, name: str, alma: AlmaClient, set_id: str) -> AlmaSet:
        """The set to create; by default with the content of another."""
        content = None if self.content else (await alma.sets.get(set_id)).content.value
        return self.as_set(name, content=content)


def list_sets(
    *,
    q: str | None = None,
    content: str | None = None,
    type: Literal["ITEMIZED", "LOGICAL"] | None = None,  # noqa: A002 - Alma's own name
    origin: Literal["UI", "UI_CZ"] | None = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All sets, or some.

    :param q: field~words, such as name~springer or created_by~exl_api
    :param content: sets of this content only: PORTFOLIO, BIB_MMS ...
    :param type: sets of this type only
    :param origin: where the sets were created: UI (the default), or UI_CZ in the Community Zone
    """
    return list_all(
        connection,
        lambda alma: alma.sets.list(q, content_type=content, set_type=type, set_origin=origin),
        _SET,
        json=json,
    )


def get_set(set_id: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """One set, without its members.

    :param set_id: the id of the set
    """
    return show_answer(connection, lambda alma: alma.sets.get(set_id), json=json)


def create_set(
    name: str,
    /,
    *,
    query: str | None = None,
    fields: NewSet = NewSet(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a set: itemized and empty, or logical with a query.

    :param name: a name that no other set has
    :param query: makes the set logical: what it finds, such as PORTFOLIO where PORTFOLIO ((title
        CONTAIN "music"))
    """
    if fields.content is None:
        raise ConfigurationError("The content of the set is missing: --content PORTFOLIO, BIB_MMS ...")
    alma_set = fields.as_set(name, query=query)
    return show_answer(
        connection, lambda alma: alma.sets.create(alma_set, dry_run=fields.dry_run), json=fields.json
    )


def update_set(
    set_id: str,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    note: str | None = None,
    private: Annotated[bool | None, Parameter(negative="--no-private")] = None,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Change the name, description, note or visibility of a set; nothing else, and not its members.

    :param set_id: the id of the set
    :param name: the new name, which no other set has
    :param description: the new description
    :param note: the new note
    :param private: visible to its creator alone, or to all staff
    """
    texts = {"name": name, "description": description, "note": note}
    changes: dict[str, str | Coded] = {field: text for field, text in texts.items() if text is not None}
    if private is not None:
        changes["private"] = Coded(_WHETHER[private])
    if not changes:
        raise ConfigurationError(
            "Nothing to change was given: --name, --description, --note, --private or --no-private."
        )

    async def updated(alma: AlmaClient) -> AlmaSet | Request:
        alma_set = await alma.sets.get(set_id)
        for field, value in changes.items():
            setattr(alma_set, field, value)
        return await alma.sets.update(alma_set, dry_run=dry_run)

    return show_answer(connection, updated, json=json)


def delete_set(
    set_id: str,
    /,
    *,
    dry_run: DryRun = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Delete a set; its members are not deleted.

    :param set_id: the id of the set
    """
    return report_done(
        connection, lambda alma: alma.sets.delete(set_id, dry_run=dry_run), f"Set {set_id} is deleted."
    )


@Parameter(name="*", group=Group("Ids", sort_key=5))
@attrs.frozen(kw_only=True)
class IdOptions:
    """Where ids come from, how they are compared, and what is printed."""

    file: Annotated[
        str | None, Parameter(help="ids, one a line; - is stdin", allow_leading_hyphen=True, metavar="FILE")
    ] = None
    id_type: Annotated[
        str | None, Parameter(help="BARCODE, SYSTEM_NUMBER, OCLC_NUMBER, ISBN, ISSN; by default Alma's ids")
    ] = None
    skip_unknown: Annotated[
        bool, Parameter(help="leave out ids that Alma does not know; possible for bibs, items and users")
    ] = False
    reconcile: Annotated[bool, Parameter(help="read the members first, and send only what differs")] = False
    dry_run: DryRun = False
    json: Annotated[bool, Parameter(help="what was done as one JSON object")] = False


def list_members(set_id: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """All members of a set.

    :param set_id: the id of the set
    """
    return list_all(connection, lambda alma: alma.sets.members(set_id), _MEMBER, json=json)


def add_members(
    set_id: str, /, *ids: str, options: IdOptions = IdOptions(), connection: Connection = FROM_ENVIRONMENT
) -> int:
    """Add members to a set.

    :param set_id: the id of the set
    :param ids: the ids of the members, unless --file has them
    """
    return _change(lambda alma: alma.sets.add_members, set_id, ids, options, connection)


def remove_members(
    set_id: str, /, *ids: str, options: IdOptions = IdOptions(), connection: Connection = FROM_ENVIRONMENT
) -> int:
    """Remove members from a set; the objects are not deleted.

    :param set_id: the id of the set
    :param ids: the ids of the members, unless --file has them
    """
    return _change(lambda alma: alma.sets.remove_members, set_id, ids, options, connection)


def replace_members(
    set_id: str, /, *ids: str, options: IdOptions = IdOptions(), connection: Connection = FROM_ENVIRONMENT
) -> int:
    """Make these the members of a set.

    :param set_id: the id of the set
    :param ids: the ids of the members, unless --file has them
    """
    return _change(lambda alma: alma.sets.replace_members, set_id, ids, options, connection)


def _change(
    operation: Callable[[AlmaClient], Callable[..., Awaitable[MembersChange | tuple[Request, ...]]]],
    set_id: str,
    words: Sequence[str],
    options: IdOptions,
    connection: Connection,
) -> int:
    ids = read_ids(words, options.file)

    async def change_members(alma: AlmaClient) -> int:
        try:
            change = await operation(alma)(
                set_id,
                ids,
                id_type=options.id_type,
                fail_on_invalid_id=not options.skip_unknown,
                reconcile=options.reconcile,
                dry_run=options.dry_run,
            )
        except AlmaError as error:
            if not isinstance(error, InvalidRequest):
                error.add_note("What was accepted stays; the same command with --reconcile does the rest.")
            raise
        if isinstance(change, tuple):
            show_requests(change, json=options.json)
            return 0
        _show_change(change, json=options.json)
        return 1 if change.rejected else 0

    return connection.run(change_members)


def _show_change(change: MembersChange, *, json: bool) -> None:
    counts = {"added": change.added, "removed": change.removed, "unchanged": change.unchanged}
    if json:
        json_line(
            counts | {"replaced": change.replaced, "rejected": [_rejection(ids) for ids in change.rejected]}
        )
        return
    counts["rejected"] = sum(len(rejected.ids) for rejected in change.rejected)
    parts = [f"{count:,} {name}" for name, count in counts.items() if count]
    parts += ["the earlier members removed"] if change.replaced else []
    show(", ".join(parts) or "Nothing to do.")
    for rejected in change.rejected[:_PRINTED]:
        ids = rejected.ids if len(rejected.ids) <= _PRINTED else (*rejected.ids[:_PRINTED], "...")
        say(f"Rejected: {', '.join(ids)}: {rejected.error}")
    if len(change.rejected) > _PRINTED:
        say(f"... and {len(change.rejected) - _PRINTED:,} more rejections: --json has all of them")


def _rejection(rejected: RejectedIds) -> dict[str, Any]:
    error = rejected.error
    return {"ids": rejected.ids, "named": rejected.named, "code": error.code, "message": error.message}


@Parameter(name="*", group=Group("Set", sort_key=5))
@attrs.frozen(kw_only=True)
class MadeSet(NewSet):
    """A new set that is made of others, which fills after the answer."""

    wait: Annotated[bool, Parameter(help="wait until the set has filled")] = False
    timeout: Annotated[
        float | None,
        Parameter(validator=Number(gte=0), metavar="SECONDS", help="with --wait: the longest wait"),
    ] = None

    def run(self, connection: Connection, make: Callable[[AlmaClient], Awaitable[AlmaSet | Request]]) -> int:
        """Run a command that creates a set, and wait for it if asked to.

        :raises ConfigurationError: for a timeout without a wait.
        """
        if self.timeout is not None and not self.wait:
            raise ConfigurationError("--timeout is for --wait; nothing was sent.")

        async def filled(alma: AlmaClient) -> AlmaSet | Request:
            alma_set = await make(alma)
            if not self.wait or not isinstance(alma_set, AlmaSet):
                return alma_set
            say(f"Set {alma_set.id} is created and is filling.")
            return await alma.sets.wait_until_filled(alma_set.id, timeout=self.timeout)

        return show_answer(connection, filled, json=self.json)


def combine_sets(
    name: str,
    operator: Literal["AND", "OR", "NOT"],
    set1: str,
    set2: str,
    /,
    *,
    fields: MadeSet = MadeSet(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a set of two others. It fills after the answer.

    :param name: a name that no other set has
    :param operator: AND: the members of both; OR: of either; NOT: of the first but not of the
        second
    :param set1: the id of the first set
    :param set2: the id of the second set
    """

    async def combined(alma: AlmaClient) -> AlmaSet | Request:
        return await alma.sets.combine(
            await fields.like(name, alma, set1), operator, set1, set2, dry_run=fields.dry_run
        )

    return fields.run(connection, combined)


def filter_set(
    name: str,
    set_id: str,
    rule: str,
    /,
    *,
    fields: MadeSet = MadeSet(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a set of those members of another that an indication rule finds. It fills after the answer.

    :param name: a name that no other set has
    :param set_id: the id of the other set
    :param rule: the name of the indication rule, as Alma's configuration shows it
    """

    async def filtered(alma: AlmaClient) -> AlmaSet | Request:
        return await alma.sets.create_filtered(
            await fields.like(name, alma, set_id), set_id, rule, dry_run=fields.dry_run
        )

    return fields.run(connection, filtered)


def set_from_logical(
    name: str,
    set_id: str,
    /,
    *,
    fields: MadeSet = MadeSet(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create an itemized set of what a logical one finds now. It fills after the answer.

    :param name: a name that no other set has
    :param set_id: the id of the logical set
    """

    async def frozen(alma: AlmaClient) -> AlmaSet | Request:
        return await alma.sets.create_from_logical(
            await fields.like(name, alma, set_id), set_id, dry_run=fields.dry_run
        )

    return fields.run(connection, frozen)


def set_from_import(
    name: str,
    instance: str,
    population: str,
    /,
    *,
    fields: MadeSet = MadeSet(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a set of the records that one run of a metadata import loaded.

    :param name: a name that no other set has
    :param instance: the id of the run
    :param population: which records: one of the populations that jobs instance names, such as
        TOTAL_RECORDS_IMPORTED
    """
    alma_set = fields.as_set(name, content=_BIBS)

    def imported(alma: AlmaClient) -> Awaitable[AlmaSet | Request]:
        return alma.sets.create_from_import(alma_set, instance, population, dry_run=fields.dry_run)

    return fields.run(connection, imported)


def set_in_network(
    name: str,
    set_id: str,
    /,
    *,
    fields: MadeSet = MadeSet(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a set in the Network Zone, of the records that the records of a set of an institution are linked to.

    :param name: a name that no other set has
    :param set_id: the id of the itemized set of the Institution Zone; the key is one of the Network
        Zone
    """
    alma_set = fields.as_set(name, content=_BIBS)

    def linked(alma: AlmaClient) -> Awaitable[AlmaSet | Request]:
        return alma.sets.create_in_network(alma_set, set_id, dry_run=fields.dry_run)

    return fields.run(connection, linked)
