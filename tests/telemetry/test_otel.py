"""What operators see of a client, its governor, its jobs and its loads, as an SDK collects it."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode
from prometheus_client import CollectorRegistry

import alma_async.events
from alma_async import AlmaClient, AlmaError, AlmaSet, Coded, Limits, NotFound, sim
from alma_async.events import CallFinished, Event, Hooks, LoadFinished, RowsEnded
from alma_async.load import Load, LoadOptions
from alma_async.otel import instrument
from alma_async.store import Store
from tests.conftest import KEY, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
TITLE = "Zeitschrift für geheime Kunde"
ONE = "/almaws/v1/electronic/e-collections/{collection_id}"
LIST = f"{ONE}/e-services/{{service_id}}/portfolios"


class Seen:
    """An SDK in memory, and what came to it."""

    def __init__(self) -> None:
        self.reader, self.exporter = InMemoryMetricReader(), InMemorySpanExporter()
        self.registry = CollectorRegistry()
        prometheus = PrometheusMetricReader(registry=self.registry)
        self.meters = MeterProvider([self.reader, prometheus], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def providers(self):
        return {"meter_provider": self.meters, "tracer_provider": self.tracers}

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self, metric_name, /, **attributes):
        """The points of one metric that have these attributes, given with ``_`` for each dot."""
        data = self.reader.get_metrics_data()
        scopes = [] if data is None else [one for each in data.resource_metrics for one in each.scope_metrics]
        found = [
            point
            for one in scopes
            for metric in one.metrics
            if metric.name == metric_name
            for point in metric.data.data_points
        ]
        wanted = attributes.items()
        return [
            point
            for point in found
            if wanted <= {key.rpartition(".")[2]: value for key, value in point.attributes.items()}.items()
        ]  # fmt: skip

    def total(self, name, /, **attributes):
        return sum(
            getattr(point, "value", 0) or getattr(point, "sum", 0)
            for point in self.points(name, **attributes)
        )

    def text(self):
        """All that was exported, as text."""
        data = self.reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans), "" if data is None else data.to_json()])


def loading(alma, tmp_path, **how):
    options = LoadOptions(quarantine=30.0, **how)
    return Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load", options=options)


def titles(count):
    return [{"mms_id": f"99{n:06}", "url": f"https://journals.example/{n}"} for n in range(count)]


async def test_a_call_is_a_span_of_the_conventions():
    """Name by method and template, the required attributes, the caller's span as parent, and the true time of its beginning."""
    seen = Seen()
    async with institution(latency=2.5) as (server, alma):
        instrument(alma, **seen.providers, attributes={"alma_async.institution": "north"})
        tracer = seen.tracers.get_tracer("program")
        with tracer.start_as_current_span("request") as parent:
            began = alma.clock.wall()
            await alma.electronic.collections.get(C)
            ended = alma.clock.wall()
        (span,) = [one for one in seen.spans if one.kind is SpanKind.CLIENT]
        port = int(server.base_url.rpartition(":")[2])
        assert span.name == f"GET {ONE}"
        assert span.parent.span_id == parent.get_span_context().span_id
        assert ended - began > 2
        assert abs(span.start_time - began * 1e9) < 1e6 and abs(span.end_time - ended * 1e9) < 1e6
        expected = {
            "http.request.method": "GET",
            "url.template": ONE,
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": port,
            "alma_async.institution": "north",
            "alma_async.call.outcome": "ok",
            "alma_async.call.priority": "normal",
        }
        assert expected.items() <= span.attributes.items()
        assert not {"error.type", "http.request.resend_count", "url.full"} & span.attributes.keys()
        assert span.status.status_code is StatusCode.UNSET
        assert span.instrumentation_scope.name == "alma_async"
        (point,) = seen.points("http.client.request.duration")
        assert point.explicit_bounds == (
            0.005,
            0.01,
            0.025,
            0.05,
            0.075,
            0.1,
            0.25,
            0.5,
            0.75,
            1,
            2.5,
            5,
            7.5,
            10,
        )
        assert point.attributes["url.template"] == ONE
        assert {"alma_async.call.priority", "alma_async.call.id"}.isdisjoint(point.attributes)


