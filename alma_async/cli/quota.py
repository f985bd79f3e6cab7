"""``quota``: the remaining calls of the day, learned by one cheap call, and what the governor allows of them.

Decides when to call: once, and with ``--watch`` once a minute. Between its calls a watch reads the machine's budget, where other
processes of this machine record what they learn, and costs nothing. Where machines share a store, it asks that, and shows who draws
on it.

What remains, the floors and the hold come from that budget, and change with what other processes spend and learn. Pace, waiting
calls and calls in flight are those of this process.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from alma_async._clock import ended, started
from alma_async._governance.budget import Machine
from alma_async._governance.governor import QuotaSnapshot
from alma_async._text import plain
from alma_async.cli.connection import FROM_ENVIRONMENT, LONG, Connection, hold_of
from alma_async.cli.console import clock_time, json_line, say, show
from alma_async.cli.signals import attend
from alma_async.errors import (
    BadAnswer,
    ConfigurationError,
    DeadlineExceeded,
    NotSent,
    QuotaExhausted,
    RateLimited,
    ServerFault,
    StoreUnavailable,
)
from alma_async.settings import Priority

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = ["Drawn", "as_json", "line", "lines", "quota", "screen"]

_SPAN: Final = 60.0  # seconds
_EVERY: Final = 1.0
# A watch continues after these errors.
_PASSING: Final = (BadAnswer, DeadlineExceeded, NotSent, QuotaExhausted, RateLimited, ServerFault)

Seconds = Annotated[float, Parameter(validator=Number(gte=0.1, lte=86_400), metavar="SECONDS")]


@attrs.define
class Drawn:
    """How fast all integrations together spend the day's calls, from what the server said of the remaining ones."""

    _remaining: deque[tuple[float, int]] = attrs.field(factory=deque)
    _seen_at: datetime | None = None

    def seen(self, snapshot: QuotaSnapshot, *, now: float) -> float | None:
        """Add a snapshot; calls a second over the last minute, or over two answers. None: not known yet, or a new day."""
        seen, remaining = self._remaining, snapshot.remaining
        if remaining is not None and snapshot.remaining_seen_at != self._seen_at:
            if seen and remaining > seen[-1][1]:
                seen.clear()
            self._seen_at = snapshot.remaining_seen_at
            seen.append((now, remaining))
            while len(seen) > 2 and seen[1][0] <= now - _SPAN:
                seen.popleft()
        if remaining is None or not seen:
            return None
        (since, before), (until, after) = seen[0], seen[-1]
        return round((before - after) / (until - since), 3) if until > since else None


