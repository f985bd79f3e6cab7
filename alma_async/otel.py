"""OpenTelemetry: spans and metrics of a client's calls, its governor, its jobs, and its loads.

``instrument(client)`` adds one hook to the client, which turns ``alma_async.events`` into spans and
measurements. Nothing below this module knows of it, and a client that is not instrumented pays
nothing. What collects and exports is the program's own (SDK, exporter). Needs the extra ``[otel]``.

Calls follow the stable semantic conventions for HTTP clients (opentelemetry.io, 1.44.0), one span
for a call with all its attempts, and two deviations: there is no ``url.full``, since a URL of these
systems names records; and ``http.client.request.duration`` leaves out what a call waited for in this
process, which is in ``alma_async.call.duration`` and ``alma_async.wait.time``, and in the span. No
id, URL, title or key is in any attribute: calls go by the template of their path.

What is measured on demand (``alma_async.quota.*``, ``alma_async.rate.*``, ...) is read from the
client's governor, in whatever thread the SDK collects; it costs no call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Token
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from alma_async._core.client import Client
from alma_async._governance.budget import StoreUse
from alma_async._governance.governor import QuotaSnapshot
from alma_async._version import __version__
from alma_async.events import (
    CallFinished,
    Event,
    JobsChanged,
    LoadFinished,
    LoadStarted,
    RowsEnded,
    ThresholdReached,
    TriedAgain,
)

__all__ = ["Instrumentation", "instrument"]

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"

# Advised by the conventions, in seconds.
_REQUEST: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# Chosen: a call may wait for the day's reset, and a load may take days.
_CALL: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 21_600.0)
_LOAD: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 43_200.0, 86_400.0, 259_200.0)


def instrument(
    client: Client,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    attributes: Attributes | None = None,
) -> Instrumentation:
    """Have a client, its copies and its loads give spans and metrics from now on.

    A client that is instrumented with the same providers already stays as it is.

    :param client: an ``AlmaClient`` or a ``PolarisClient``
    :param meter_provider: gets the metrics; the global one by default
    :param tracer_provider: gets the spans; the global one by default
    :param attributes: are added to every span and measurement: which institution, say, where a
        program has clients of several
    """
    meters = meter_provider or metrics.get_meter_provider()
    tracers = tracer_provider or trace.get_tracer_provider()
    for hook in client.hooks:
        if isinstance(hook, Instrumentation) and hook._providers == (meters, tracers):
            return hook
    return Instrumentation(client, meters, tracers, attributes or {})


class Instrumentation:
    """What turns the events of one client into spans and metrics; made by ``instrument``."""

    def __init__(
        self, client: Client, meters: MeterProvider, tracers: TracerProvider, attributes: Attributes
    ) -> None:
        server = urlsplit(client.origin)
        port = server.port or (443 if server.scheme == "https" else 80)
        self._providers: tuple[MeterProvider, TracerProvider] = meters, tracers
        self._common: dict[str, str | int | float | bool] = {
            **attributes,
            "server.address": server.hostname or "",
            "server.port": port,
        }
        self._jobs: JobsChanged | None = None
        self._client = client
        self._metrics = _metrics_of(meters)
        self._tracer = tracers.get_tracer("alma_async", __version__, schema_url=SCHEMA)
        self._retries: dict[str, list[TriedAgain]] = {}
        self._loads: dict[str, tuple[Span, Token[Context]]] = {}
        self._active = True
        self._metrics.observe(self)
        self._remove = client.hooks.add(self, *_HANDLERS)

    def __repr__(self) -> str:
        return f"<Instrumentation of {self._client!r}>"

    def uninstrument(self) -> None:
        """Give no more spans and metrics; a load that runs still ends its span."""
        self._active = False
        self._metrics.forget(self)
        self._leave()

    def _leave(self) -> None:
        if not self._active and not self._loads:
            self._remove()

    def __call__(self, event: Event) -> None:
        """Take one event of the client."""
        if self._active or isinstance(event, LoadFinished):
            _HANDLERS[type(event)](self, event)

    def _quota(self) -> QuotaSnapshot | None:
        """What the client's governor knows now; None of a closed client."""
        return None if self._client.closed else self._client.quota()

    def _held(self, seen: QuotaSnapshot) -> float:
        """For how many seconds all calls are still held."""
        until = seen.stopped_until or seen.held_until
        return 0.0 if until is None else max((until - self._client.clock.utc()).total_seconds(), 0.0)

    def _moment(self, at: float) -> int:
        """A moment on the client's clock, in nanoseconds since 1970."""
        clock = self._client.clock
        return int((clock.wall() - clock.now() + at) * 1e9)

    # --- calls

    def _tried_again(self, event: TriedAgain) -> None:
        self._metrics.retries.add(1, {**self._common, "error.type": event.why})
        self._retries.setdefault(event.call_id, []).append(event)

    def _call_finished(self, call: CallFinished) -> None:
        error, measures = _error_of(call), self._metrics
        request = {**self._common, **_request(call, error)}
        about = {**self._common, **_about(call)}
        span = self._call_span(call, error, request, about)
        # with the span as context, so that an exemplar leads to it
        context = trace.set_span_in_context(span)
        if call.attempts:
            wire = call.seconds - sum(call.waits.values()) + call.waits.get("connect", 0.0)
            measures.request.record(max(wire, 0.0), request, context)
        ended = {**about, "error.type": error} if error else about
        measures.call.record(call.seconds, ended, context)
        waiter = {**self._common, "alma_async.call.priority": call.priority.value}
        for reason, seconds in call.waits.items():
            if seconds > 0:
                measures.wait.add(seconds, {**waiter, "alma_async.wait.reason": reason}, context)

    def _call_span(
        self, call: CallFinished, error: str | None, request: Attributes, about: Attributes
    ) -> Span:
        """The call as a span of the context in which it was made, which is that of its last event."""
        retries = self._retries.pop(call.call_id, ())
        facts = {**request, **about, "alma_async.call.id": call.call_id}
        if call.attempts > 1:
            facts["http.request.resend_count"] = call.attempts - 1
        if call.remaining is not None:
            facts["alma_async.quota.remaining"] = call.remaining
        waits = {reason.replace("-", "_"): seconds for reason, seconds in call.waits.items()}
        facts |= {f"alma_async.wait.{reason}": seconds for reason, seconds in waits.items()}
        name = f"{call.method} {call.template}" if call.template else call.method
        span = self._tracer.start_span(
            name, kind=SpanKind.CLIENT, attributes=facts, start_time=self._moment(call.at - call.seconds)
        )
        for again in retries:
            failed: Attributes = {"error.type": again.why, "alma_async.wait.back_off": again.seconds}
            span.add_event("alma_async.retry", failed, timestamp=self._moment(again.at))
        if error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=self._moment(call.at))
        return span

    # --- what the governor and the guard say

    def _threshold_reached(self, event: ThresholdReached) -> None:
        self._metrics.thresholds.add(1, {**self._common, "alma_async.threshold": event.threshold})

    def _jobs_changed(self, event: JobsChanged) -> None:
        self._jobs = event

    # --- loads

    def _load_started(self, load: LoadStarted) -> None:
        about = {**self._common, **_about_load(load)}
        span = self._tracer.start_span(
            f"load {load.action}", attributes=about, start_time=self._moment(load.at)
        )
        # until the same task ends the load: the parent of all its calls
        token = contexts.attach(trace.set_span_in_context(span))
        self._loads[load.load] = span, token
        self._metrics.loads.add(1, about)

    def _rows_ended(self, rows: RowsEnded) -> None:
        stand = {"alma_async.row.state": rows.state}
        if rows.action is not None:
            stand["alma_async.row.action"] = rows.action
        if rows.reason is not None:
            stand["alma_async.row.reason"] = rows.reason
        self._metrics.rows.add(rows.count, {**self._common, **stand})

    def _load_finished(self, load: LoadFinished) -> None:
        begun = self._loads.pop(load.load, None)
        self._leave()
        if begun is None:
            return
        span, token = begun
        contexts.detach(token)
        about = {**self._common, **_about_load(load)}
        self._metrics.loads.add(-1, about)
        outcome = {"alma_async.load.outcome": load.outcome}
        if load.error is not None:
            outcome["error.type"] = load.error
        self._metrics.load.record(load.seconds, {**about, **outcome}, trace.set_span_in_context(span))
        span.set_attributes({**outcome, "alma_async.load.calls": load.calls})
        span.set_attribute("alma_async.load.throttled", load.throttled)
        span.set_attributes({f"alma_async.load.rows.{name}": count for name, count in load.rows.items()})
        if load.outcome in ("failed", "cancelled"):
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=self._moment(load.at))