async def test_calls_at_once_have_each_their_own_parent():
    """Though events come at a call's end, tasks that run at the same time do not get mixed up."""
    seen = Seen()
    async with institution(latency=1.0) as (_, alma):
        instrument(alma, **seen.providers)
        tracer, parents = seen.tracers.get_tracer("program"), {}

        async def one(n):
            with tracer.start_as_current_span(f"request {n}") as parent:
                parents[parent.get_span_context().span_id] = n
                await anyio.sleep(0.1 * n)
                await (alma.electronic.collections.get(C) if n % 2 else alma.sets.list().total())

        async with anyio.create_task_group() as group:
            for n in range(6):
                group.start_soon(one, n)
    calls = [span for span in seen.spans if span.kind is SpanKind.CLIENT]
    assert sorted(parents[span.parent.span_id] for span in calls) == list(range(6))
    assert all((parents[span.parent.span_id] % 2 == 1) is (ONE in span.name) for span in calls)


async def test_a_failed_call_says_why():
    """The status where that says it, the error's class where none came; cancelled; and a raw call names no path."""
    seen = Seen()
    async with institution(latency=1.0) as (_, alma):
        instrument(alma, **seen.providers)
        with pytest.raises(NotFound):
            await alma.electronic.collections.get("999")
        with pytest.raises(AlmaError):
            await alma.with_options(deadline=0.5).electronic.collections.get(C)
        with anyio.move_on_after(0.5):
            await alma.electronic.collections.get(C)
        await alma.request("GET", f"/almaws/v1/electronic/e-collections/{C}")
    missing, late, cancelled, raw = seen.spans
    assert (missing.attributes["error.type"], missing.attributes["http.response.status_code"]) == ("400", 400)
    assert (late.attributes["error.type"], "http.response.status_code" in late.attributes) == (
        "DeadlineExceeded",
        False,
    )
    assert (
        cancelled.attributes["error.type"] == cancelled.attributes["alma_async.call.outcome"] == "cancelled"
    )
    assert {span.status.status_code for span in (missing, late, cancelled)} == {StatusCode.ERROR}
    assert (raw.name, "url.template" in raw.attributes, raw.status.status_code) == (
        "GET",
        False,
        StatusCode.UNSET,
    )
    assert len(seen.points("alma_async.call.duration")) == 4
    assert seen.points("http.client.request.duration", type="DeadlineExceeded")


@pytest.mark.parametrize("reason", ["hold", "back-off", "pace", "queue", "concurrency", "connect", "quota"])
async def test_seconds_of_waiting_by_reason(reason):
    """What each reason took is just what the calls' own events say; it is most of the waiting where it is forced."""
    seen, calls, latency = Seen(), [], 1.0 if reason == "concurrency" else 0.1
    asked = {
        "hold": {"faults": sim.FaultPlan(rules=[sim.Rule("reject", method="GET")])},
        "back-off": {"faults": sim.FaultPlan(rules=[sim.Rule("server_error", method="GET", times=2)])},
        "pace": {"client": {"limits": Limits(per_second=0.5)}},
        "queue": {"client": {"limits": Limits(per_second=5)}},
        "concurrency": {"client": {"limits": Limits(in_flight=1)}},
        "quota": {"quota": 3},
    }
    async with institution(latency=latency, **asked.get(reason, {})) as (_, alma):
        alma.hooks.add(calls.append, CallFinished)
        instrument(alma, **seen.providers)
        waiting = alma.with_options(wait_for_quota=True)
        async with anyio.create_task_group() as group:
            for _ in range({"pace": 2, "queue": 40, "concurrency": 10, "quota": 5}.get(reason, 1)):
                group.start_soon(waiting.electronic.collections.list().total)
    said = {}
    for call in calls:
        for why, seconds in call.waits.items():
            said[why] = said.get(why, 0.0) + seconds
    for why, seconds in said.items():
        assert seen.total("alma_async.wait.time", reason=why, priority="normal") == pytest.approx(seconds)
    if reason != "connect":  # takes no time here
        assert max(said, key=said.get) == reason
    wire = sum(call.seconds - sum(call.waits.values()) + call.waits.get("connect", 0.0) for call in calls)
    assert seen.total("http.client.request.duration") == pytest.approx(wire)
    assert seen.total("alma_async.call.duration") == pytest.approx(sum(call.seconds for call in calls))
    again = sum(call.attempts - 1 for call in calls)
    assert sum(span.attributes.get("http.request.resend_count", 0) for span in seen.spans) == again
    retries = [event.attributes["error.type"] for span in seen.spans for event in span.events]
    assert seen.total("alma_async.call.retries") == len(retries) >= again
    assert bool(retries) is (reason in ("hold", "back-off", "quota"))
    assert all(
        span.start_time <= event.timestamp <= span.end_time for span in seen.spans for event in span.events
    )


