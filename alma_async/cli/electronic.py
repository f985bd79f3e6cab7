"""``collections``, ``services`` and ``portfolios``: list, get, create, update, delete.

What an object must contain is Alma's to say: it is sent as it was read from the file. A file without an object is an error before
any call. An update reads the present object first, and is not sent where it would empty fields, as an item of a list would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

from cyclopts import Parameter

from alma_async._http.codec import Model, structure
from alma_async._http.json_text import loads
from alma_async.alma.electronic import BibHandling
from alma_async.alma.models.electronic import ElectronicCollection, ElectronicService, Portfolio
from alma_async.alma.resource import id_to_update
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.ids import STDIN, read_text
from alma_async.cli.tables import Columns, Json, list_all, report_done, show_answer
from alma_async.errors import BadAnswer, ConfigurationError, InvalidRequest

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = [
    "create_collection",
    "create_portfolio",
    "create_service",
    "delete_collection",
    "delete_portfolio",
    "delete_service",
    "get_collection",
    "get_portfolio",
    "get_service",
    "list_collections",
    "list_portfolios",
    "list_services",
    "update_collection",
    "update_portfolio",
    "update_service",
]

M = TypeVar("M", bound=Model)
CollectionId: TypeAlias = Annotated[str, Parameter(help="the id of the collection")]
ServiceId: TypeAlias = Annotated[str, Parameter(help="the id of the service")]
PortfolioId: TypeAlias = Annotated[str, Parameter(help="the id of the portfolio")]
File: TypeAlias = Annotated[
    str,
    Parameter(
        allow_leading_hyphen=True,
        metavar="FILE",
        help="the object as JSON, as get --json prints it; - is stdin",
    ),
]

Replace: TypeAlias = Annotated[
    bool,
    Parameter(
        help="also by an object that is not whole, such as an item of a list: fields that it lacks are emptied",
    ),
]

_NOT_WRITTEN: Final = frozenset({"link", "desc", "portfolios"})  # set by Alma, whatever is sent

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
    collection: CollectionId,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All services of a collection."""
    return list_all(connection, lambda alma: alma.electronic.services.list(collection), _SERVICE, json=json)


