"""``collections``, ``services`` and ``portfolios``: lists and single objects, as lines for people or as the JSON that Alma sent.

Lists are printed as they are read, so a long one begins at once and needs no memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Final, TypeVar

from cyclopts import Parameter

from alma_async.alma.client import AlmaClient
from alma_async.cli.attending import finish
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, show
from alma_async.pager import Pager
from alma_async.wire.codec import Model, unstructure

__all__ = [
    "get_collection",
    "get_portfolio",
    "get_service",
    "list_collections",
    "list_portfolios",
    "list_services",
]

M = TypeVar("M", bound=Model)
Json = Annotated[bool, Parameter(negative="", help="JSON as Alma sent it, one object a line")]

# Each column: the place of its value in the object, and its width; the last one takes the rest of the line.
Columns = tuple[tuple[str, int], ...]
_COLLECTION: Final[Columns] = (("id", 20), ("type.value", 10), ("portfolios.value", 17), ("public_name", 0))
_SERVICE: Final[Columns] = (
    ("id", 20),
    ("type.value", 12),
    ("activation_status.value", 24),
    ("public_description", 0),
)
_PORTFOLIO: Final[Columns] = (
    ("id", 20),
    ("availability.value", 19),
    ("resource_metadata.mms_id.value", 31),
    ("resource_metadata.title", 0),
)


def list_collections(
    *,
    q: str | None = None,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All electronic collections, or those that a search finds.

    :param q: field~words, such as name~springer
    """
    return finish(
        partial(_list, connection, lambda alma: alma.electronic.collections.list(q), _COLLECTION, json=json)
    )


def list_services(
    collection: str,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All services of a collection.

    :param collection: its id
    """
    return finish(
        partial(
            _list, connection, lambda alma: alma.electronic.services.list(collection), _SERVICE, json=json
        )
    )


def list_portfolios(
    collection: str,
    service: str,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All portfolios of a service, shortened as Alma shortens them in lists.

    :param collection: its id
    :param service: its id
    """
    listed = partial(
        _list, connection, lambda alma: alma.electronic.portfolios.list(collection, service), _PORTFOLIO
    )
    return finish(partial(listed, json=json))


def get_collection(
    collection: str,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """One collection, whole.

    :param collection: its id
    """
    return finish(
        partial(_get, connection, lambda alma: alma.electronic.collections.get(collection), json=json)
    )


def get_service(
    collection: str,
    service: str,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """One service, whole.

    :param collection: the id of its collection
    :param service: its id
    """
    return finish(
        partial(_get, connection, lambda alma: alma.electronic.services.get(collection, service), json=json)
    )


def get_portfolio(
    collection: str,
    service: str,
    portfolio: str,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """One portfolio, whole.

    :param collection: the id of its collection
    :param service: the id of its service
    :param portfolio: its id
    """

    def get(alma: AlmaClient) -> Awaitable[Model]:
        return alma.electronic.portfolios.get(collection, service, portfolio)

    return finish(partial(_get, connection, get, json=json))


async def _list(
    connection: Connection, listed: Callable[[AlmaClient], Pager[M]], columns: Columns, *, json: bool
) -> int:
    async with connection.client() as alma:
        pager = listed(alma)
        if not json:
            show(_row([name.removesuffix(".value") for name, _ in columns], columns))
        async for item in pager:
            raw = unstructure(item)
            if json:
                json_line(raw)
            else:
                found = dict(_leaves(raw))
                show(_row([found.get(name, "-") for name, _ in columns], columns))
    return 0


async def _get(connection: Connection, got: Callable[[AlmaClient], Awaitable[Model]], *, json: bool) -> int:
    async with connection.client() as alma:
        raw = unstructure(await got(alma))
    if json:
        json_line(raw)
        return 0
    leaves = list(_leaves(raw))
    width = max((len(name) for name, _ in leaves), default=0)
    for name, value in leaves:
        show(f"{name:<{width}}  {value}")
    return 0


def _row(texts: list[str], columns: Columns) -> str:
    return " ".join(f"{text:<{width}}" for text, (_, width) in zip(texts, columns, strict=True))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value that says something, under its place such as ``linking_details.url`` or ``notes[0].content``."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    elif value not in (None, ""):
        yield path, str(value)
