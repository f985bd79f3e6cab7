"""``sets``: lists and single sets, made, changed and deleted; members are in ``members``, sets of other things in ``set_sources``.

Decides what a new set is where the command does not say: itemized, and seen by all staff, since Alma would show what an
API key made to nobody else.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import attrs
from cyclopts import Group, Parameter

from alma_async.alma.client import AlmaClient
from alma_async.alma.models.common import Coded
from alma_async.alma.models.sets import AlmaSet
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.tables import Columns, DryRun, Json, list_all, show_answer, tell_done
from alma_async.errors import ConfigurationError
from alma_async.wire.messages import Request

__all__ = ["UNDESCRIBED", "Described", "create_set", "delete_set", "get_set", "list_sets", "update_set"]

_SET: Final[Columns] = (("id", 20), ("type.value", 10), ("content.value", 13), ("name", 0))
_WHETHER: Final = {True: "true", False: "false"}


@Parameter(name="*", group=Group("Set", sort_key=5))
@attrs.frozen(kw_only=True)
class Described:
    """What a new set is said to be."""

    content: Annotated[
        str | None,
        Parameter(
            help="PORTFOLIO, IEPA, BIB_MMS, ITEM, USER ...; a set that is made of another has its content"
        ),
    ] = None
    description: Annotated[str | None, Parameter(help="what it is for")] = None
    note: Annotated[str | None, Parameter(help="a note on it")] = None
    private: Annotated[bool, Parameter(negative="", help="for its maker alone, which is the key")] = False

    def as_set(self, name: str, *, content: str | None = None, query: str | None = None) -> AlmaSet:
        """The set to be made; ``content`` where none was said."""
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
        """The set to be made, of the content of another where none was said."""
        content = None if self.content else (await alma.sets.get(set_id)).content.value
        return self.as_set(name, content=content)


UNDESCRIBED: Final = Described()


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
    :param content: PORTFOLIO, BIB_MMS ...
    :param type: itemized or logical ones only
    :param origin: where they were made: UI if not said, or UI_CZ, in the Community Zone
    """
    return list_all(
        connection,
        lambda alma: alma.sets.list(q, content_type=content, set_type=type, set_origin=origin),
        _SET,
        json=json,
    )


def get_set(set_id: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """One set, without its members.

    :param set_id: its id
    """
    return show_answer(connection, lambda alma: alma.sets.get(set_id), json=json)


def create_set(
    name: str,
    /,
    *,
    query: str | None = None,
    described: Described = UNDESCRIBED,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a set: itemized and empty, or logical with a query.

    :param name: no other set has it
    :param query: makes it logical
    """
    if described.content is None:
        raise ConfigurationError("Say what the set is of: --content PORTFOLIO, BIB_MMS ...")
    alma_set = described.as_set(name, query=query)
    return show_answer(connection, lambda alma: alma.sets.create(alma_set, dry_run=dry_run), json=json)


def update_set(
    set_id: str,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    note: str | None = None,
    private: bool | None = None,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Change what a set is called or said to be; all else, and its members, stay.

    :param set_id: its id
    :param private: for its maker alone, or for all staff
    """
    told = {"name": name, "description": description, "note": note}
    changes: dict[str, str | Coded] = {field: text for field, text in told.items() if text is not None}
    if private is not None:
        changes["private"] = Coded(_WHETHER[private])
    if not changes:
        raise ConfigurationError(
            "Say what to change: --name, --description, --note, --private or --no-private."
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
    """Delete a set; what was in it stays.

    :param set_id: its id
    """
    return tell_done(
        connection, lambda alma: alma.sets.delete(set_id, dry_run=dry_run), f"Set {set_id} is deleted."
    )
