"""``quota``: what remains of the day's calls, learned by one cheap call, and what the governor makes of it.

Decides when to call: once, and while watching once a minute. Between the calls a watch reads the machine's budget, where
other processes of this machine write down what they learn, and costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, Final

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from alma_async.alma.client import AlmaClient
from alma_async.cli.connection import FROM_ENVIRONMENT, LONG, Connection, hold_of
from alma_async.cli.console import json_line, say, show
from alma_async.cli.quota_view import Drawn, as_json, line, lines, screen
from alma_async.cli.signals import attend, finish
from alma_async.errors import (
    BadAnswer,
    ConfigurationError,
    DeadlineExceeded,
    NotSent,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)
from alma_async.settings import Priority

__all__ = ["quota"]

EVERY: Final = 1.0
# A watch goes on through these.
_PASSING: Final = (BadAnswer, DeadlineExceeded, NotSent, QuotaExhausted, RateLimited, ServerFault)

Seconds = Annotated[float, Parameter(validator=Number(gte=0.1, lte=86_400))]
Looks = Annotated[float | None, Parameter(validator=Number(gte=0.1, lte=86_400))]


def quota(
    every: Looks = None,
    /,
    *,
    watch: Annotated[bool, Parameter(negative="")] = False,
    ask: Seconds = 60.0,
    json: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Show the remaining calls and what this installation reserves. Costs one call; --watch [SECONDS] keeps looking.

    Where all calls are held, it says until when and ends with 3.

    :param every: with --watch, seconds between two looks; 1 by default. Looking costs no call
    :param watch: look again and again, until Ctrl-C: a view on a terminal, else a line for each look
    :param ask: with --watch, seconds between two calls; what other processes here learn is seen between them
    :param json: one JSON object, of each look
    """
    if every is not None and not watch:
        raise ConfigurationError("A number of seconds goes with --watch.")
    if watch:
        anyio.run(partial(_watch, connection, every=every or EVERY, ask=ask, json=json))
        return 0  # to be interrupted is how a watch ends
    return finish(partial(_once, connection, json=json))


async def _once(connection: Connection, *, json: bool) -> int:
    code = 0
    async with connection.client() as alma:
        try:
            await _ask(alma)
        except (QuotaExhausted, RateLimited) as error:
            say(hold_of(alma) or str(error))
            code = 3
        snapshot = alma.quota()
    if json:
        json_line(as_json(snapshot))
    else:
        for name, value in as_json(snapshot).items():
            show(f"{name.replace('_', ' '):<18} {_words(value)}")
    return code


async def _ask(alma: AlmaClient) -> None:
    await alma.with_options(longest_hold=LONG).request(
        "GET", "/almaws/v1/conf/test", priority=Priority.INTERACTIVE
    )


async def _watch(connection: Connection, *, every: float, ask: float, json: bool) -> None:
    with ExitStack() as stack:
        draw = stack.enter_context(screen()) if sys.stdout.isatty() and not json else None
        async with connection.client() as alma:
            watch = Watch(alma, draw=draw, json=json)
            await attend(partial(watch.keep_asking, ask), tick=watch.look, every=every)


@attrs.define
class Watch:
    """Looks at what the client knows and tells it: on a terminal with ``draw``, else a line for each look."""

    alma: AlmaClient
    draw: Callable[[Iterable[str]], None] | None = attrs.field(kw_only=True)
    json: bool = attrs.field(kw_only=True)
    _drawn: Drawn = attrs.field(factory=Drawn, init=False)
    _trouble: str = attrs.field(default="", init=False)

    async def keep_asking(self, every: float) -> None:
        """Call, now and then."""
        while True:
            try:
                await _ask(self.alma)
                self._trouble = ""
            except _PASSING as error:
                self._trouble = str(error)
                if self.draw is None:
                    say(self._trouble)
            self.look()
            await self.alma.sleep(every)

    def look(self) -> None:
        """Look once. Costs no call."""
        seen, at = self.alma.quota(), self.alma.clock.utc()
        drawn = self._drawn.seen(seen, now=self.alma.clock.now())
        if self.draw is not None:
            self.draw(lines(seen, at=at, drawn=drawn, trouble=self._trouble))
            return
        if self.json:
            json_line(
                {"at": at.isoformat(timespec="milliseconds"), "drawn_per_second": drawn} | as_json(seen)
            )
        else:
            show(line(seen, at=at, drawn=drawn))
        sys.stdout.flush()


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value >= 1000:
        value = round(value)
    return f"{value:,}" if isinstance(value, (int, float)) else value or "-"
