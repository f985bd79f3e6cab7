"""What every client shares: one session over one transport and one governor, its options, and its
end.

Decides how the parts of a client are put together, and checks the options that all clients take.
Which system is called (dialect, origin, areas, environment variables) is the subclass's part.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

from alma_async._clock import Clock, shielded
from alma_async._core.session import CallOptions, Precondition, Session, Witness
from alma_async._governance.budget import Budget, Machine
from alma_async._governance.file_budget import machine_budget
from alma_async._governance.governor import Governor, QuotaSnapshot
from alma_async._governance.postgres_budget import StoreBudget
from alma_async._http.dialect import Dialect, Login
from alma_async._http.outcome import Outcome
from alma_async._http.transport import Transport
from alma_async._secret import Secret, discreet
from alma_async.errors import ReadOnly
from alma_async.events import CallFinished, Hook, Hooks, log_from
from alma_async.settings import (
    FLAG,
    RETRY,
    SSL,
    TIMEOUT,
    Check,
    Limits,
    Priority,
    RetryPolicy,
    Timeouts,
    check_all,
    instance_of,
    state_dir,
)
from alma_async.store import Store

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Client", "OptionChanges", "SharedOptions"]


class SharedOptions(TypedDict, total=False):
    """What the constructor of every client takes."""

    budget: Budget | None
    store: Store | None
    retry: RetryPolicy | None
    session: aiohttp.ClientSession | None
    trace_configs: Iterable[aiohttp.TraceConfig]
    hooks: Iterable[Hook]
    ssl_context: ssl.SSLContext | None
    proxy: str | Secret | None
    trust_env: bool
    read_only: bool
    clock: Clock | None


class OptionChanges(TypedDict, total=False):
    """What ``with_options`` of every client takes.

    ``priority``: in which of the three lines a call waits. ``timeout``: seconds for one attempt to
    connect, and as many for its answer. ``deadline``: seconds for one whole call, retries and waiting
    included. ``retry``: how often a call is sent again. ``longest_hold``: a call raises
    ``RateLimited`` while all calls are held for more seconds than this. ``witness``: whom each
    attempt is reported to, before and after it. ``on_outcome``, ``on_finished``: called with the
    outcome of each attempt, and with the event of each call.
    """

    priority: Priority
    timeout: float | None
    deadline: float | None
    retry: RetryPolicy
    longest_hold: float | None
    witness: Witness | None
    on_outcome: Callable[[Outcome], None] | None
    on_finished: Callable[[CallFinished], None] | None


_LIST: Final = Check(
    "a list, or another collection that is no text",
    lambda value: isinstance(value, Iterable) and not isinstance(value, (str, bytes)),
)
_HOOK: Final = Check("a list of what can be called with an event", callable)
_CHECKS: Final = {
    "limits": instance_of(Limits, "Limits(...)"),
    "timeout": TIMEOUT,
    "budget": Check("a budget", lambda value: callable(value.reserve)).or_none(),
    "store": instance_of(Store, "a Store").or_none(),
    "retry": RETRY.or_none(),
    "session": Check("a ClientSession", lambda value: hasattr(value, "connector")).or_none(),
    "trace_configs": _LIST,
    "hooks": _LIST,
    "ssl_context": SSL.or_none(),
    "trust_env": FLAG,
    "read_only": FLAG,
    "clock": Check("a Clock", lambda value: callable(value.now)).or_none(),
}


@discreet
class Client:
    """One remote system under one set of options.

    A subclass makes its areas in ``_bind``, which it calls once itself.
    """

    def __init__(
        self,
        origin: str,
        dialect: Dialect,
        *,
        scope: str,
        limits: Limits,
        timeout: float | Timeouts,
        usual: Timeouts,
        retry: RetryPolicy | None,
        budget: Budget | None,
        session: aiohttp.ClientSession | None,
        trace_configs: Iterable[aiohttp.TraceConfig],
        hooks: Iterable[Hook],
        ssl_context: ssl.SSLContext | None,
        proxy: str | Secret | None,
        trust_env: bool,
        clock: Clock | None,
        language: str | None = None,
        read_only: bool = False,
        store: Store | None = None,
        login: Callable[[Session, CallOptions], Login] | None = None,
        precondition: Callable[[Session], Precondition] | None = None,
    ) -> None:
        """Check the options and put the parts together.

        :param scope: names the budget of the store, else of the machine, which is used where ``budget``
            is None
        :param timeout: seconds for one attempt, or ``Timeouts`` in place of the ``usual`` ones
        :param read_only: no write is sent; a login is none
        :param store: what is shared with other machines; it is not closed
        :param login: makes the login of all sessions but the one that it is given
        :param precondition: makes what must hold before any call, and is given a session for its
            own
        :raises ConfigurationError: for an option that cannot be.
        """
        proxy = None if proxy is None else Secret.of(proxy)
        check_all(_CHECKS, locals())
        hooks = tuple(hooks)
        for hook in hooks:
            _HOOK.require("hooks", hook)
        clock = clock or Clock()
        timeouts = timeout if isinstance(timeout, Timeouts) else usual
        self._origin, self._store = origin, store
        self._transport = Transport(
            origin,
            dialect.authorise,
            clock=clock,
            connections=limits.in_flight,
            connect_timeout=timeouts.connect,
            session=session,
            trace_configs=trace_configs,
            ssl_context=ssl_context,
            proxy=proxy,
            trust_env=trust_env,
        )
        self._hooks = Hooks(hooks)
        self._shared = None
        if budget is None and store is not None:
            budget = self._shared = StoreBudget(
                store, scope, directory=state_dir(), clock=clock, members=limits.members, emit=self._hooks
            )
        elif budget is None:
            budget = machine_budget(scope, directory=state_dir())
        governor = Governor(limits, budget=budget, clock=clock, emit=self._hooks)
        session_of = partial(
            Session, dialect, self._transport, governor, clock=clock, timeouts=timeouts, emit=self._hooks
        )
        per_attempt = None if isinstance(timeout, Timeouts) else float(timeout)
        options = CallOptions(retry=retry or RetryPolicy(), language=language, timeout=per_attempt)
        self._without_login = session_of()
        self._session = session_of(
            login=login and login(self._without_login, options),
            precondition=precondition and precondition(self._without_login),
            read_only=read_only,
        )
        self._read_only = read_only
        self._options = options

    def _bind(self, options: CallOptions) -> None:
        """Make the areas that a subclass has, under these options."""
        self._options = options

    @classmethod
    def _from_env(
        cls,
        read: Callable[[Mapping[str, str], Mapping[str, Any]], Mapping[str, Any]],
        overrides: Mapping[str, Any],
    ) -> Self:
        options = dict(read(os.environ, overrides))
        if "store" not in overrides:
            options["store"] = Store.from_env(os.environ, clock=overrides.get("clock"))
        log_from(os.environ.get("ALMA_LOG"))
        return cls(**options)

    @property
    def origin(self) -> str:
        """``scheme://host[:port]`` that all calls go to."""
        return self._origin

    @property
    def store(self) -> Store | None:
        """The store that it shares with other machines; None where it has none."""
        return self._store

    @property
    def options(self) -> CallOptions:
        """The options in force."""
        return self._options

    @property
    def read_only(self) -> bool:
        """Whether no write is sent: each raises ``ReadOnly``."""
        return self._read_only

    def require_writable(self) -> None:
        """Raise unless writes are sent, before work that needs them is begun.

        :raises ReadOnly: where they are not.
        """
        if self._read_only:
            raise ReadOnly("This client only reads, and this work writes: nothing was sent.")

    @property
    def hooks(self) -> Hooks:
        """What gets the events of this client and its copies; more can be added at any time."""
        return self._hooks

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._session.governor.closed

    @property
    def clock(self) -> Clock:
        """The clock that all of this client's waiting goes by."""
        return self._session.clock

    def with_options(self, **changes: Unpack[OptionChanges]) -> Self:
        """A cheap copy that shares everything with this client but the options."""
        return self._with(changes)

    def _with(self, changes: Mapping[str, Any]) -> Self:
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._bind(self._options.changed(**changes))
        return copy

    def quota(self) -> QuotaSnapshot:
        """What the governor knows now: limit in force, remaining today, reserve, others' use,
        waiting and in flight.
        """
        return self._session.governor.snapshot()

    async def machines(self) -> list[Machine]:
        """The machines that draw on this institution's budget in the store, this one included if it has
        drawn; empty where the client shares none.

        :raises StoreUnavailable: where the store does not answer.
        """
        return [] if self._shared is None else await self._shared.machines()

    async def sleep(self, seconds: float) -> None:
        """Wait on the client's clock, as its own work does: closing the client ends it at once.

        :raises ClientClosed: then.
        """
        await self._session.governor.sleep(seconds)

    async def aclose(self) -> None:
        """Close what is the client's own, and release the budget. A cancellation goes on after that.

        Whatever still waits ends with ``ClientClosed``; a write under way ends with
        ``OutcomeUnknown``.

        :raises ConfigurationError: in another event loop than the one that uses the client.
        """
        await shielded(self._close())

    async def _close(self) -> None:
        await self._session.governor.aclose()
        self._end_waits()
        await self._transport.aclose()

    def _end_waits(self) -> None:
        """End what waits elsewhere than at the governor."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_origin', 'not made')}>"
