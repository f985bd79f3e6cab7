"""Objects of Alma on stdout: a line each, one value a line, or the JSON that Alma sent.

Decides nothing of what is asked for. Lists are printed as they are read, so a long one begins at once and needs no memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from cyclopts import Parameter

from alma_async.cli.attending import finish
from alma_async.cli.console import json_line, say, show
from alma_async.wire.codec import Model, unstructure

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient
    from alma_async.cli.connection import Connection
    from alma_async.pager import Pager

__all__ = [
    "Columns",
    "Json",
    "in_a_line",
    "list_all",
    "show_answer",
    "show_model",
    "show_object",
    "tell_done",
]

M = TypeVar("M", bound=Model)
Json: TypeAlias = Annotated[bool, Parameter(negative="", help="JSON as Alma sent it, one object a line")]

# Each column: the place of its value in the object, and its width; the last one takes the rest of the line. Without any,
# a line holds all that the object says.
Columns: TypeAlias = tuple[tuple[str, int], ...]


def list_all(
    connection: Connection, listed: Callable[[AlmaClient], Pager[M]], columns: Columns, *, json: bool
) -> int:
    """Run a command that lists."""
    return finish(partial(_list, connection, listed, columns, json=json))


def show_answer(
    connection: Connection, asked: Callable[[AlmaClient], Awaitable[Model]], *, json: bool
) -> int:
    """Run a command that is answered by one object."""

    async def answered() -> int:
        async with connection.client() as alma:
            show_model(await asked(alma), json=json)
        return 0

    return finish(answered)


def tell_done(connection: Connection, asked: Callable[[AlmaClient], Awaitable[None]], told: str) -> int:
    """Run a command that has no answer but that it is done."""

    async def done() -> int:
        async with connection.client() as alma:
            await asked(alma)
        say(told)
        return 0

    return finish(done)


def show_model(model: Model, *, json: bool) -> None:
    """One model, whole."""
    show_object(unstructure(model), json=json)


def show_object(raw: Mapping[str, Any], *, json: bool) -> None:
    """One object, one value a line."""
    if json:
        json_line(raw)
        return
    leaves = list(_leaves(raw))
    width = max((len(name) for name, _ in leaves), default=0)
    for name, value in leaves:
        show(f"{name:<{width}}  {value}")


async def _list(
    connection: Connection, listed: Callable[[AlmaClient], Pager[M]], columns: Columns, *, json: bool
) -> int:
    heading = "" if json else _row([name.removesuffix(".value") for name, _ in columns], columns)
    async with connection.client() as alma:
        async for item in listed(alma):
            if heading:  # not before there is an answer, which may be a refusal
                show(heading)
                heading = ""
            raw = unstructure(item)
            if json:
                json_line(raw)
            elif columns:
                found = dict(_leaves(raw))
                show(_row([found.get(name, "-") for name, _ in columns], columns))
            else:
                show(in_a_line(raw))
    if heading:
        show(heading)
    return 0


def in_a_line(raw: Mapping[str, Any]) -> str:
    """All that an object says."""
    return ", ".join(f"{name} {value}" for name, value in _leaves(raw))


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
