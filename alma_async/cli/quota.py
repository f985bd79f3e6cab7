"""``quota``: what remains of the day's calls, learned by one cheap call, and what the governor makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from alma_async.cli.attending import finish
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.errors import QuotaExhausted
from alma_async.governance.snapshot import QuotaSnapshot
from alma_async.settings import Priority

__all__ = ["as_json", "quota"]


def quota(
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Show the remaining calls and what this installation reserves. Costs one call.

    :param json: one JSON object
    """
    return finish(partial(_quota, connection, json=json))


async def _quota(connection: Connection, *, json: bool) -> int:
    code = 0
    async with connection.client() as alma:
        try:
            await alma.request("GET", "/almaws/v1/conf/test", priority=Priority.INTERACTIVE)
        except QuotaExhausted as error:
            say(str(error))
            code = 3
        snapshot = alma.quota()
    if json:
        json_line(as_json(snapshot))
    else:
        for name, value in as_json(snapshot).items():
            show(f"{name.replace('_', ' '):<18} {_words(value)}")
    return code


def as_json(snapshot: QuotaSnapshot) -> dict[str, Any]:
    """The snapshot as JSON holds it: priorities by name, moments in ISO 8601."""
    return {name: _plain(value) for name, value in attrs.asdict(snapshot).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return round(value, 3)
    return value.value if isinstance(value, Enum) else value


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, (int, float)) else value or "-"