# What becomes of each event; others are not asked for, and so not made. One more is a line here, its
# method, and its instrument in ``_Metrics``.
_HANDLERS: Final[Mapping[type[Event], Callable[[Instrumentation, Any], None]]] = {
    CallFinished: Instrumentation._call_finished,
    TriedAgain: Instrumentation._tried_again,
    ThresholdReached: Instrumentation._threshold_reached,
    JobsChanged: Instrumentation._jobs_changed,
    LoadStarted: Instrumentation._load_started,
    RowsEnded: Instrumentation._rows_ended,
    LoadFinished: Instrumentation._load_finished,
}


def _error_of(call: CallFinished) -> str | None:
    """What a call failed with: the status where that says it, else the class of the error."""
    if call.outcome == "ok":
        return None
    if call.status is not None and call.status >= 400:
        return str(call.status)
    return call.error or call.outcome


def _request(call: CallFinished, error: str | None) -> dict[str, str | int]:
    """As the conventions name it."""
    facts: dict[str, str | int] = {"http.request.method": call.method}
    if call.template is not None:
        facts["url.template"] = call.template
    if call.status is not None:
        facts["http.response.status_code"] = call.status
    if error is not None:
        facts["error.type"] = error
    return facts


def _about(call: CallFinished) -> dict[str, str]:
    return {
        "alma_async.call.outcome": call.outcome,
        "alma_async.call.priority": call.priority.value,
    }


