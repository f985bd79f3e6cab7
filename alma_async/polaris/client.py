"""``PolarisClient``: one library's Polaris, over the same session, governor and transport as Alma's
client.

Decides what the client is put together of, and how each environment variable is read. The machine's
budget is kept by host, so all processes of this machine that call one Polaris server share its
rate. Of the ways to log in, the first that the environment has is used: a staff user
(``POLARIS_USER``), a key, a bearer token; a secret comes from its variable or from a file
(``…_FILE``).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from alma_async._clock import Clock
from alma_async._core.client import Client, SharedOptions
from alma_async._core.session import CallOptions, Session
from alma_async._governance.budget import Budget
from alma_async._http.dialect import Login
from alma_async._secret import Secret, discreet, secretive
from alma_async.errors import ConfigurationError
from alma_async.events import Hook
from alma_async.polaris import routes
from alma_async.polaris.dialect import PolarisDialect
from alma_async.polaris.login import ApiKey, Auth, BearerToken, StaffLogin, StaffPassword
from alma_async.polaris.models import ServerStatus, structure
from alma_async.polaris.record_sets import RecordSets
from alma_async.polaris.routes import Place
from alma_async.settings import (
    TEXT,
    Check,
    Limits,
    LimitVariables,
    Priority,
    RetryPolicy,
    Timeouts,
    limits_by,
    origin_of,
    read_only_from,
    secret_file,
)
from alma_async.store import Store

if TYPE_CHECKING:
    import aiohttp

__all__ = ["LIMITS", "PolarisClient", "from_environment"]

# Ours, not the vendor's: Polaris states no limits at all. It often is one server in a library's own rooms.
LIMITS: Final = Limits(per_second=10.0, in_flight=4)

# Another client of ApplicationServices notes "particular problems with read timeouts" and waits as long, for reads too.
TIMEOUTS: Final = Timeouts(read=120.0, write=120.0)

_SERVICE: Final = re.compile(r"/polaris\.applicationservices(/api)?/?$", re.IGNORECASE)


_AUTH: Final = Check("a StaffPassword, an ApiKey or a BearerToken", lambda value: callable(value.authorise))


class ClientOptions(SharedOptions, total=False):
    """What ``PolarisClient`` takes, for ``from_env``."""

    base_url: str
    organization_id: int
    workstation_id: int
    auth: Auth
    language: str
    product_id: int
    site_domain: str
    limits: Limits
    timeout: float | Timeouts


@discreet
class PolarisClient(Client):
    """An asyncio client of Polaris.ApplicationServices, the staff API of Innovative Polaris.

    Use it as an async context manager, or call ``aclose()``. It may be used by any number of tasks
    at once, and logs in at the first call that needs it.

    :param base_url: the server (https; http on loopback only), with or without
        ``/Polaris.ApplicationServices``
    :param organization_id: where the user is logged on
    :param workstation_id: the workstation where the user is logged on; it must be enabled for Leap
    :param auth: a ``StaffPassword``, an ``ApiKey`` or a ``BearerToken``
    :param language: part of each URL
    :param product_id: part of each URL
    :param site_domain: part of the login's URL
    :param limits: by default 10 calls a second and 4 at once; these figures are ours, since Polaris
        states none
    :param budget: None shares that rate with all processes of this machine that call the same
        server
    :param store: the PostgreSQL database that machines share: the budget is there where none is given
    :param timeout: seconds for one attempt, or ``Timeouts``; 120 by default
    :param retry: how often a call is sent again
    :param read_only: no write but the login is sent, each raises ``ReadOnly``

    ``session``, ``trace_configs``, ``hooks``, ``ssl_context``, ``proxy``, ``trust_env`` and
    ``clock`` are as in ``AlmaClient``.

    :raises ConfigurationError: for a base URL that is none, or a part of the URL that cannot be.
    """

    @secretive
    def __init__(
        self,
        base_url: str,
        *,
        organization_id: int,
        workstation_id: int,
        auth: Auth,
        language: str = "eng",
        product_id: int = 20,
        site_domain: str = "polaris",
        limits: Limits = LIMITS,
        budget: Budget | None = None,
        store: Store | None = None,
        timeout: float | Timeouts = TIMEOUTS,
        retry: RetryPolicy | None = None,
        session: aiohttp.ClientSession | None = None,
        trace_configs: Iterable[aiohttp.TraceConfig] = (),
        hooks: Iterable[Hook] = (),
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Secret | None = None,
        trust_env: bool = False,
        read_only: bool = False,
        clock: Clock | None = None,
    ) -> None:
        TEXT.require("base_url", base_url)
        _AUTH.require("auth", auth)
        origin = origin_of(_SERVICE.sub("", base_url.strip()))
        self._place = Place(
            organization_id=organization_id,
            workstation_id=workstation_id,
            language=language,
            product_id=product_id,
            site_domain=site_domain,
        )
        super().__init__(
            origin,
            PolarisDialect(),
            scope=f"{origin}#polaris",
            limits=limits,
            timeout=timeout,
            usual=TIMEOUTS,
            retry=retry,
            budget=budget,
            store=store,
            session=session,
            trace_configs=trace_configs,
            hooks=hooks,
            ssl_context=ssl_context,
            proxy=proxy,
            trust_env=trust_env,
            read_only=read_only,
            clock=clock,
            login=partial(_login, auth, self._place),
        )
        self._bind(self._options)

    def _bind(self, options: CallOptions) -> None:
        super()._bind(options)
        self._record_sets = RecordSets(self._session, options, self._place)

    @property
    def record_sets(self) -> RecordSets:
        """Record sets and their contents."""
        return self._record_sets

    @classmethod
    @secretive
    def from_env(cls, **overrides: Unpack[ClientOptions]) -> Self:
        """A client set up by the environment (``POLARIS_BASE_URL``, ``POLARIS_ORGANIZATION_ID``,
        ``POLARIS_WORKSTATION_ID``, ``POLARIS_DOMAIN``, ``POLARIS_USER``, ``POLARIS_PASSWORD_FILE``
        …); an argument given here wins, but ``read_only=False`` does not lift ``ALMA_READ_ONLY=1``.
        ``ALMA_LOG`` sets the level of the logger ``alma_async``, which goes to stderr where the
        program has set up no handler.

        :raises ConfigurationError: where a variable is missing or wrong; it names the variable.
        """
        return cls._from_env(from_environment, overrides)

    async def status(self) -> ServerStatus:
        """Ask what the server says of itself, such as its version; needs no login, so that it shows
        whether the server answers.
        """
        done = await self._without_login.call(routes.STATUS.bind(), self._options)
        return structure(done.data, ServerStatus)


def _login(auth: Auth, place: Place, session: Session, options: CallOptions) -> Login:
    return StaffLogin(session, auth, place, options=options.changed(priority=Priority.INTERACTIVE))


# Each variable: the argument it gives, and how its text is read.
_ARGUMENTS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "POLARIS_BASE_URL": ("base_url", str),
    "POLARIS_ORGANIZATION_ID": ("organization_id", int),
    "POLARIS_WORKSTATION_ID": ("workstation_id", int),
    "POLARIS_PRODUCT_ID": ("product_id", int),
    "POLARIS_SITE_DOMAIN": ("site_domain", str),
    "POLARIS_LANGUAGE": ("language", str),
}
_LIMITS: Final[LimitVariables] = {
    "POLARIS_PER_SECOND": ("per_second", float, "a positive number of calls a second"),
    "POLARIS_IN_FLIGHT": ("in_flight", int, "a positive whole number of calls"),
    "ALMA_MEMBERS": ("members", int, "a positive whole number of machines"),
}
_NEEDED: Final = ("POLARIS_BASE_URL", "POLARIS_ORGANIZATION_ID", "POLARIS_WORKSTATION_ID")


@secretive
def from_environment(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a client as the environment gives them, below those given by hand.

    :raises ConfigurationError: where a variable is missing or wrong; it names the variable.
    """
    found = {name: value for name, value in _read(environ, _ARGUMENTS).items() if name not in overrides}
    if "limits" not in overrides:
        found["limits"] = limits_by(LIMITS, _LIMITS, environ)
    if "auth" not in overrides:
        found["auth"] = _auth(environ)
    if overrides.get("read_only", False) is False:
        overrides = {**overrides, "read_only": read_only_from(environ)}
    arguments = {**found, **overrides}
    if missing := [variable for variable in _NEEDED if _ARGUMENTS[variable][0] not in arguments]:
        raise ConfigurationError(f"Set {', '.join(missing)}.")
    return arguments


