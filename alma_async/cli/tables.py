"""Objects of Alma on stdout: one line each, one value a line, or the JSON that Alma sent.

Lists are printed as they are read, so a long one begins at once and needs no memory. What is requested is the command's affair.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from cyclopts import Parameter

from alma_async._http.codec import Model, unstructure
from alma_async._text import counted
from alma_async.cli.console import about, json_line, say, show

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
    "report_done",
    "show_answer",
    "show_object",
    "show_requests",
]

M = TypeVar("M", bound=Model)
DryRun: TypeAlias = Annotated[bool, Parameter(help="show what would be sent; change nothing")]
Json: TypeAlias = Annotated[bool, Parameter(help="JSON as Alma sent it, one object a line")]

# Each column: the path of its value in the object, and its width; the last one fills the line. Without columns, a line holds
# all values of the object.
Columns: TypeAlias = tuple[tuple[str, int], ...]


def list_all(
    connection: Connection, listed: Callable[[AlmaClient], Pager[M]], columns: Columns, *, json: bool
) -> int:
    """Run a command that lists objects."""
    heading = "" if json else _row([name.removesuffix(".value") for name, _ in columns], columns)

    async def print_all(alma: AlmaClient) -> int:
        printed = False
        async for item in listed(alma):
            if heading and not printed:  # not before there is an answer, which may be an error
                show(heading)
            printed = True
            _show_item(unstructure(item), columns, json=json)
        if heading and not printed:
            show(heading)
        return 0

    return connection.run(print_all)


def _show_item(raw: Mapping[str, Any], columns: Columns, *, json: bool) -> None:
    if json:
        json_line(raw)
    elif columns:
        found = dict(_leaves(raw))
        show(_row([found.get(name, "-") for name, _ in columns], columns))
    else:
        show(in_a_line(raw))


def show_answer(
    connection: Connection, asked: Callable[[AlmaClient], Awaitable[Model | Request]], *, json: bool
) -> int:
    """Run a command that prints one object, or in a dry run the request that would be sent."""

    async def print_answer(alma: AlmaClient) -> int:
        answer = await asked(alma)
        if isinstance(answer, Model):
            show_object(unstructure(answer), json=json)
        else:
            show_requests([answer], json=json)
        return 0

    return connection.run(print_answer)


def report_done(
    connection: Connection, asked: Callable[[AlmaClient], Awaitable[Request | None]], message: str
) -> int:
    """Run a command whose only result is a message, or in a dry run the request that would be sent."""

    async def report(alma: AlmaClient) -> int:
        planned = await asked(alma)
        if planned is None:
            say(message)
        else:
            show_requests([planned], json=False)
        return 0

    return connection.run(report)


def show_requests(requests: Sequence[Request], *, json: bool) -> None:
    """The requests of a dry run: method, path with its query, and body."""
    from urllib.parse import urlencode

    from alma_async._http.json_text import loads

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


def show_object(raw: Mapping[str, Any], *, json: bool) -> None:
    """One object, one value a line."""
    if raw.get("id"):
        about(raw["id"])
    if json:
        json_line(raw)
        return
    leaves = list(_leaves(raw))
    width = max((len(name) for name, _ in leaves), default=0)
    for name, value in leaves:
        show(f"{name:<{width}}  {value}")


def in_a_line(raw: Mapping[str, Any]) -> str:
    """All values of an object, each after its path."""
    return ", ".join(f"{name} {value}" for name, value in _leaves(raw))


def _row(texts: list[str], columns: Columns) -> str:
    return " ".join(f"{text:<{width}}" for text, (_, width) in zip(texts, columns, strict=True))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value that is not empty, with its path such as ``linking_details.url`` or ``notes[0].content``."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index}]")
    elif value not in (None, ""):
        yield path, str(value)
