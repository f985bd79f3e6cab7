"""``polaris``: record sets of Innovative Polaris from the shell.

Decides what a line of the file can be: an id of a Polaris record, a positive integer of 32 bits, which a barcode is not. Exit
code 1 where Polaris added fewer records than were sent, or warned of some; 3 where it is unknown whether the set was created.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter

from alma_async._http.json_text import loads
from alma_async._http.messages import Request
from alma_async._text import counted
from alma_async.cli.console import about, json_line, say, show
from alma_async.cli.ids import read_ids
from alma_async.cli.signals import finish
from alma_async.cli.tables import Json, in_a_line, show_object
from alma_async.polaris import ObjectType, PolarisClient, RecordSetChange
from alma_async.polaris.client import from_environment
from alma_async.polaris.record_sets import MOST

__all__ = ["create_record_set", "get_record_set", "list_records", "show_status"]

_TYPES: Final = {
    "authority": ObjectType.AUTHORITY,
    "bib": ObjectType.BIBLIOGRAPHIC,
    "item": ObjectType.ITEM,
    "patron": ObjectType.PATRON,
    "weeding": ObjectType.WEEDING,
}
_NAMED: Final = 20
_VARIABLES: Final[Mapping[str, str]] = {
    "base_url": "POLARIS_BASE_URL",
    "organization_id": "POLARIS_ORGANIZATION_ID",
    "workstation_id": "POLARIS_WORKSTATION_ID",
    "domain": "POLARIS_DOMAIN",
    "user": "POLARIS_USER",
    "password_file": "POLARIS_PASSWORD_FILE",
    "key_file": "POLARIS_API_KEY_FILE",
    "per_second": "POLARIS_PER_SECOND",
    "in_flight": "POLARIS_IN_FLIGHT",
    "read_only": "ALMA_READ_ONLY",
}
# An option that names a secret hides the variables of that secret and of any other login.
_HIDES: Final[Mapping[str, frozenset[str]]] = {
    "password_file": frozenset({"POLARIS_PASSWORD"}),
    "key_file": frozenset({"POLARIS_API_KEY", "POLARIS_USER"}),
}


@Parameter(name="*", group=Group("Connection", sort_key=10))
@attrs.frozen(kw_only=True)
class PolarisConnection:
    """Each option replaces its variable. Passwords and keys are never options: process lists show arguments."""

    base_url: Annotated[str | None, Parameter(help="the address of the server, https (POLARIS_BASE_URL)")] = (
        None
    )
    organization_id: Annotated[
        int | None, Parameter(help="id of the organization to log on at (POLARIS_ORGANIZATION_ID)")
    ] = None
    workstation_id: Annotated[
        int | None,
        Parameter(
            help="id of the workstation to log on from; it must be enabled for Leap (POLARIS_WORKSTATION_ID)"
        ),
    ] = None
    domain: Annotated[str | None, Parameter(help="network domain of the user (POLARIS_DOMAIN)")] = None
    user: Annotated[str | None, Parameter(help="staff user (POLARIS_USER)")] = None
    password_file: Annotated[
        str | None,
        Parameter(help="file that holds the password (POLARIS_PASSWORD_FILE); else POLARIS_PASSWORD"),
    ] = None
    key_file: Annotated[
        str | None,
        Parameter(help="instead of a user: file that holds an API key (POLARIS_API_KEY_FILE)"),
    ] = None
    per_second: Annotated[
        float | None,
        Parameter(help="calls a second; 10 by default, which is our choice (POLARIS_PER_SECOND)"),
    ] = None
    in_flight: Annotated[
        int | None,
        Parameter(help="calls under way at once; 4 by default, which is our choice (POLARIS_IN_FLIGHT)"),
    ] = None
    read_only: Annotated[
        bool | None,
        Parameter(help="reject every command that would write (ALMA_READ_ONLY)"),
    ] = None

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment as these options change it."""
        # an option that is off, --read-only=false, lifts nothing that a variable sets
        options = attrs.asdict(self).items()
        given = {name: value for name, value in options if value is not None and value is not False}
        hidden = frozenset[str]().union(*(_HIDES.get(name, ()) for name in given))
        kept = {name: value for name, value in environ.items() if name not in hidden}
        return kept | {_VARIABLES[name]: str(value) for name, value in given.items()}

    def client(self) -> PolarisClient:
        """A client for this connection.

        :raises ConfigurationError: where something is missing or wrong.
        """
        return PolarisClient(**from_environment(self.environment(os.environ), {}))

    def run(self, work: Callable[[PolarisClient], Awaitable[int]]) -> int:
        """Run a command with a client, to its end or to the first signal.

        :raises ConfigurationError: where something of the connection is missing or wrong.
        """
        return finish(self.client(), work)


