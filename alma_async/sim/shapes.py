"""In which shape an object is answered: how much of it, and in which of the forms that Alma has had.

Decides nothing of what is kept. Recorded: answers of 2018 with every member, of 2025 without those that say nothing, and
with ``{}`` for one coded value. That the answer to a write may show less than a GET is inferred: no such answer is known.
The odd forms of members are those that clients of Alma have met.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

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
    if not config.empty_members:
        result = _sparse(result)
    return _Odd(config)(result) if config.odd_fields else result


def _after_a_write(result: Json, route: Route, config: Config) -> Json:
    item = _ITEMS.get(route.path.rpartition("/")[-1])
    answers = (route.method == "POST" and config.post_answers) or config.write_answers
    if item is None or answers == "whole":
        return result
    if answers == "short":
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


@attrs.frozen
class _Odd:
    """Writes some members in an unusual form; which ones, the seed, the object and the member decide."""

    config: Config

    def __call__(self, result: Json, of: str = "") -> Json:
        of = f"{of}/{result.get('id', '')}"
        return {name: self._member(f"{of}/{name}", name, value) for name, value in result.items()}

    def _member(self, of: str, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self(one, of) if isinstance(one, dict) else one for one in value]
        odd = _odd_form(name, value)
        if odd is not None and random.Random(f"{self.config.seed}:{of}").random() < self.config.odd_fields:
            return odd
        return self(value, of) if isinstance(value, dict) else value


def _odd_form(name: str, value: Any) -> Any:
    """Another way to write a member, or None; never of what identifies an object or counts a list."""
    if name in _SACRED:
        return None
    if isinstance(value, dict):
        return value["value"] if value.keys() == {"value", "desc"} and value["value"] else None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return float(value)
    if not isinstance(value, str):
        return None
    if _DAY.fullmatch(value):
        return f"{value[:10]}T00:00:00.000Z"
    return float(value) if name.startswith("number_of_") and value.isdigit() else None


_SACRED = frozenset({"id", "link", "mms_id", "total_record_count"})
_DAY = re.compile(r"\d{4}-\d\d-\d\dZ", re.ASCII)
