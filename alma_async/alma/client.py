"""``AlmaClient``: one institution's Alma, with everything a call needs put together once and shared
by all copies.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import attrs

from alma_async._clock import Clock
from alma_async._core.client import Client, OptionChanges, SharedOptions
from alma_async._core.session import CallOptions
from alma_async._governance.budget import Budget
from alma_async._guard import JobGuard, Ledger, PostgresLedger, SqliteLedger, job_ledger
from alma_async._http.json_text import dumps
from alma_async._http.messages import Request, Response, Safety
from alma_async._http.routes import IN_URL, query_of, raw_path
from alma_async._secret import Secret, bare, discreet, secretive
from alma_async._text import masked
from alma_async._version import __version__
from alma_async.alma.analytics import Analytics
from alma_async.alma.bibs import Bibs
from alma_async.alma.dialect import AlmaDialect
from alma_async.alma.electronic import Electronic
from alma_async.alma.environment import ExpectedEnvironment
from alma_async.alma.job_port import AlmaJobPort
from alma_async.alma.jobs import Jobs, SharedRuns
from alma_async.alma.resource import localised
from alma_async.alma.routes import ROOT
from alma_async.alma.sets import Sets
from alma_async.errors import AlmaError, ConfigurationError, InvalidRequest
from alma_async.events import Hook
from alma_async.settings import (
    EXPECTED,
    LABEL,
    LANGUAGE,
    POSITIVE,
    REGIONS,
    TEXT,
    Check,
    Environment,
    JobLimits,
    Limits,
    Priority,
    RetryPolicy,
    Timeouts,
    check_all,
    from_environment,
    instance_of,
    origin_of,
    state_dir,
)
from alma_async.store import Store

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AlmaClient", "RawAnswer"]


@attrs.frozen(kw_only=True)
class RawAnswer:
    """The answer to ``AlmaClient.request``: the decoded body (None where empty), the status, the
    headers in lower case.
    """

    data: Any = attrs.field(repr=lambda data: masked(repr(data)))
    status: int
    headers: Mapping[str, str]


class AlmaOptionChanges(OptionChanges, total=False):
    """What ``with_options`` takes, beside what every client takes.

    ``language``: of descriptions and messages, such as ``en``. ``wait_for_quota``: whether a call
    waits until midnight UTC where the day's calls are spent, and does not raise ``QuotaExhausted``.
    """

    language: str | None
    wait_for_quota: bool


class ClientOptions(SharedOptions, total=False):
    """What ``AlmaClient`` takes, for ``from_env``."""

    api_key: str | Secret
    region: str | None
    base_url: str | None
    limits: Limits | None
    job_limits: JobLimits | None
    ledger: Ledger | None
    timeout: float | Timeouts | None
    application: str | None
    language: str | None
    institution: str | None
    expect: Environment | None


@discreet
class AlmaClient(Client):
    """An asyncio client of the Ex Libris Alma REST API, governed so that one institution's
    allowance is shared.

    Use it as an async context manager, or call ``aclose()``. It may be used by any number of tasks
    at once. Its areas:

    * ``electronic.collections``, ``.services``, ``.portfolios``: ``list get create update patch
      delete``, and ``of_bib``
    * ``bibs``: ``get get_batch get_many``; ``bibs.portfolios``, also those without a collection:
      ``list get create update delete``
    * ``sets``: ``list get create update delete members add_members remove_members replace_members
      combine create_from_logical create_from_import create_filtered create_in_network
      wait_until_filled``
    * ``jobs``: ``list get submit resume wait ended instances instance events matches download``, and
      ``jobs.guard``, which shows what may be started
    * ``analytics``: ``report download``
    * ``request`` for any other endpoint

    :param api_key: the key; it is never shown
    :param region: one of ``na eu ap aps ca cn``
    :param base_url: another origin instead (https; http on loopback only)
    :param limits: what may be used of the institution's allowance
    :param job_limits: how many jobs may run and start
    :param budget: None shares the machine's budget with all its processes; ``LocalBudget()`` is
        this client's alone
    :param store: the PostgreSQL database that machines share (``Store(url)``): budget and ledger are there where
        none is given
    :param ledger: where starts of jobs are kept; None is the store, or else a file of the state
        directory, shared by all processes
    :param timeout: seconds for one attempt, or ``Timeouts``
    :param retry: how often a call is sent again
    :param session: lends its connector and trace configurations, and is not closed
    :param trace_configs: aiohttp's, for this client's calls
    :param hooks: get every event (``alma_async.events``)
    :param application: named in the ``User-Agent``
    :param language: of descriptions and messages, such as ``en``
    :param institution: labels the budget, so that all keys of one institution share it; without it,
        host and key do
    :param ssl_context: for a private certificate authority
    :param proxy: URL of an http or https proxy; its tunnel hides calls and key from it
    :param trust_env: use HTTPS_PROXY and NO_PROXY
    :param read_only: no write is sent, each raises ``ReadOnly``; reads and dry runs work
    :param expect: ``sandbox`` or ``production``: the first call asks Alma which it is, and where it
        is the other one nothing else is sent (``UnexpectedEnvironment``)
    :param clock: for tests in virtual time
    :raises ConfigurationError: for a missing key, an unknown region or a base URL that is not one.
    """

    @secretive
    def __init__(
        self,
        api_key: str | Secret,
        *,
        region: str | None = None,
        base_url: str | None = None,
        limits: Limits | None = None,
        job_limits: JobLimits | None = None,
        budget: Budget | None = None,
        store: Store | None = None,
        ledger: Ledger | None = None,
        timeout: float | Timeouts | None = None,
        retry: RetryPolicy | None = None,
        session: aiohttp.ClientSession | None = None,
        trace_configs: Iterable[aiohttp.TraceConfig] = (),
        hooks: Iterable[Hook] = (),
        application: str | None = None,
        language: str | None = None,
        institution: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | Secret | None = None,
        trust_env: bool = False,
        read_only: bool = False,
        expect: Environment | None = None,
        clock: Clock | None = None,
    ) -> None:
        key = api_key if isinstance(api_key, Secret) else Secret(api_key)
        check_all(_OPTIONS, locals())
        origin = _origin(region, base_url)
        scope = _scope(origin, key, institution)
        super().__init__(
            origin,
            AlmaDialect(key, user_agent=_user_agent(application)),
            scope=scope,
            limits=Limits() if limits is None else limits,
            timeout=Timeouts() if timeout is None else timeout,
            usual=Timeouts(),
            retry=retry,
            budget=budget,
            store=store,
            session=session,
            trace_configs=trace_configs,
            hooks=hooks,
            ssl_context=ssl_context,
            proxy=proxy,
            trust_env=trust_env,
            clock=clock,
            language=language,
            read_only=read_only,
            precondition=expect and partial(ExpectedEnvironment, expect),
        )
        self._scope, self._institution = scope, institution
        self._own_ledger: SqliteLedger | PostgresLedger
        if store is None:
            self._own_ledger = job_ledger(scope, directory=state_dir(), clock=self.clock)
        else:
            self._own_ledger = PostgresLedger(store, scope, clock=self.clock)
        port = AlmaJobPort(self._session, self._options)
        guard = JobGuard(
            ledger or self._own_ledger, port, clock=self.clock, limits=job_limits, emit=self.hooks
        )
        self._runs = SharedRuns(guard)
        self._bind(self._options)

    def _bind(self, options: CallOptions) -> None:
        super()._bind(options)
        self._electronic = Electronic(self._session, options)
        self._bibs = Bibs(self._session, options)
        self._analytics = Analytics(self._session, options)
        self._sets = Sets(self._session, options)
        self._jobs = Jobs(self._session, options, self._runs)

    @property
    def electronic(self) -> Electronic:
        """Electronic collections, their services, their portfolios."""
        return self._electronic

    @property
    def scope(self) -> str:
        """The name of the institution in this machine's files: address and label, or a digest of the key; it shows no key."""
        return self._scope

    @property
    def institution(self) -> str | None:
        """The label of the institution (``institution=``, ``ALMA_INSTITUTION``), if it has one."""
        return self._institution

    @property
    def bibs(self) -> Bibs:
        """Bib records, and their portfolios, also those without a collection."""
        return self._bibs

    @property
    def analytics(self) -> Analytics:
        """Reports of Analytics."""
        return self._analytics

    @property
    def sets(self) -> Sets:
        """Sets and their members."""
        return self._sets

    @property
    def jobs(self) -> Jobs:
        """Jobs, their runs, and starting them under the guard of Alma's limits."""
        return self._jobs

    @classmethod
    @secretive
    def from_env(cls, **overrides: Unpack[ClientOptions]) -> Self:
        """A client set up by the environment (``ALMA_API_KEY``, ``ALMA_REGION`` or
        ``ALMA_BASE_URL`` …); an argument given here wins, but ``read_only=False`` does not lift
        ``ALMA_READ_ONLY=1``. ``ALMA_LOG`` sets the level of the logger ``alma_async``, which goes
        to stderr where the program has set up no handler.

        :raises ConfigurationError: where a variable is missing or wrong; it names the variable.
        """
        return cls._from_env(from_environment, overrides)

    def with_options(self, **changes: Unpack[AlmaOptionChanges]) -> Self:
        """A cheap copy that shares session, governor and guard, with other options."""
        return self._with(changes)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        priority: Priority | None = None,
        cost: float = 1,
    ) -> RawAnswer:
        """Call any Alma endpoint under the same governor, retries and errors.

        :param method: GET is retried; any other is a write, except HEAD.
        :param path: begins with ``/almaws/v1/``; or an absolute link of an answer, if it is of the
            same origin
        :param params: the query; never the key
        :param json: the body
        :param priority: instead of the client's
        :param cost: how many calls it counts as in the pace
        :raises InvalidRequest: for a path that is not below ``/almaws/v1/`` on this origin.
        """
        call = _raw(self._origin, method, path, params, json, cost)
        del path, params  # a key may have been meant to go with them
        if isinstance(call, AlmaError):
            try:
                raise call
            finally:
                del call  # its traceback leads here: a cycle
        options = self._options if priority is None else self._options.changed(priority=priority)
        done = await self._session.call(localised(call, options.language), options)
        return RawAnswer(data=done.data, status=done.response.status, headers=_public(done.response))

    def _end_waits(self) -> None:
        self._runs.guard.close()

    async def _close(self) -> None:
        await super()._close()
        await self._own_ledger.aclose()


