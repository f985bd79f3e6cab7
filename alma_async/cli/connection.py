"""To which Alma, with which key and which share of its allowance: options that stand above their variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from weakref import WeakSet

import attrs
from cyclopts import Group, Parameter

from alma_async.cli.console import say
from alma_async.errors import ConfigurationError
from alma_async.settings import from_environment

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = ["FROM_ENVIRONMENT", "LONG", "Connection", "hold_of", "tell_holds"]

CLIENTS: Final[WeakSet[AlmaClient]] = WeakSet()  # of this process
LONG: Final = 2.0  # chosen: seconds of a hold of which the person who waits is told

_VARIABLES: Final[Mapping[str, str]] = {
    "region": "ALMA_REGION",
    "base_url": "ALMA_BASE_URL",
    "institution": "ALMA_INSTITUTION",
    "key_file": "ALMA_API_KEY_FILE",
    "per_second": "ALMA_PER_SECOND",
    "reserve": "ALMA_DAILY_RESERVE",
    "pacing": "ALMA_PACING",
    "polite": "ALMA_COURTESY",
    "in_flight": "ALMA_IN_FLIGHT",
    "margin": "ALMA_MARGIN",
    "jobs_running": "ALMA_JOBS_RUNNING",
    "job_starts": "ALMA_JOB_STARTS",
}
_COURTESY: Final = {True: "polite", False: "normal"}
_LIMITS: Final = Group("Limits", sort_key=20)


@Parameter(name="*", group=Group("Connection", sort_key=10))
@attrs.frozen(kw_only=True)
class Connection:
    """An option that is given takes the place of its variable. The key is never one: process lists show arguments."""

    region: Annotated[str | None, Parameter(help="na eu ap aps ca cn (ALMA_REGION)")] = None
    base_url: Annotated[str | None, Parameter(help="another origin (ALMA_BASE_URL)")] = None
    institution: Annotated[
        str | None, Parameter(help="label under which all its keys share (ALMA_INSTITUTION)")
    ] = None
    key_file: Annotated[
        str | None, Parameter(help="file that holds the key (ALMA_API_KEY_FILE); else ALMA_API_KEY")
    ] = None
    per_second: Annotated[
        float | None, Parameter(group=_LIMITS, help="calls a second, 25 if not said (ALMA_PER_SECOND)")
    ] = None
    reserve: Annotated[
        str | None,
        Parameter(group=_LIMITS, help="left of the day's calls: forecast, 5000 or 10% (ALMA_DAILY_RESERVE)"),
    ] = None
    pacing: Annotated[
        Literal["even", "greedy"] | None,
        Parameter(group=_LIMITS, help="bulk work over the day: spread, or at once (ALMA_PACING)"),
    ] = None
    polite: Annotated[
        bool | None, Parameter(group=_LIMITS, help="keep further from what others use (ALMA_COURTESY)")
    ] = None
    in_flight: Annotated[
        int | None, Parameter(group=_LIMITS, help="calls under way at once, at most (ALMA_IN_FLIGHT)")
    ] = None
    margin: Annotated[
        float | None, Parameter(group=_LIMITS, help="share by which calls are spaced wider (ALMA_MARGIN)")
    ] = None
    jobs_running: Annotated[
        int | None, Parameter(group=_LIMITS, help="jobs running at once, 3 if not said (ALMA_JOBS_RUNNING)")
    ] = None
    job_starts: Annotated[
        int | None,
        Parameter(group=_LIMITS, help="starts of one job an hour, 5 if not said (ALMA_JOB_STARTS)"),
    ] = None

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment as these options change it.

        :raises ConfigurationError: where two of them say where to.
        """
        if self.region is not None and self.base_url is not None:
            raise ConfigurationError("--region and --base-url both say where to; give one.")
        told = attrs.asdict(self) | {"polite": None if self.polite is None else _COURTESY[self.polite]}
        given = {_VARIABLES[name]: str(value) for name, value in told.items() if value is not None}
        hidden: set[str] = set()
        if self.region is not None or self.base_url is not None:
            hidden |= {"ALMA_REGION", "ALMA_BASE_URL"}
        if self.key_file is not None:
            hidden |= {"ALMA_API_KEY", "ALMA_APIKEY"}
        return {name: value for name, value in environ.items() if name not in hidden} | given

    def client(self, **overrides: Any) -> AlmaClient:
        """A client for this connection.

        :raises ConfigurationError: where something is missing or wrong.
        """
        from alma_async.alma.client import AlmaClient

        client = AlmaClient(**from_environment(self.environment(os.environ), overrides))
        CLIENTS.add(client)
        return client


FROM_ENVIRONMENT: Final = Connection()


def tell_holds() -> Callable[[], None]:
    """To be called each second: says once of each long hold until when no call goes, and why."""
    told: datetime | None = None

    def look() -> None:
        nonlocal told
        for client in list(CLIENTS):
            seen = client.quota()
            until, hold = seen.held_until, hold_of(client)
            if until is None or hold is None:
                continue
            if told is None or (until - told).total_seconds() > LONG:
                told = until
                say(hold)

    return look


def hold_of(client: AlmaClient) -> str | None:
    """Until when no call goes, and why; None where they go, or will in a moment."""
    seen = client.quota()
    if seen.held_until is None or (seen.held_until - client.clock.utc()).total_seconds() < LONG:
        return None
    return f"All calls are held until {seen.held_until:%H:%M:%S} UTC: {seen.why}."