def _read(
    environ: Mapping[str, str], table: Mapping[str, tuple[str, Callable[[str], Any]]]
) -> dict[str, Any]:
    found = {}
    for variable, (name, read) in table.items():
        if text := environ.get(variable):
            try:
                found[name] = read(text)
            except ValueError:
                raise ConfigurationError(f"{variable} must be a number, not {ascii(text)[:60]}.") from None
    return found


def _auth(environ: Mapping[str, str]) -> Auth:
    if user := environ.get("POLARIS_USER"):
        password = _secret(environ, "POLARIS_PASSWORD")
        if password is None or not environ.get("POLARIS_DOMAIN"):
            raise ConfigurationError(
                "POLARIS_USER needs POLARIS_DOMAIN and POLARIS_PASSWORD (or POLARIS_PASSWORD_FILE)."
            )
        return StaffPassword(environ["POLARIS_DOMAIN"], user, password)
    if key := _secret(environ, "POLARIS_API_KEY"):
        return ApiKey(key)
    if token := _secret(environ, "POLARIS_BEARER_TOKEN"):
        return BearerToken(token)
    raise ConfigurationError(
        "No login: set POLARIS_DOMAIN, POLARIS_USER and POLARIS_PASSWORD (or POLARIS_PASSWORD_FILE), or POLARIS_API_KEY, "
        "or POLARIS_BEARER_TOKEN."
    )


def _secret(environ: Mapping[str, str], variable: str) -> str | None:
    """A secret, or the first line of the file that holds it."""
    if text := environ.get(variable):
        return text
    path = environ.get(f"{variable}_FILE")
    return secret_file(f"{variable}_FILE", path, kind=_first_line) if path else None


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0].rstrip("\r")
