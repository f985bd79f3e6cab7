"""To which Alma, with which key and which share of its allowance; and how a command runs with such a client.

An option of the command line goes before its environment variable.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter

from alma_async.cli.console import say
from alma_async.cli.signals import finish
from alma_async.errors import ConfigurationError
from alma_async.settings import Environment, from_environment
from alma_async.store import Store

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = ["FROM_ENVIRONMENT", "LONG", "Connection", "hold_of"]

LONG: Final = 2.0  # chosen: seconds; a longer hold is reported to the person who waits

_VARIABLES: Final[Mapping[str, str]] = {
    "region": "ALMA_REGION",
    "base_url": "ALMA_BASE_URL",
    "institution": "ALMA_INSTITUTION",
    "key_file": "ALMA_API_KEY_FILE",
    "per_second": "ALMA_PER_SECOND",
    "reserve": "ALMA_DAILY_RESERVE",
    "pacing": "ALMA_PACING",
    "in_flight": "ALMA_IN_FLIGHT",
    "margin": "ALMA_MARGIN",
    "jobs_running": "ALMA_JOBS_RUNNING",
    "job_starts": "ALMA_JOB_STARTS",
    "store_file": "ALMA_STORE_FILE",
    "read_only": "ALMA_READ_ONLY",
    "expect": "ALMA_EXPECT",
}
_LIMITS: Final = Group("Limits", sort_key=20)


@Parameter(name="*", group=Group("Connection", sort_key=10))
@attrs.frozen(kw_only=True)
class Connection:
    """Each option replaces its variable. The key is never an option: process lists show arguments."""

    region: Annotated[str | None, Parameter(help="na, eu, ap, aps, ca or cn (ALMA_REGION)")] = None
    base_url: Annotated[
        str | None,
        Parameter(help="in place of a region: the address, such as http://127.0.0.1:8799 (ALMA_BASE_URL)"),
    ] = None
    institution: Annotated[
        str | None, Parameter(help="any name: keys under the same name share one budget (ALMA_INSTITUTION)")
    ] = None
    key_file: Annotated[
        str | None, Parameter(help="file that holds the key (ALMA_API_KEY_FILE); else ALMA_API_KEY")
    ] = None
    store_file: Annotated[
        str | None,
        Parameter(
            help="file that holds the URL of the store of several machines (ALMA_STORE_FILE); else ALMA_STORE"
        ),
    ] = None
    read_only: Annotated[
        bool | None,
        Parameter(help="reject every command that would write (ALMA_READ_ONLY)"),
    ] = None
    expect: Annotated[
        Environment | None,
        Parameter(
            help="the environment that is meant: nothing is done in the other one; costs one call (ALMA_EXPECT)"
        ),
    ] = None
    per_second: Annotated[
        float | None, Parameter(group=_LIMITS, help="calls a second, 25 by default (ALMA_PER_SECOND)")
    ] = None
    reserve: Annotated[
        str | None,
        Parameter(
            group=_LIMITS,
            help="calls of the day that bulk work leaves to others: the forecast of what they need, and at least as many as named "
            "here, such as 50000 or 50%; a number below the forecast changes nothing (ALMA_DAILY_RESERVE)",
        ),
    ] = None
    pacing: Annotated[
        Literal["even", "greedy"] | None,
        Parameter(group=_LIMITS, help="bulk work: spread over the day, or as fast as allowed (ALMA_PACING)"),
    ] = None
    in_flight: Annotated[
        int | None, Parameter(group=_LIMITS, help="calls under way at once, at most (ALMA_IN_FLIGHT)")
    ] = None
    margin: Annotated[
        float | None,
        Parameter(
            group=_LIMITS,
            help="how much wider calls are spaced than the rate allows: 0.05 is 5 % (ALMA_MARGIN)",
        ),
    ] = None
    jobs_running: Annotated[
        int | None, Parameter(group=_LIMITS, help="jobs running at once, 3 by default (ALMA_JOBS_RUNNING)")
    ] = None
    job_starts: Annotated[
        int | None,
        Parameter(group=_LIMITS, help="starts of one job an hour, 5 by default (ALMA_JOB_STARTS)"),
    ] = None

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment as these options change it.

        :raises ConfigurationError: for both a region and an address.
        """
        if self.region is not None and self.base_url is not None:
            raise ConfigurationError("--region and --base-url exclude each other: give one of them.")
        given = {  # an option that is off, --read-only=false, lifts nothing that a variable sets
            _VARIABLES[name]: str(value)
            for name, value in attrs.asdict(self).items()
            if value is not None and value is not False
        }
        hidden: set[str] = set()
        if self.region is not None or self.base_url is not None:
            hidden |= {"ALMA_REGION", "ALMA_BASE_URL"}
        if self.key_file is not None:
            hidden |= {"ALMA_API_KEY", "ALMA_APIKEY"}
        if self.store_file is not None:
            hidden |= {"ALMA_STORE"}
        return {name: value for name, value in environ.items() if name not in hidden} | given

    def key_path(self) -> Path | None:
        """The file that is to hold the key, if one is named."""
        named = self.key_file or os.environ.get("ALMA_API_KEY_FILE")
        return Path(os.path.expanduser(named)) if named else None  # noqa: PTH111 - expands what it can

    def store(self) -> Store | None:
        """The store of this connection, if it has one.

        :raises ConfigurationError: where its URL cannot be read, or is none.
        """
        return Store.from_env(self.environment(os.environ))

    def client(self, **overrides: Any) -> AlmaClient:
        """A client for this connection.

        :raises ConfigurationError: where something is missing or wrong.
        """
        from alma_async.alma.client import AlmaClient

        environ = self.environment(os.environ)
        store = Store.from_env(environ)
        return AlmaClient(**from_environment(environ, {"store": store, **overrides}))

    def run(self, work: Callable[[AlmaClient], Awaitable[int]]) -> int:
        """Run a command with a client, to its end or to the first signal; meanwhile each long hold is reported once.

        :raises ConfigurationError: where something of the connection is missing or wrong.
        """
        client = self.client()
        return finish(client, work, tick=_Holds(client).report)


FROM_ENVIRONMENT: Final = Connection()


@attrs.define
class _Holds:
    """Reports the long holds of a client, each once."""

    client: AlmaClient
    _until: datetime | None = None

    def report(self) -> None:
        until, hold = self.client.quota().held_until, hold_of(self.client)
        if until is None or hold is None:
            return
        if self._until is None or (until - self._until).total_seconds() > LONG:
            self._until = until
            say(hold)


def hold_of(client: AlmaClient) -> str | None:
    """Until when all calls are held, and why; None where they are not, or for less than ``LONG`` seconds."""
    seen = client.quota()
    if seen.held_until is None or (seen.held_until - client.clock.utc()).total_seconds() < LONG:
        return None
    return f"All calls are held until {seen.held_until:%H:%M:%S} UTC: {seen.why}."