_REGION: Final = Check(
    f"one of {' '.join(REGIONS)}", lambda value: isinstance(value, str) and value.lower() in REGIONS
)
_OPTIONS: Final = {
    "job_limits": instance_of(JobLimits, "JobLimits(...)").or_none(),
    "ledger": Check("a ledger", lambda value: callable(value.update)).or_none(),
    "application": TEXT.or_none(),
    "language": LANGUAGE.or_none(),
    "institution": LABEL.or_none(),
    "expect": EXPECTED,
}
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_METHOD: Final = Check(f"one of {', '.join(_METHODS)}", lambda value: value.upper() in _METHODS)
_PATH: Final = instance_of(str, "a path")
_PARAMS: Final = instance_of(Mapping, "a mapping").or_none()
_KEYS: Final = re.compile("api[-_ ]?key", re.IGNORECASE)


def _raw(  # noqa: PLR0917 - as request takes them
    origin: str, method: str, path: str, params: Mapping[str, str | int] | None, json: Any, cost: float
) -> Request | AlmaError:
    """The request of any endpoint, or what is wrong with it: not raised here, where the arguments
    are.
    """
    try:
        _METHOD.require("method", method, InvalidRequest)
        method = method.upper()
        POSITIVE.require("cost", cost, InvalidRequest)
        _PATH.require("path", path, InvalidRequest)
        _PARAMS.require("params", params, InvalidRequest)
        if params and any(_KEYS.search(str(name)) for name in params):
            return InvalidRequest(IN_URL)
        return Request(
            method=method,
            path=raw_path(path, origin=origin, root=ROOT),
            query=query_of(params.items()) if params else (),
            body=None if json is None else dumps(json),
            safety=Safety.READ if method in ("GET", "HEAD") else Safety.WRITE,
            kind=f"{method} raw",
            cost=cost,
        )
    except AlmaError as error:
        return bare(error)


def _origin(region: str | None, base_url: str | None) -> str:
    if base_url is not None and region is not None:
        raise ConfigurationError(
            "region= (ALMA_REGION) and base_url= (ALMA_BASE_URL) both say where to: give one of them."
        )
    if base_url is not None:
        return origin_of(base_url)
    if region is None:
        raise ConfigurationError(
            "Say where: region= (ALMA_REGION), one of na eu ap aps ca cn, or base_url= (ALMA_BASE_URL)."
        )
    _REGION.require("region", region)
    return REGIONS[region.lower()]


def _scope(origin: str, key: Secret, institution: str | None) -> str:
    """What names the budget: the label, or else a digest of the key, which says nothing of the key."""
    name = (
        institution
        or hashlib.blake2b(key.reveal().encode(), digest_size=16, person=b"alma_async.scope").hexdigest()
    )
    return f"{origin}#{name}"


def _user_agent(application: str | None) -> str:
    name = "".join(c for c in application or "" if c.isascii() and c.isprintable())[:100].strip()
    return f"alma-async/{__version__}" + (f" ({name})" if name else "")


def _public(response: Response) -> Mapping[str, str]:
    return {name: value for name, value in response.headers.items() if name not in ("set-cookie", "location")}
