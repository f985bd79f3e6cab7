"""Objects of Alma on stdout: a line each, one value a line, or the JSON that Alma sent.

Decides nothing of what is asked for. Lists are printed as they are read, so a long one begins at once and needs no memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from cyclopts import Parameter

from alma_async._http.codec import Model, unstructure
from alma_async._text import counted
from alma_async.cli.console import json_line, say, show
from alma_async.cli.signals import finish

if TYPE_CHECKING:
    from alma_async._core.pager import Pager
    from alma_async._http.messages import Request
    from alma_async.alma.client import AlmaClient
    from alma_async.cli.connection import Connection

__all__ = [
    "Columns",
    "DryRun",
    "Json",
    "in_a_line",
    "list_all",
    "show_answer",
    "show_model",
    "show_object",
    "show_requests",
    "tell_done",
]

M = TypeVar("M", bound=Model)
DryRun: TypeAlias = Annotated[
    bool, Parameter(negative="", help="show what would be sent, and change nothing")
]
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
    connection: Connection, asked: Callable[[AlmaClient], Awaitable[Model | Request]], *, json: bool
) -> int:
    """Run a command that is answered by one object, or in a dry run by the request that would be sent."""

    async def answered() -> int:
        async with connection.client() as alma:
            answer = await asked(alma)
        if isinstance(answer, Model):
            show_model(answer, json=json)
        else:
            show_requests([answer], json=json)
        return 0

    return finish(answered)


def tell_done(
    connection: Connection, asked: Callable[[AlmaClient], Awaitable[Request | None]], told: str
) -> int:
    """Run a command that has no answer but that it is done, or in a dry run the request that would be sent."""

    async def done() -> int:
        async with connection.client() as alma:
            planned = await asked(alma)
        if planned is None:
            say(told)
        else:
            show_requests([planned], json=False)
        return 0

    return finish(done)


def show_requests(requests: Sequence[Request], *, json: bool) -> None:
    """The requests of a dry run: method, path with its query, and body."""
    from urllib.parse import urlencode

    from alma_async._http.codec import loads

    for request in requests:
        path = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        if json:
            body = None if request.body is None else loads(request.body, lone_surrogates=True)
            json_line({"method": request.method, "path": path, "body": body, "dry_run": True})
            continue
        show(f"{request.method} {path}")
        if request.body is not None:
            show(request.body.decode())
    if not json:
        say(f"This is a dry run: {counted(len(requests), 'request')} shown, none sent.")


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