def _about_load(load: LoadStarted | LoadFinished) -> dict[str, str | bool]:
    return {"alma_async.load.action": load.action, "alma_async.load.dry_run": load.dry}


# --- the instruments, which all clients of a provider share

_Value: TypeAlias = float | Mapping[str, float] | None
_Read: TypeAlias = Callable[["Instrumentation", QuotaSnapshot], _Value]


class _Metrics:
    """The instruments of one meter provider, and whom those on demand are asked of: an SDK makes
    each instrument once, with the callbacks that it has then.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("alma_async", __version__, schema_url=SCHEMA)
        self._meter = meter
        self._observed: WeakSet[Instrumentation] = WeakSet()
        self._lock = threading.Lock()
        self.request = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_REQUEST,
        )
        self.call = meter.create_histogram(
            "alma_async.call.duration",
            "s",
            "Duration of calls, with all their attempts and waiting.",
            explicit_bucket_boundaries_advisory=_CALL,
        )
        self.wait = meter.create_counter(
            "alma_async.wait.time", "s", "What calls waited for, added as each ends."
        )
        self.retries = meter.create_counter(
            "alma_async.call.retries", "{retry}", "Attempts that failed, with another one to follow."
        )
        self.thresholds = meter.create_counter(
            "alma_async.thresholds.reached", "{rejection}", "Calls rejected because a threshold was reached."
        )
        self.loads = meter.create_up_down_counter("alma_async.load.running", "{load}", "Loads that run now.")
        self.load = meter.create_histogram(
            "alma_async.load.duration",
            "s",
            "Duration of runs of loads.",
            explicit_bucket_boundaries_advisory=_LOAD,
        )
        self.rows = meter.create_counter(
            "alma_async.load.rows", "{row}", "Rows of loads that ended; not those of dry runs."
        )
        for name, unit, text, read in _GAUGES:
            meter.create_observable_gauge(f"alma_async.{name}", [self._reading(read)], unit, text)
        for name, unit, text, read in _COUNTERS:
            meter.create_observable_counter(f"alma_async.{name}", [self._reading(read)], unit, text)

    def observe(self, one: Instrumentation) -> None:
        with self._lock:
            self._observed.add(one)

    def forget(self, one: Instrumentation) -> None:
        with self._lock:
            self._observed.discard(one)

    def _reading(self, read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterator[Observation]:
            with self._lock:
                clients = list(self._observed)
            for one in clients:
                seen = one._quota()
                value = None if seen is None else read(one, seen)
                if isinstance(value, Mapping):
                    for priority, count in value.items():
                        yield Observation(count, {**one._common, "alma_async.call.priority": priority})
                elif value is not None:
                    yield Observation(value, one._common)

        return observed


def _of_store(read: Callable[[StoreUse], float]) -> _Read:
    """Of a client that has a store."""
    return lambda _, seen: None if seen.store is None else read(seen.store)


_GAUGES: Final[tuple[tuple[str, str, str, _Read], ...]] = (
    (
        "quota.remaining",
        "{call}",
        "Calls that remain today to the institution, less ours since.",
        lambda _, seen: seen.remaining,
    ),
    ("quota.reserve", "{call}", "Calls of the day that bulk work leaves.", lambda _, seen: seen.reserve),
    ("rate.limit", "{call}/s", "Calls a second that are in force.", lambda _, seen: seen.per_second),
    (
        "rate.foreign",
        "{call}/s",
        "Calls a second that others draw, as estimated.",
        lambda _, seen: seen.foreign,
    ),
    (
        "hold.time",
        "s",
        "Seconds for which all calls are still held; 0: they are not.",
        lambda one, seen: one._held(seen),
    ),
    (
        "calls.waiting",
        "{call}",
        "Calls that wait.",
        lambda _, seen: {priority.value: count for priority, count in seen.waiting.items()},
    ),
    (
        "calls.in_flight",
        "{call}",
        "Calls that were sent and are not answered.",
        lambda _, seen: {priority.value: count for priority, count in seen.in_flight.items()},
    ),
    (
        "jobs.running",
        "{job}",
        "Jobs that hold one of the slots of running jobs, as the ledger last showed.",
        lambda one, _: one._jobs.running if one._jobs else None,
    ),
    (
        "jobs.limit",
        "{job}",
        "How many jobs may run at once.",
        lambda one, _: one._jobs.most if one._jobs else None,
    ),
    (
        "jobs.waiting",
        "{job}",
        "Submissions that wait for a free start, as the ledger last showed.",
        lambda one, _: one._jobs.waiting if one._jobs else None,
    ),
    (
        "store.away",
        "",
        "1: the store that machines share does not answer, and calls go on at this machine's part.",
        _of_store(lambda use: int(use.away_since is not None)),
    ),
    (
        "store.machines",
        "{machine}",
        "Machines that draw on the store, as it last showed.",
        _of_store(lambda use: use.machines),
    ),
)
_COUNTERS: Final[tuple[tuple[str, str, str, _Read], ...]] = (
    ("store.trips", "{statement}", "Statements for slots.", _of_store(lambda use: use.trips)),
    ("store.absences", "{absence}", "How often the store was away.", _of_store(lambda use: use.absences)),
    ("store.absence.time", "s", "How long it was away.", _of_store(lambda use: use.seconds_away)),
)

# The one thing that is kept outside of clients, for as long as its provider is.
_OF: Final[WeakKeyDictionary[MeterProvider, _Metrics]] = WeakKeyDictionary()
_MAKING: Final = threading.Lock()


def _metrics_of(provider: MeterProvider) -> _Metrics:
    with _MAKING:
        found = _OF.get(provider)
        if found is None:
            found = _OF[provider] = _Metrics(provider)
        return found