async def test_the_governor_on_demand():
    """The gauges are what ``alma.quota()`` says; two clients add nothing to each other, and a closed one shows nothing."""
    seen = Seen()
    async with (
        institution(latency=5.0, client={"limits": Limits(per_second=2, in_flight=3)}) as (_, alma),
        institution() as (_, other),
    ):
        for name, client in (("north", alma), ("south", other)):
            instrument(client, **seen.providers, attributes={"name": name})
        await alma.sets.list().total()
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(alma.electronic.collections.list().total)
            await anyio.sleep(4)
            now = alma.quota()
            read = {
                "quota.remaining": now.remaining,
                "quota.reserve": now.reserve,
                "rate.limit": now.per_second,
                "hold.time": 0,
            }
            for name, value in read.items():
                (point,) = seen.points(f"alma_async.{name}", name="north")
                assert point.value == value
            for metric, counts in (("waiting", now.waiting), ("in_flight", now.in_flight)):
                for priority, count in counts.items():
                    (point,) = seen.points(
                        f"alma_async.calls.{metric}", name="north", priority=priority.value
                    )
                    assert point.value == count
            assert sum(now.in_flight.values()) == 3
            assert seen.total("alma_async.calls.in_flight", name="south") == 0
            assert seen.points("alma_async.quota.remaining", name="south") == []  # never heard
    assert seen.points("alma_async.rate.limit") == []  # both are closed


async def test_a_threshold_and_the_hold_after_it():
    """A call that is one too many in a second is counted, and the hold is shown while it lasts."""
    seen = Seen()
    faults = sim.FaultPlan(rules=[sim.Rule("reject", method="GET")])
    async with (
        institution(faults=faults, client={"limits": Limits(hold=5.0)}) as (_, alma),
        anyio.create_task_group() as group,
    ):
        instrument(alma, **seen.providers)
        group.start_soon(alma.sets.list().total)
        await anyio.sleep(0.5)
        (point,) = seen.points("alma_async.hold.time")
        assert 0.4 < point.value < 5
    assert seen.total("alma_async.thresholds.reached", threshold="second") == 1


