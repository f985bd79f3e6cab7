"""``sets members``, ``add``, ``remove`` and ``replace``: what is in a set, and ids put in or taken out.

Decides the exit code: 1 where Alma refused some of the ids; each is named with the reason, up to twenty of them (``--json``: all).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import attrs
from cyclopts import Group, Parameter

from alma_async.alma.client import AlmaClient
from alma_async.alma.members import MembersChange, RefusedIds
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.ids import read_ids
from alma_async.cli.signals import finish
from alma_async.cli.tables import Columns, DryRun, Json, list_all, show_requests
from alma_async.errors import AlmaError, InvalidRequest
from alma_async.wire.messages import Request

__all__ = ["add_members", "list_members", "remove_members", "replace_members"]

_TOLD: Final = 20
_MEMBER: Final[Columns] = (("id", 20), ("description", 0))

File = Annotated[
    str | None, Parameter(help="ids, one a line; - is stdin", allow_leading_hyphen=True, metavar="FILE")
]

Done = Annotated[bool, Parameter(negative="", help="what was done as one JSON object")]


@Parameter(name="*", group=Group("Ids", sort_key=5))
@attrs.frozen(kw_only=True)
class Terms:
    """How ids are read and compared."""

    id_type: Annotated[
        str | None, Parameter(help="BARCODE, SYSTEM_NUMBER, OCLC_NUMBER, ISBN, ISSN; Alma's own if not said")
    ] = None
    skip_unknown: Annotated[
        bool, Parameter(negative="", help="leave out ids that Alma does not know (bibs, items, users)")
    ] = False
    reconcile: Annotated[
        bool, Parameter(negative="", help="read the members first and send only what differs")
    ] = False


def list_members(set_id: str, /, *, json: Json = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """All members of a set.

    :param set_id: its id
    """
    return list_all(connection, lambda alma: alma.sets.members(set_id), _MEMBER, json=json)


def add_members(
    set_id: str,
    /,
    *ids: str,
    file: File = None,
    terms: Terms = Terms(),
    dry_run: DryRun = False,
    json: Done = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Add members to a set.

    :param set_id: its id
    :param ids: of the members
    """
    return _change(
        lambda alma: alma.sets.add_members,
        set_id,
        read_ids(ids, file),
        terms,
        connection,
        dry_run=dry_run,
        json=json,
    )


def remove_members(
    set_id: str,
    /,
    *ids: str,
    file: File = None,
    terms: Terms = Terms(),
    dry_run: DryRun = False,
    json: Done = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Take members out of a set; they themselves stay.

    :param set_id: its id
    :param ids: of the members
    """
    return _change(
        lambda alma: alma.sets.remove_members,
        set_id,
        read_ids(ids, file),
        terms,
        connection,
        dry_run=dry_run,
        json=json,
    )


def replace_members(
    set_id: str,
    /,
    *ids: str,
    file: File = None,
    terms: Terms = Terms(),
    dry_run: DryRun = False,
    json: Done = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Make these the members of a set.

    :param set_id: its id
    :param ids: of the members
    """
    return _change(
        lambda alma: alma.sets.replace_members,
        set_id,
        read_ids(ids, file),
        terms,
        connection,
        dry_run=dry_run,
        json=json,
    )


def _change(
    operation: Callable[[AlmaClient], Callable[..., Awaitable[MembersChange | tuple[Request, ...]]]],
    set_id: str,
    ids: list[str],
    terms: Terms,
    connection: Connection,
    *,
    dry_run: bool,
    json: bool,
) -> int:
    async def changed() -> int:
        async with connection.client() as alma:
            try:
                change = await operation(alma)(
                    set_id,
                    ids,
                    id_type=terms.id_type,
                    fail_on_invalid_id=not terms.skip_unknown,
                    reconcile=terms.reconcile,
                    dry_run=dry_run,
                )
            except AlmaError as error:
                if not isinstance(error, InvalidRequest):
                    error.add_note(
                        "What was accepted stays; the same again with --reconcile does what is left."
                    )
                raise
        if isinstance(change, tuple):
            show_requests(change, json=json)
            return 0
        _tell(change, json=json)
        return 1 if change.refused else 0

    return finish(changed)


def _tell(change: MembersChange, *, json: bool) -> None:
    counts = {"added": change.added, "removed": change.removed, "unchanged": change.unchanged}
    if json:
        json_line(
            counts
            | {"replaced": change.replaced, "refused": [_refusal(refused) for refused in change.refused]}
        )
        return
    counts["refused"] = sum(len(refused.ids) for refused in change.refused)
    told = [f"{count:,} {name}" for name, count in counts.items() if count]
    told += ["those before removed"] if change.replaced else []
    show(", ".join(told) or "Nothing to do.")
    for refused in change.refused[:_TOLD]:
        ids = refused.ids if len(refused.ids) <= _TOLD else (*refused.ids[:_TOLD], "...")
        say(f"Refused: {', '.join(ids)}: {refused.error}")
    if len(change.refused) > _TOLD:
        say(f"... and {len(change.refused) - _TOLD:,} more refusals: --json has all of them")


def _refusal(refused: RefusedIds) -> dict[str, Any]:
    error = refused.error
    return {"ids": refused.ids, "named": refused.named, "code": error.code, "message": error.message}
