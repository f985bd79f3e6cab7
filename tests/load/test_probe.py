"""A probe against the simulated Alma: it finds what was set, leaves nothing behind wherever it is cut off, and loads go by it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import attrs
import orjson
import pytest

from alma_async import AlmaClient, sim
from alma_async._http.messages import Request, Response, SendFailure
from alma_async.errors import (
    AlmaError,
    ConfigurationError,
    InvalidRequest,
    OutcomeUnknown,
    ReadOnly,
    UnexpectedEnvironment,
)
from alma_async.load import Load, Probed, Row, ServiceInUse, keep_facts, probe
from alma_async.load.clearing import WAYS
from alma_async.load.institution import FactsFile
from alma_async.load.row import CLEAR, Coverage
from alma_async.sim.fields import EMPTY_VALUES
from tests.load.line import Line, institution

module: Any = import_module("alma_async.load.probe")  # the package has the function under its name

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
TITLE = "990000010000"
EFFECTS = ("cleared", "ignored", "rejected")
SET = {"null": "null", "blank": "blank", "list": "empty_list"}
SAYS = {"cleared": "cleared", "ignored": "kept", "rejected": "rejected"}


def world(**switches: Any) -> sim.World:
    """The demonstration's, whose service holds a portfolio of the record already."""
    made = sim.World.demo(sim.Config(**switches))
    add(made, TITLE)
    return made


def add(to: sim.World, title: str) -> Any:
    return to.portfolios.create(C, S, {"resource_metadata": {"mms_id": {"value": title}}}, now=0.0)


async def probed(alma: AlmaClient, **how: Any) -> Probed:
    return await probe(alma, collection_id=C, service_id=S, mms_id=TITLE, **how)


def is_clean(line: Line) -> bool:
    """Whether the service holds what it held before: one portfolio that was never written to."""
    tally = line.world.tally
    return len(line.world.portfolios.all) == 1 and not tally.updated.keys() & line.world.portfolios.all.keys()


def switches(rng: random.Random) -> dict[str, Any]:
    return {
        "put": rng.choice(("replaces", "keeps")),
        "coverage_in_post": rng.random() < 0.5,
        "post_answers": rng.choice(("whole", "without_coverage", "short")),
        "write_answers": rng.choice(("whole", "without_coverage", "short")),
        "bibs_a_call": rng.choice((100, 1)),
        "empty_members": rng.random() < 0.5,
        "months_as_objects": rng.random() < 0.5,
        "clears": {value: rng.choice(EFFECTS) for value in EMPTY_VALUES},
    }


async def check_found(some: dict[str, Any], folder: Path) -> None:
    """It finds exactly what was set, leaves nothing, touches nothing else; then a load empties what can be emptied, and says it."""
    name = folder.name
    async with institution(world=world(**some), institution=name) as (line, alma):
        one, other = (add(line.world, f"9911{m:06}") for m in range(2))
        found = await probed(alma)
        known = found.known
        assert (found.unknown, found.exit_code, found.environment, found.removed) == ((), 0, "sandbox", ())
        assert found.calls == len(line.arrivals)
        keeps = some["put"] == "keeps"
        expected: Any = {kind: {"left_out": "kept" if keeps else "cleared"} for kind in WAYS}
        for value, effect in some["clears"].items():
            kind, empty = value.split()
            expected[kind][SET[empty]] = SAYS[effect]
        assert (known.clears, known.put) == (expected, "merge" if keeps else "replace")
        assert known.post_coverage == some["coverage_in_post"]
        assert (known.post_answer, known.put_answer) == (some["post_answers"], some["write_answers"])
        assert (known.bibs_asked, known.bibs_answered) == (3, 3 if some["bibs_a_call"] == 100 else 0)
        assert len(line.world.portfolios.all) == 3
        assert not line.world.tally.updated.keys() & {one["id"], other["id"]}
        assert FactsFile.of(alma.scope).read() == known
        assert found.summary()["clears"] == expected
        assert TITLE not in str(found.summary())
        assert len(known.lines()) == 8
        one["public_note"] = "a note"
        other["coverage_details"]["local_date_coverage_parameters"] = [{"from_year": "1999"}]
        wanted = [
            Row(line=2, lines=(2,), portfolio_id=one["id"], values={"public_note": CLEAR}),
            Row(line=3, lines=(3,), portfolio_id=other["id"], coverage=CLEAR),
        ]
        load = Load(alma, collection_id=C, service_id=S, journal=folder / "a.load")
        can = ["cleared" in expected[kind].values() for kind in ("text", "coverage")]
        ended = [ended.state == "done" async for ended in load.stream(wanted)]
        coverage = other["coverage_details"]["local_date_coverage_parameters"]
        assert [not one["public_note"], not coverage] == can
        assert sorted(ended) == sorted(can)