def list_portfolios(
    collection: CollectionId,
    service: ServiceId,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """All portfolios of a service, shortened as Alma shortens them in lists."""
    return list_all(
        connection,
        lambda alma: alma.electronic.portfolios.list(collection, service),
        _PORTFOLIO,
        json=json,
    )


def get_collection(
    collection: CollectionId,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """One collection, whole."""
    return show_answer(connection, lambda alma: alma.electronic.collections.get(collection), json=json)


def get_service(
    collection: CollectionId,
    service: ServiceId,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """One service, whole."""
    return show_answer(connection, lambda alma: alma.electronic.services.get(collection, service), json=json)


def get_portfolio(
    collection: CollectionId,
    service: ServiceId,
    portfolio: PortfolioId,
    /,
    *,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """One portfolio, whole."""
    return show_answer(
        connection,
        lambda alma: alma.electronic.portfolios.get(collection, service, portfolio),
        json=json,
    )


def create_collection(
    *,
    file: File,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a collection. It must have public_name and type."""
    made = _object(file, ElectronicCollection)
    return show_answer(connection, lambda alma: alma.electronic.collections.create(made), json=json)


def update_collection(
    *,
    file: File,
    replace: Replace = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Replace the collection whose id the object has. Take it from get: an item of a list is not sent."""
    changed = _object(file, ElectronicCollection)
    own_id = id_to_update(changed, ElectronicCollection, "collection", replace=True)

    async def updated(alma: AlmaClient) -> ElectronicCollection:
        area = alma.electronic.collections
        if not replace:
            _keeps_all(changed, await area.get(own_id))
        return await area.update(changed, replace=True)

    return show_answer(connection, updated, json=json)


def delete_collection(
    collection: CollectionId,
    /,
    *,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Delete a collection. A collection with services is not deleted."""
    return report_done(
        connection,
        lambda alma: alma.electronic.collections.delete(collection),
        f"Collection {collection} is deleted.",
    )


def create_service(
    collection: CollectionId,
    /,
    *,
    file: File,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a service. It must have type."""
    made = _object(file, ElectronicService)
    return show_answer(connection, lambda alma: alma.electronic.services.create(collection, made), json=json)


def update_service(
    collection: CollectionId,
    /,
    *,
    file: File,
    replace: Replace = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Replace the service whose id the object has. Take it from get: an item of a list is not sent."""
    changed = _object(file, ElectronicService)
    own_id = id_to_update(changed, ElectronicService, "service", replace=True)

    async def updated(alma: AlmaClient) -> ElectronicService:
        area = alma.electronic.services
        if not replace:
            _keeps_all(changed, await area.get(collection, own_id))
        return await area.update(collection, changed, replace=True)

    return show_answer(connection, updated, json=json)


def delete_service(
    collection: CollectionId,
    service: ServiceId,
    /,
    *,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Delete a service. A service with portfolios is not deleted."""
    return report_done(
        connection,
        lambda alma: alma.electronic.services.delete(collection, service),
        f"Service {service} is deleted.",
    )


def create_portfolio(
    collection: CollectionId,
    service: ServiceId,
    /,
    *,
    file: File,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Create a portfolio. It must have resource_metadata.mms_id. Run twice it makes two portfolios; load does not."""
    made = _object(file, Portfolio)
    return show_answer(
        connection, lambda alma: alma.electronic.portfolios.create(collection, service, made), json=json
    )


def update_portfolio(
    collection: CollectionId,
    service: ServiceId,
    /,
    *,
    file: File,
    replace: Replace = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Replace the portfolio whose id the object has. Take it from get: an item of a list is not sent."""
    changed = _object(file, Portfolio)
    own_id = id_to_update(changed, Portfolio, "portfolio", replace=True)

    async def updated(alma: AlmaClient) -> Portfolio:
        area = alma.electronic.portfolios
        if not replace:
            _keeps_all(changed, await area.get(collection, service, own_id))
        return await area.update(collection, service, changed, replace=True)

    return show_answer(connection, updated, json=json)


def delete_portfolio(
    collection: CollectionId,
    service: ServiceId,
    portfolio: PortfolioId,
    /,
    *,
    bib: BibHandling = "retain",
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Delete a portfolio.

    :param bib: what happens to a record that has no inventory left
    """
    return report_done(
        connection,
        lambda alma: alma.electronic.portfolios.delete(collection, service, portfolio, bib=bib),
        f"Portfolio {portfolio} is deleted.",
    )


def _keeps_all(changed: Model, present: Model) -> None:
    """Check that an update empties no field by accident.

    :raises InvalidRequest: naming the fields.
    """
    lost = list(_lost(present.to_dict(), changed.to_dict()))
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise InvalidRequest(
            f"The object lacks fields that are there now and would be emptied: {', '.join(lost[:5])}{more}.",
            advice='Get it first and change what get prints (a list shortens); "" clears a text. '
            "To replace it by this object nevertheless: --replace.",
        )


def _lost(present: Mapping[str, Any], sent: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The paths of values that are not sent; null in place of an object counts as not sent."""
    for name, value in present.items():
        if name in _NOT_WRITTEN or not _says(value):
            continue
        if isinstance(value, dict) and isinstance(sent.get(name), dict):
            yield from _lost(value, sent[name], f"{path}{name}.")
        elif name not in sent or (isinstance(value, dict) and sent[name] is None):
            yield f"{path}{name}"


def _says(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return value not in (None, "") if inner is None else any(map(_says, inner))


def _object(file: str, cls: type[M]) -> M:
    """The object in a file.

    :raises ConfigurationError: where there is none, or one of another kind; it says where.
    """
    source = "stdin" if file == STDIN else file
    try:
        return structure(loads(read_text(file).encode(), lone_surrogates=True), cls)
    except BadAnswer as error:
        failure = error.message
    raise ConfigurationError(f"{source} holds no {cls.__name__}: {failure}")