FROM_ENVIRONMENT: Final = PolarisConnection()


def create_record_set(
    *,
    name: str,
    type: Literal["authority", "bib", "item", "patron", "weeding"],  # noqa: A002 - what the option is called
    file: Annotated[str, Parameter(allow_leading_hyphen=True, metavar="FILE")],
    owner: int | None = None,
    creator: int | None = None,
    note: str | None = None,
    dry_run: Annotated[bool, Parameter(help="send nothing; show what would be sent")] = False,
    json: Annotated[bool, Parameter(help="what was done as one JSON object")] = False,
    connection: PolarisConnection = FROM_ENVIRONMENT,
) -> int:
    """Create one record set of the ids in a file.

    :param name: the name of the new record set
    :param type: the type of its records
    :param file: ids of records, one a line; - is stdin
    :param owner: the organization that owns it, by default its creator; weeding sets need one
    :param creator: id of a Polaris user, by default the one who logs in
    :param note: what the record set is for
    """
    ids = [int(text) for text in read_ids((), file, fault=_fault)]

    async def create(polaris: PolarisClient) -> int:
        done = await polaris.record_sets.create(
            name,
            _TYPES[type],
            records=ids,
            organization_owner_id=owner,
            creator_id=creator,
            note=note,
            dry_run=dry_run,  # type: ignore[call-overload]
        )
        return _show_request(done, json=json) if isinstance(done, Request) else _show_change(done, json=json)

    return connection.run(create)


def get_record_set(
    record_set_id: int, /, *, json: Json = False, connection: PolarisConnection = FROM_ENVIRONMENT
) -> int:
    """One record set, without its contents.

    :param record_set_id: the id of the record set
    """

    async def get(polaris: PolarisClient) -> int:
        show_object((await polaris.record_sets.get(record_set_id)).raw, json=json)
        return 0

    return connection.run(get)


def list_records(
    record_set_id: int, /, *, json: Json = False, connection: PolarisConnection = FROM_ENVIRONMENT
) -> int:
    """What is in a record set.

    :param record_set_id: the id of the record set
    """

    async def print_all(polaris: PolarisClient) -> int:
        async for record in polaris.record_sets.records(record_set_id):
            if json:
                json_line(record.raw)
            else:
                show(in_a_line(record.raw))
        return 0

    return connection.run(print_all)


def show_status(*, json: Json = False, connection: PolarisConnection = FROM_ENVIRONMENT) -> int:
    """The version of the server, and whether it answers."""

    async def get(polaris: PolarisClient) -> int:
        show_object((await polaris.status()).raw, json=json)
        return 0

    return connection.run(get)


def _fault(text: str) -> str | None:
    if not (text.isascii() and text.isdigit()):
        return "is no id: give one positive integer a line"
    digits = text.lstrip("0")
    if not 0 < len(digits) <= len(str(MOST)) or int(digits) > MOST:
        return f"is no id: it is not between 1 and {MOST:,} (a barcode is not an id)"
    return None


def _show_request(request: Request, *, json: bool) -> int:
    body: dict[str, Any] = loads(request.body or b"")
    if json:
        json_line({"method": request.method, "path": request.path, "body": body})
    else:
        show(f"Would send {request.method} {request.path} with {counted(len(body['Records']), 'record')}.")
    return 0


def _show_change(change: RecordSetChange, *, json: bool) -> int:
    about(change.record_set_id)
    if json:
        json_line(attrs.asdict(change, filter=lambda field, _: field.name != "raw"))
    else:
        show(
            f"Record set {change.record_set_id}: {change.added:,} of {counted(change.sent, 'record')} added."
        )
        _warn(change)
    return 1 if change.warnings or change.added < change.sent else 0


def _warn(change: RecordSetChange) -> None:
    if change.duplicates:
        named = ", ".join(map(str, change.duplicates[:_NAMED]))
        more = " ..." if len(change.duplicates) > _NAMED else ""
        say(f"{counted(len(change.duplicates), 'id')} more than once in the file, sent once: {named}{more}")
    for warning in change.warnings:
        say(f"Polaris warns: {warning}")