async def test_jobs_as_the_ledger_shows_them():
    """How many run of how many that may, and how many submissions wait; in the end, none."""
    seen = Seen()

    def shown():
        return [seen.total(f"alma_async.jobs.{name}") for name in ("running", "limit", "waiting")]

    async with institution() as (_, alma):
        instrument(alma, **seen.providers)
        chosen = await alma.sets.create(
            AlmaSet(name="All", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO"))
        )
        assert seen.points("alma_async.jobs.running") == []  # the ledger was not read yet
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(alma.jobs.submit, sim.DEMO_JOB, {"set_id": chosen.id})
            await anyio.sleep(10)
            assert shown() == [3, 3, 2]
        for run in await alma.jobs.instances(sim.DEMO_JOB).all():
            await alma.jobs.wait(sim.DEMO_JOB, run.id)
        assert shown() == [0, 3, 0]


async def with_store(url):
    """What is seen of one call of a client with a store, which is at this URL or away; and the text of all."""
    seen = Seen()
    async with (
        sim.serve(sim.World.demo()) as server,
        Store(url) as store,
        AlmaClient(KEY, base_url=server.base_url, store=store) as alma,
    ):
        instrument(alma, **seen.providers)
        await alma.sets.list().total()
        names = ("away", "machines", "trips", "absences", "absence.time")
        figures = {name: seen.total(f"alma_async.store.{name}") for name in names}
        return (
            figures,
            seen.text(),
            [sample for family in seen.registry.collect() for sample in family.samples],
        )


@pytest.fixture
def stored(store_url):
    """In real time, beside the loop of the test: a store that answers."""
    return anyio.run(with_store, store_url)


def test_the_store_that_machines_share(stored, store_url):
    """Statements and machines where it answers; absence where it does not; never its address."""
    there, text, _ = stored
    away, more, _ = anyio.run(with_store, f"{store_url.rpartition(':')[0]}:1/none")
    assert (there["away"], there["machines"], there["absences"], there["absence.time"]) == (0, 1, 0, 0)
    assert there["trips"] >= 1
    assert (away["away"], away["absences"]) == (1, 1)
    assert away["absence.time"] > 0
    assert "postgres" not in text + more


async def test_a_load_is_a_span_above_its_calls(tmp_path):
    """Its calls are its children in the caller's trace, and rows are counted by state, action and reason."""
    seen, ends = Seen(), []
    refusal = sim.Rule(sim.Fault("error", code="401861"), method="POST", nth=2)
    async with institution(faults=sim.FaultPlan(rules=[refusal])) as (_, alma):
        alma.hooks.add(ends.append, RowsEnded, LoadFinished)
        instrument(alma, **seen.providers)
        with seen.tracers.get_tracer("program").start_as_current_span("night") as night:
            rows = [{"mms_id": "nothing"}, *titles(5), *titles(1)]
            report = await loading(alma, tmp_path).run(rows)
            assert trace.get_current_span() is night
        calls = len(seen.spans) - 2
        load = next(span for span in seen.spans if span.name == "load upsert")
        children = [
            span for span in seen.spans if span.parent and span.parent.span_id == load.context.span_id
        ]
        assert len(children) == calls == report.calls
        assert load.parent.span_id == night.get_span_context().span_id
        assert load.end_time - load.start_time == pytest.approx(report.seconds * 1e9, abs=1e8)
        facts = {
            name: load.attributes[f"alma_async.load.rows.{name}"]
            for name in ("created", "rejected", "duplicates", "pending")
        }
        assert facts == {"created": 4, "rejected": 2, "duplicates": 1, "pending": 0}
        assert (load.attributes["alma_async.load.outcome"], load.status.status_code) == (
            "finished",
            StatusCode.UNSET,
        )
        names = [f"alma_async.row.{name}" for name in ("state", "action", "reason")]
        points = seen.points("alma_async.load.rows")
        counted = {tuple(map(one.attributes.get, names)): one.value for one in points}
        assert counted == {
            ("done", "created", None): 4,
            ("rejected", None, "rejected"): 1,
            ("rejected", None, None): 1,
            ("duplicate", None, None): 1,
        }
        assert isinstance(ends[-1], LoadFinished) and len(ends) > 6
        (point,) = seen.points("alma_async.load.duration", action="upsert", dry_run=False, outcome="finished")
        assert point.sum == pytest.approx(report.seconds, abs=0.1)
        assert seen.total("alma_async.load.running") == 0

        # what is there already is not counted again; a dry run counts no row
        assert (await loading(alma, tmp_path).run()).rows == 7
        plan = await Load(alma, collection_id=C, service_id=S, journal=tmp_path / "b.load").plan(titles(9))
        plan.close()
        assert seen.total("alma_async.load.rows") == 7
        assert len(seen.points("alma_async.load.duration", dry_run=True)) == 1


@pytest.mark.parametrize("end", ["stopped", "failed", "cancelled"])
async def test_how_a_load_ends(tmp_path, end):
    """Stopped, failed or cancelled: the span says so, and the context of the caller is as it was."""
    seen = Seen()
    revoked = sim.Rule(
        sim.Fault("error", code="UNAUTHORIZED", commit=False), method="POST", nth=3, times=None
    )
    faults = {"faults": sim.FaultPlan(rules=[revoked])} if end == "failed" else {}
    async with institution(**faults) as (_, alma):
        instrument(alma, **seen.providers)
        load = loading(alma, tmp_path)
        try:
            if end == "stopped":
                await load.run(titles(80), on_progress=lambda now: load.stop() if now.created > 5 else None)
            else:
                with anyio.move_on_after(2.0):
                    await load.run(titles(80))
        except AlmaError:
            assert end == "failed"
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert seen.total("alma_async.load.running") == 0
    span = next(one for one in seen.spans if one.name == "load upsert")
    assert span.attributes["alma_async.load.outcome"] == end
    assert span.attributes.get("error.type") == ("Unauthorized" if end == "failed" else None)
    assert (span.status.status_code is StatusCode.ERROR) is (end != "stopped")
    done = {"stopped": 5, "failed": 0, "cancelled": 20}[end]
    assert span.attributes["alma_async.load.rows.created"] >= done
    assert seen.total("alma_async.load.rows", state="done") == span.attributes["alma_async.load.rows.created"]


async def everything(seen, tmp_path):
    """One of each: calls of all areas, rejections, retries, a load, jobs; the ids and texts that were in them."""
    rules = [
        sim.Rule("reject", method="GET", nth=3),
        sim.Rule("server_error", method="GET", nth=9),
        sim.Rule(sim.Fault("error", code="401861"), method="POST", nth=3),
    ]
    async with institution(faults=sim.FaultPlan(rules=rules)) as (_, alma):
        instrument(alma, **seen.providers)
        rows = [
            *titles(6),
            {"mms_id": "991239940007710421", "public_note": TITLE, "url": "https://journals.example/x"},
        ]
        report = await loading(alma, tmp_path).run(rows)
        assert report.created
        portfolios = await alma.electronic.portfolios.list(C, S).all()
        assert [bib async for bib in alma.bibs.get_many([row["mms_id"] for row in rows[:3]])]
        made = await alma.sets.create(AlmaSet(name=TITLE, type=Coded("ITEMIZED"), content=Coded("PORTFOLIO")))
        await alma.sets.add_members(made.id, [one.id for one in portfolios])
        run = await alma.jobs.submit(sim.DEMO_JOB, {"set_id": made.id, "job_name": TITLE})
        await alma.jobs.guard.view()
        with pytest.raises(NotFound):
            await alma.request("GET", "/almaws/v1/electronic/e-collections/424242424242", params={"q": TITLE})
        with pytest.raises(NotFound):
            await alma.electronic.collections.get("525252525252")
        for _ in range(40):  # until others' use can be estimated
            await alma.sets.list().total()
            await anyio.sleep(0.5)
        secret = [
            KEY,
            TITLE,
            json.dumps(TITLE)[1:-1],
            "http://",
            "https://j",
            "journals.example",
            "a.load",
            str(tmp_path),
        ]
        ids = [C, S, made.id, run.instance_id, sim.DEMO_JOB, "424242424242", "525252525252"]
        ids += [one.id for one in portfolios] + [row["mms_id"] for row in rows]
        samples = [sample for family in seen.registry.collect() for sample in family.samples]
        return [*secret, *ids], seen.text(), samples


async def test_no_key_no_id_no_title_no_url_is_exported(tmp_path):
    """A walk over all that spans and metrics of one of each hold finds none of them; one that is planted is found."""
    seen = Seen()
    secret, text, samples = await everything(seen, tmp_path)
    exported = text + "".join(f"{sample.name}{sample.labels}" for sample in samples)
    schema = "https://opentelemetry.io/schemas/"
    assert len(seen.spans) > 15 and "url.template" in exported and schema in exported
    assert [name for name in secret if name in exported] == []
    seen.tracers.get_tracer("planted").start_span("planted", attributes={"url.full": f"https://x/{C}"}).end()
    assert C in seen.text()


NAMES = re.compile(r"([a-z_][a-z0-9_]*)\{([^}]*)\}")
GROUPED = re.compile(r"by \(([^)]*)\)")
DASHBOARD = Path(__file__).resolve().parents[2] / "examples" / "grafana" / "alma-async.json"


def panels():
    found = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def unknown(queries, emitted):
    """The metrics and labels of these queries that nothing emits."""
    lacking = []
    for query, legend in queries:
        metrics = NAMES.findall(query)
        assert metrics, query
        known = {label for name, _ in metrics for label in emitted.get(name, ())}
        lacking += [name for name, _ in metrics if name not in emitted]
        used = [part.strip() for found in GROUPED.findall(query) for part in found.split(",")]
        used += [
            label for _, inside in metrics for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", inside)
        ]
        used += re.findall(r"\{\{([a-z_]+)\}\}", legend)
        lacking += [label for label in used if label not in known]
    return lacking


async def test_the_dashboard_names_only_what_is_emitted(tmp_path, stored):
    """Each metric and label of its queries and variables comes out of the Prometheus exporter; a wrong name is found. The
    page of the documentation names each metric, and no other.
    """
    _, text, samples = await everything(Seen(), tmp_path)
    emitted = {}
    for sample in [*samples, *stored[2]]:
        emitted.setdefault(sample.name, set()).update(sample.labels)
    queries = [(one["expr"], one.get("legendFormat", "")) for panel in panels() for one in panel["targets"]]
    variables = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    asked = [
        re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"]["query"]).groups()
        for one in variables
        if one["type"] == "query"
    ]
    assert len(queries) >= 15 and asked
    assert unknown(queries, emitted) == []
    assert [pair for pair in asked if pair[1] not in emitted.get(pair[0], ())] == []
    wrong = [("sum by (routes) (rate(alma_async_calls_total{server=~'x'}[5m]))", "{{nothing}}")]
    assert unknown(wrong, emitted) == ["alma_async_calls_total", "routes", "server", "nothing"]
    names = set(re.findall(r'"name": "((?:alma_async|http)\.[a-z_.]+)"', text + stored[1])) - {
        "alma_async.retry"
    }
    page = (DASHBOARD.parents[2] / "docs" / "how-to" / "opentelemetry.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)) == names


def test_each_panel_has_title_unit_and_its_own_place():
    """A person reads it without a guess: title, description, unit, legend; no panel lies on another."""
    taken = set()
    for panel in panels():
        assert panel["title"] and panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        assert all(one["datasource"]["uid"] == "${datasource}" for one in panel["targets"])
    assert len({panel["id"] for panel in panels()}) == len(panels())


class Broken:
    """A provider, and whatever comes of it, that fails at each use once it was made."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith(("get_", "create_")):
            return lambda *_, **__: Broken()

        def fails(*_, **__):
            raise RuntimeError("the exporter is broken")

        return fails


async def test_a_broken_provider_affects_no_call(tmp_path, caplog):
    """Calls and loads end as without it, and the failure is logged once."""
    async with institution() as (_, alma):
        instrument(alma, meter_provider=Broken(), tracer_provider=Broken())
        assert (await loading(alma, tmp_path).run(titles(5))).created == 5
        assert await alma.electronic.collections.get(C)
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert [record.levelname for record in caplog.records if "hook" in record.getMessage()] == ["ERROR"]


async def test_instrumented_once_and_not_any_more(tmp_path):
    """A second time, also by a copy, changes nothing; after ``uninstrument`` nothing comes, but a load that runs ends its span."""
    seen = Seen()
    async with institution() as (_, alma):
        one = instrument(alma, **seen.providers)
        assert instrument(alma.with_options(deadline=9.0), **seen.providers) is one
        await alma.electronic.collections.get(C)
        assert len(seen.spans) == 1
        await loading(alma, tmp_path).run(
            titles(30), on_progress=lambda now: now.created > 5 and one.uninstrument()
        )
        assert seen.spans[-1].name == "load upsert"
        assert seen.total("alma_async.load.running") == 0
        count = len(seen.spans)
        await alma.electronic.collections.get(C)
        assert (len(seen.spans), seen.points("alma_async.rate.limit"), list(alma.hooks)) == (count, [], [])
        assert instrument(alma, **seen.providers) is not one
        await alma.electronic.collections.get(C)
        assert len(seen.spans) == count + 1


async def test_a_client_that_is_gone_is_not_kept():
    """The instruments on demand, which an SDK keeps for ever, keep no client."""
    seen = Seen()
    async with institution() as (_, alma):
        instrument(alma, **seen.providers)
        await alma.electronic.collections.get(C)
    del alma
    gc.collect()
    assert not any(type(one).__name__ == "Instrumentation" for one in gc.get_objects())


async def test_who_is_not_instrumented_pays_nothing(tmp_path, caplog):
    """Where nobody listens and the log is off, no event is wanted; nor those that an instrumented client has no use for."""
    caplog.set_level("ERROR", "alma_async._governance")
    kinds = [
        one for one in vars(alma_async.events).values() if isinstance(one, type) and issubclass(one, Event)
    ]
    assert len(kinds) > 10
    assert not any(Hooks().wants(kind) for kind in kinds)
    async with institution() as (_, alma):
        instrument(alma, meter_provider=NoOpMeterProvider(), tracer_provider=NoOpTracerProvider())
        assert {kind.__name__ for kind in kinds if alma.hooks.wants(kind)}.isdisjoint({"Admitted", "Adapted"})
        assert alma.hooks.wants(CallFinished)


def test_the_library_itself_imports_no_opentelemetry():
    """Nor does a client or a load; only ``alma_async.otel`` does, and of the API alone."""
    program = (
        "import sys, alma_async, alma_async.load, alma_async.polaris; alma_async.AlmaClient, alma_async.load.Load;"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules);"
        "import alma_async.otel; assert not any(name.startswith('opentelemetry.sdk') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