async def test_it_finds_exactly_what_was_set_and_loads_go_by_it(tmp_path: Path) -> None:
    """Institutions by chance, in all that is a switch."""
    rng = random.Random(5)
    for n in range(12):
        (folder := tmp_path / f"{n}").mkdir()
        await check_found(switches(rng), folder)


# --- cut off


class Killed(BaseException):
    """The process ends here."""


@attrs.define
class Cut:
    """What becomes of one call: its answer is lost or the process killed, before or after its effect, or a minute before."""

    line: Line
    at: int
    how: str
    late: list[tuple[float, Request]] = attrs.field(factory=list)
    calls: int = 0
    cut: str = ""

    def __call__(self, request: Request) -> SendFailure | Response | None:
        self.carry_out(anyio.current_time())
        self.calls += 1
        if self.calls != self.at:
            return None
        self.cut = request.method
        if "after" in self.how:
            self.line._answer(request, 0.0)
        elif "late" in self.how and request.method != "GET":
            self.late.append((anyio.current_time() + 60.0, request))
        if "killed" in self.how:
            raise Killed
        return SendFailure(sent=True, reason="cut")

    def carry_out(self, now: float) -> None:
        """What is late and due."""
        for due, one in [*self.late]:
            if now >= due:
                self.late.remove((due, one))
                self.line._answer(one, 0.0)


WAYS_TO_CUT = ("lost after", "lost before", "lost late", "killed after", "killed before", "killed late")


async def check_cut(at: int, how: str) -> str:
    """One probe that is cut off at a call, and another one; the method of the call, "" where there was none."""
    async with institution(world=world(), institution="cut") as (line, alma):
        line.trouble = cut = Cut(line, at, how)
        try:
            found = await probed(alma)
        except (Killed, AlmaError) as error:
            lost = isinstance(error, AlmaError)
            assert not lost or cut.late or is_clean(line), (
                at,
                how,
                "it is cleared up at once where it can be",
            )
            again = await probed(alma)
            assert again.exit_code == 0
            assert len(again.removed) <= 1
            assert again.known == FactsFile.of(alma.scope).read()
        else:
            assert not found.removed
        cut.carry_out(anyio.current_time() + 60.0)
        assert is_clean(line), (at, how)
        made = sum(line.world.tally.created.values()) - 1
        assert made <= 2
        return cut.cut


