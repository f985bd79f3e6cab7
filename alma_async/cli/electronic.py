"""``collections``, ``services`` and ``portfolios``: lists and single objects."""

from __future__ import annotations

from typing import Final

from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.tables import Columns, Json, list_all, show_answer

__all__ = [
    "get_collection",
    "get_portfolio",
    "get_service",
    "list_collections",
    "list_portfolios",
    "list_services",
]

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
    return list_all(connection, lambda alma: alma.electronic.collections.list(q), _COLLECTION, json=json)


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
    return list_all(connection, lambda alma: alma.electronic.services.list(collection), _SERVICE, json=json)


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
    return list_all(
        connection,
        lambda alma: alma.electronic.portfolios.list(collection, service),
        _PORTFOLIO,
        json=json,
    )


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
    return show_answer(connection, lambda alma: alma.electronic.collections.get(collection), json=json)


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
    return show_answer(connection, lambda alma: alma.electronic.services.get(collection, service), json=json)


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
    return show_answer(
        connection,
        lambda alma: alma.electronic.portfolios.get(collection, service, portfolio),
        json=json,
    )