def as_json(snapshot: QuotaSnapshot) -> dict[str, Any]:
    """The snapshot for JSON: priorities by name, moments in ISO 8601."""
    return {name: _plain(value) for name, value in attrs.asdict(snapshot).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value.value if isinstance(value, Enum) else value


def line(seen: QuotaSnapshot, *, at: datetime, drawn: float | None) -> str:
    """One snapshot in one line."""
    parts = [
        f"{at:%H:%M:%S}",
        f"{_count(seen.remaining)} remaining",
        f"spent by all {_rate(drawn)}",
        f"{seen.per_second:.2f} of {seen.limit:g} a second in force{_apart(seen)}",
        f"others {_rate(seen.foreign)}",
        f"bulk stops at {_floor(seen.floors[Priority.BULK])}",
        ""
        if seen.store is None
        else f"{seen.store.machines} machines"
        if not seen.store.away_since
        else "store away",
        _held(seen),
    ]
    return plain("  ".join(part for part in parts if part))


def lines(
    seen: QuotaSnapshot,
    *,
    at: datetime,
    drawn: float | None = None,
    machines: Sequence[Machine] = (),
    trouble: str = "",
) -> Iterator[str]:
    """One snapshot in words, for a person. ``trouble``: why the last call of a watch failed, if it did."""
    seen_at = "" if seen.remaining_seen_at is None else f", seen at {seen.remaining_seen_at:%H:%M:%S}"
    resets_in = clock_time(max(0.0, (seen.resets_at - at).total_seconds()))
    yield f"{at:%Y-%m-%d %H:%M:%S} UTC"
    yield ""
    yield f"remaining today   {_count(seen.remaining)}{seen_at}; reset in {resets_in}"
    yield f"spent by all      {_rate(drawn)}"
    yield (
        f"in force          {seen.per_second:.2f} a second of {seen.limit:g}, margin {seen.margin:.1%}, "
        f"others {_rate(seen.foreign)}{_apart(seen)}"
    )
    yield f"held              {_held(seen) or 'no'}"
    yield ""
    yield f"{'':<12} {'stops at':>10} {'left':>10} {'waiting':>8} {'in flight':>10}"
    for priority in Priority:
        floor = seen.floors[priority]
        left = "-" if seen.remaining is None else f"{max(0.0, seen.remaining - max(floor, 0.0)):,.0f}"
        numbers = f"{seen.waiting[priority]:>8,} {seen.in_flight[priority]:>10,}"
        yield f"{priority.value:<12} {_floor(floor):>10} {left:>10} {numbers}"
    if seen.remaining is not None and seen.at_full_pace < seen.remaining - seen.floors[Priority.BULK]:
        yield ""
        yield f"at full pace      {seen.at_full_pace:,.0f} calls of bulk work; the rest is spread to the reset"
    if seen.store is not None:
        yield ""
        yield from _machine_lines(seen, machines, at)
    if trouble:
        yield ""
        yield plain(trouble)


def _machine_lines(seen: QuotaSnapshot, machines: Sequence[Machine], at: datetime) -> Iterator[str]:
    """Who draws on the store, and whether it is there."""
    if seen.store is not None and (since := seen.store.away_since) is not None:
        share = f"one part of {seen.store.machines}"
        yield f"store             away for {clock_time((at - since).total_seconds())}: this machine takes {share}"
    yield f"{'machine':<24} {'rank':>4} {'processes':>10} {'calls':>10} {'last seen':>14}"
    for one in machines:
        last = f"{one.silent:,.0f} s ago{'' if one.busy else ', idle'}"
        yield f"{plain(one.name)[:24]:<24} {one.rank:>4} {one.processes:>10,} {one.drawn:>10,} {last:>14}"


def _apart(seen: QuotaSnapshot) -> str:
    return "" if seen.shared else " (the budget is not shared: see alma-async doctor)"


def _held(seen: QuotaSnapshot) -> str:
    until = seen.stopped_until or seen.held_until
    return "" if until is None else f"until {until:%H:%M:%S} UTC: {seen.why}"


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _rate(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} a second"


def _floor(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "all" if value > 0 else "-"


@contextmanager
def screen() -> Iterator[Callable[[Iterable[str]], None]]:
    """The terminal at stdout; each picture replaces the one before."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    # No refresh thread: it is drawn when something changes.
    with Live(console=Console(file=sys.stdout), auto_refresh=False) as live:
        yield lambda picture: live.update(Text("\n".join(picture)), refresh=True)


def quota(
    every: Seconds | None = None,
    /,
    *,
    watch: bool = False,
    ask: Seconds = 60.0,
    json: bool = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Show the remaining calls and what this installation reserves. Costs one call; --watch [SECONDS] repeats it.

    Where all calls are held, it says until when and ends with 3.

    :param every: with --watch: seconds between two snapshots, 1 by default; a snapshot costs no
        call
    :param watch: repeat until Ctrl-C: a view on a terminal, elsewhere one line for each snapshot
    :param ask: with --watch: seconds between two calls; meanwhile it shows what other processes of
        this machine learn
    :param json: one JSON object for each snapshot
    """
    if every is not None and not watch:
        raise ConfigurationError("A number of seconds needs --watch.")
    if watch:
        anyio.run(partial(_watch, connection, every=every or _EVERY, ask=ask, json=json))
        return 0  # a watch ends by an interrupt
    return connection.run(partial(_once, json=json))


async def _once(alma: AlmaClient, *, json: bool) -> int:
    code = 0
    try:
        await _ask(alma)
    except (QuotaExhausted, RateLimited) as error:
        say(hold_of(alma) or str(error))
        code = 3
    machines = list[Machine]()
    try:
        machines = await alma.machines()
    except StoreUnavailable as error:
        say(str(error))
    snapshot = alma.quota()
    if json:
        json_line(as_json(snapshot) | {"machines": [attrs.asdict(one) for one in machines]})
    else:
        for text in lines(snapshot, at=alma.clock.utc(), machines=machines):
            show(text)
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
            await attend(partial(watch.keep_watching, ask, every), tick=watch.show, every=every)


@attrs.define
class Watch:
    """Shows what the client knows: on a terminal with ``draw``, elsewhere one line for each snapshot."""

    alma: AlmaClient
    draw: Callable[[Iterable[str]], None] | None = attrs.field(kw_only=True)
    json: bool = attrs.field(kw_only=True)
    _drawn: Drawn = attrs.field(factory=Drawn, init=False)
    _trouble: str = attrs.field(default="", init=False)
    _machines: Sequence[Machine] = attrs.field(default=(), init=False)

    async def keep_watching(self, ask: float, every: float) -> None:
        """Make calls, and ask the store, where there is one, for who draws on it."""
        counting = None if self.alma.store is None else started(self._keep_counting(every))
        try:
            await self.keep_asking(ask)
        finally:
            if counting is not None:
                counting.cancel()
                await ended(counting)

    async def _keep_counting(self, every: float) -> None:
        while True:
            with suppress(StoreUnavailable):  # the snapshot says that it is away
                self._machines = await self.alma.machines()
            await self.alma.sleep(every)

    async def keep_asking(self, every: float) -> None:
        """Make a call each ``every`` seconds."""
        while True:
            try:
                await _ask(self.alma)
                self._trouble = ""
            except _PASSING as error:
                self._trouble = str(error)
                if self.draw is None:
                    say(self._trouble)
            self.show()
            await self.alma.sleep(every)

    def show(self) -> None:
        """Show one snapshot. Costs no call."""
        seen, at = self.alma.quota(), self.alma.clock.utc()
        drawn = self._drawn.seen(seen, now=self.alma.clock.now())
        if self.draw is not None:
            self.draw(lines(seen, at=at, drawn=drawn, machines=self._machines, trouble=self._trouble))
            return
        if self.json:
            head = {"at": at.isoformat(timespec="milliseconds"), "drawn_per_second": drawn}
            json_line(head | as_json(seen) | {"machines": [attrs.asdict(one) for one in self._machines]})
        else:
            show(line(seen, at=at, drawn=drawn))
        sys.stdout.flush()