async def sweep(first: int = 1) -> set[str]:
    """Cut at every call from that one on: in each way, but by turns at the calls that are all alike."""
    methods = set[str]()
    for at in range(first, 50):
        by_turns = WAYS_TO_CUT[at // 2 % 6 :][:1] if at % 7 < 4 or at > 27 else ()
        for how in WAYS_TO_CUT if at in (2, 3) or at > 33 else by_turns:
            if not (method := await check_cut(at, how)):
                return methods
            methods.add(method)
    raise AssertionError("no end")


async def test_wherever_it_is_cut_off_nothing_is_left() -> None:
    """A lost answer, a late effect and a killed process, before and after each call: the next probe removes what is there."""
    assert await sweep() == {"GET", "POST", "PUT", "DELETE"}


@contextmanager
def mark_written_after() -> Iterator[None]:
    """Planted: what is about to be made is written down when it is made."""
    real_write, real_ask = module._MarkFile.write, module._Probe._ask
    held: dict[str, Any] = {}

    def write(self: Any, mark: Any) -> None:
        held.update(marks=self, mark=mark)
        if mark is None:
            real_write(self, None)

    async def ask(self: Any, mark: Any, portfolio_id: str) -> Any:
        real_write(held["marks"], mark)
        return await real_ask(self, mark, portfolio_id)

    with patch.object(module._MarkFile, "write", write), patch.object(module._Probe, "_ask", ask):
        yield


@contextmanager
def no_quarantine() -> Iterator[None]:
    """Planted: what is not found at once is held to be nowhere."""

    async def found(self: Any, mark: Any) -> Any:
        return await self._holding(mark)

    with patch.object(module._Probe, "_found", found):
        yield


@contextmanager
def all_of_the_record() -> Iterator[None]:
    """Planted: each portfolio of the record in the service is held to be ours."""

    async def holding(self: Any, mark: Any) -> Any:
        return tuple(await self._listed(mark))

    with patch.object(module._Probe, "_holding", holding):
        yield


@contextmanager
def deleted_unseen() -> Iterator[None]:
    """Planted: a deletion whose answer was lost is held to be done."""
    real = module._Probe._holding

    asked = Counter[int]()

    async def holding(self: Any, mark: Any) -> Any:
        asked[id(self)] += 1
        found = await real(self, mark)
        return found if asked[id(self)] == 1 else ()

    with patch.object(module._Probe, "_holding", holding):
        yield


@pytest.mark.parametrize(
    ("planted", "first"),
    [(mark_written_after, 2), (no_quarantine, 2), (all_of_the_record, 2), (deleted_unseen, 33)],
)
async def test_planted_errors_are_found(planted: Callable[[], Any], first: int) -> None:
    """Each leaves something behind, or takes what is not its own, somewhere."""
    with planted(), pytest.raises((AssertionError, OutcomeUnknown)):
        await sweep(first)


@pytest.mark.parametrize("at", [2, 3, 9, 36])
async def test_cancelled_it_clears_up_at_once(at: int) -> None:
    """Also natively; while the answer to the POST is awaited nothing is there yet, and the mark stays for the next probe."""
    async with institution(lambda: 1.0, world=world()) as (line, alma):
        task = asyncio.ensure_future(probed(alma))
        while len(line.arrivals) < at:
            await anyio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_clean(line)
        assert module.is_left(alma.scope) == (at == 2)
        assert (await probed(alma)).removed == ()
        assert is_clean(line)
        assert not module.is_left(alma.scope)


# --- when it does nothing, or less


async def test_it_is_done_in_the_environment_that_is_meant_alone() -> None:
    """A sandbox, unless it is said otherwise; where that is not known, and where no write is sent, nothing is."""
    async with institution(world=world(environment="PRODUCTION")) as (line, alma):
        with pytest.raises(
            UnexpectedEnvironment, match="production environment of 01SIM_INST, and sandbox is"
        ):
            await probed(alma)
        assert len(line.arrivals) == 1
        assert (await probed(alma, expect="production")).environment == "production"
    async with institution(world=world(environment="")) as (line, alma):
        with pytest.raises(UnexpectedEnvironment):
            await probed(alma)
        with pytest.raises(ConfigurationError):
            await probed(alma, expect="any")
        assert len(line.arrivals) == 1
    async with institution(world=world(), read_only=True) as (line, alma):
        with pytest.raises(ReadOnly):
            await probed(alma)
        assert not line.arrivals


async def test_a_wrong_record_costs_two_calls() -> None:
    """The POST was rejected, so nothing is looked for and nothing is waited for."""
    async with institution(world=world()) as (line, alma):
        with pytest.raises(InvalidRequest):
            await probe(alma, collection_id=C, service_id=S, mms_id="1234")
        assert (len(line.arrivals), anyio.current_time() < 60) == (2, True)


async def test_what_is_not_found_out_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A key without the right to bib records: the rest is found out, also after a probe that was cut off."""

    def denied(request: Request) -> Response | None:
        if "/bibs" not in request.path:
            return None
        body = (
            b'{"errorsExist":true,"errorList":{"error":[{"errorCode":"UNAUTHORIZED","errorMessage":"no"}]}}'
        )
        return Response(status=400, headers={"content-type": "application/json"}, body=body, elapsed=0.0)

    async with institution(world=world()) as (line, alma):
        line.trouble = Cut(line, 6, "killed after")
        with pytest.raises(Killed):
            await probed(alma)
        line.trouble = denied
        found = await probed(alma)
        assert (found.unknown, found.exit_code) == (("bibs_asked",), 1)
        assert len(found.removed) == 1
        assert is_clean(line)
    assert not caplog.records


async def test_one_at_a_time_and_a_file_that_is_not_ours() -> None:
    """A probe under way holds its file; one whose file somebody changed says what to look for, and sends no write."""
    async with institution(world=world()) as (line, alma):
        async with anyio.create_task_group() as group:
            group.start_soon(probed, alma)
            await anyio.wait_all_tasks_blocked()
            while not line.arrivals:
                await anyio.sleep(0.01)
            await anyio.sleep(0.1)
            with pytest.raises(ConfigurationError, match="under way"):
                await probed(alma)
        file = module.KeptFile.named("institutions", alma.scope, "probe", end="probe")
        assert file.path.read_bytes() == b""
        file.path.write_bytes(b"something")
        with pytest.raises(ConfigurationError, match="alma-async-probe-"):
            await probed(alma)
        assert sum(line.world.tally.created.values()) == 2


async def test_no_load_of_the_service_runs_beside_it(tmp_path: Path) -> None:
    """Neither is begun while the other is under way; after a probe that was killed, both can be."""
    async with institution(lambda: 1.0, world=world()) as (line, alma):

        def load(name: str) -> Load:
            return Load(alma, collection_id=C, service_id=S, journal=tmp_path / f"{name}.load")

        probing = asyncio.ensure_future(probed(alma))
        await anyio.sleep(5.0)
        with pytest.raises(ServiceInUse, match=r"institutions.+probe"):
            await load("a").run(rows(public_note="a note"))
        assert (await probing).exit_code == 0
        loading = asyncio.ensure_future(load("a").run(rows(public_note="a note")))
        await anyio.sleep(0.5)
        with pytest.raises(ServiceInUse, match=r"a\.load.*Wait for it to end"):
            await probed(alma)
        assert (await loading).updated == 1
        line.trouble = Cut(line, 9, "killed after")
        with pytest.raises(Killed):
            await probed(alma)
        line.trouble = lambda _: None
        assert (await load("b").run(rows(public_note="another"))).updated == 1
        assert len((await probed(alma)).removed) == 1
        (kept,) = line.world.portfolios.all.values()
        assert kept["public_note"] == "another"


# --- what loads make of it


def rows(**values: Any) -> list[Row]:
    coverage = values.pop("coverage", None)
    return [Row(line=2, lines=(2,), mms_id=TITLE, values=values, coverage=coverage)]


@pytest.mark.parametrize(
    "clears",
    [
        {"text blank": "ignored", "coverage list": "ignored"},
        {"text blank": "rejected", "coverage list": "rejected", "coverage null": "ignored"},
    ],
)
async def test_loads_empty_fields_by_what_was_found_out(tmp_path: Any, clears: Any) -> None:
    """Before the probe a row that empties a field cannot be done; after it, it is, and so is its undo: seen in the bodies."""
    bodies = list[dict[str, Any]]()
    async with institution(world=world(clears=clears)) as (line, alma):
        (kept,) = line.world.portfolios.all.values()

        def watch(request: Request) -> None:
            if request.method == "PUT":
                bodies.append(orjson.loads(request.body or b""))

        def load(name: str) -> Load:
            return Load(alma, collection_id=C, service_id=S, journal=tmp_path / f"{name}.load")

        wanted = rows(public_note="a note", coverage=(Coverage(from_year="1999"),))
        assert (await load("first").run(wanted)).updated == 1
        report = await load("second").run(rows(public_note=CLEAR, coverage=CLEAR))
        assert (report.updated, report.exit_code) == (0, 1)
        await probed(alma)
        line.trouble = watch
        assert (await load("third").run(rows(public_note=CLEAR, coverage=CLEAR))).updated == 1
        assert (kept["public_note"], kept["coverage_details"]["local_date_coverage_parameters"]) == ("", [])
        assert bodies[-1]["public_note"] is None
        assert bodies[-1]["coverage_details"]["local_date_coverage_parameters"] == (
            None if "coverage null" not in clears else ""
        )
        assert (await load("third").undo()).updated == 1
        assert kept["public_note"] == "a note"
        await load("fourth").run(rows(authentication_note="another"))
        assert kept["authentication_note"] == "another"
        assert (await load("fourth").undo()).updated == 1
        assert (kept["authentication_note"], bodies[-1]["authentication_note"]) == ("", None)


async def test_facts_of_a_sandbox_are_kept_for_production() -> None:
    """What another key has found, as it is printed, with nothing sent; what is no such thing is not kept."""
    async with institution(world=world(clears={"text blank": "ignored"}), institution="sandbox") as (
        line,
        alma,
    ):
        found = (await probed(alma)).summary()
    async with institution(world=world(), institution="production") as (line, alma):
        FactsFile.of(alma.scope).learn(lambda known: attrs.evolve(known, put_answer="short"))
        kept = await keep_facts(alma, orjson.loads(orjson.dumps({**found, "put_answer": None})))
        assert FactsFile.of(alma.scope).read() == attrs.evolve(kept, put_answer="short")
        assert kept.clears == found["clears"]
        effects: Any
        for effects in ({"text": {"blank": "ignored"}}, {"texts": {}}, {"text": ["blank"]}, []):
            with pytest.raises(ConfigurationError, match="not what a probe finds"):
                await keep_facts(alma, {**found, "clears": effects})
        for wrong in (
            {},
            {"put": "merges"},
            {"post_coverage": "no"},
            {"probed": "today"},
            {"bibs_asked": "many"},
        ):
            with pytest.raises(ConfigurationError, match="not what a probe finds"):
                await keep_facts(alma, wrong)
        assert not line.arrivals


async def test_a_price_is_exact_after_a_probe(tmp_path: Any) -> None:
    """Without any load before."""
    async with institution(world=world(post_answers="short")) as (line, alma):
        await probed(alma)
        new = [
            Row(
                line=n,
                lines=(n,),
                mms_id=f"9922{n:06}",
                values={"url": f"https://j.example/{n}"},
                coverage=(Coverage(from_year="1999"),),
            )
            for n in range(20)
        ]
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load")
        with await load.plan(new) as plan:
            before = len(line.arrivals)
            assert (await load.run(new)).created == 20
        assert plan.price.least == plan.price.most == len(line.arrivals) - before
