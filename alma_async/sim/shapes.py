"""In which shape an object is answered: how much of it, and in which of the forms that Alma has had.

Decides nothing of what is kept. Recorded: answers of 2018 with every member, of 2025 without those that say nothing, and
with ``{}`` for one coded value. That the answer to a write may show less than a GET is inferred: no such answer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alma_async.sim.config import Config
from alma_async.sim.fields import Json
from alma_async.sim.objects import collection_item, portfolio_item, service_item
from alma_async.sim.routes import Route

__all__ = ["shaped"]

_EMPTY: tuple[Any, ...] = (None, "", [], {})
_ITEMS: Mapping[str, Callable[[Json], Json]] = {
    "e-collections": collection_item,
    "{collection}": collection_item,
    "e-services": service_item,
    "{service}": service_item,
    "portfolios": portfolio_item,
    "{portfolio}": portfolio_item,
}


def shaped(result: Json | None, route: Route, config: Config) -> Json | None:
    """What is answered of a result."""
    if result is None:
        return None
    if route.method in ("POST", "PUT"):
        result = _after_a_write(result, route, config)
    return result if config.empty_members else _sparse(result)


def _after_a_write(result: Json, route: Route, config: Config) -> Json:
    item = _ITEMS.get(route.path.rpartition("/")[-1])
    if item is None or config.write_answers == "whole":
        return result
    if config.write_answers == "short":
        return item(result)
    return {name: value for name, value in result.items() if name != "coverage_details"}


def _sparse(result: Json) -> Json:
    """Without what says nothing; of a value that is empty, ``{}`` may be left."""
    kept = {name: _thinned(value) for name, value in result.items()}
    return {name: value for name, value in kept.items() if value not in _EMPTY or name == "access_type"}


def _thinned(value: Any) -> Any:
    if isinstance(value, list):
        return [_thinned(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {} if value.get("value", value) in _EMPTY else _sparse(value)
