"""A client that only reads, and one that works in one environment alone: nothing that is not meant goes out."""

from __future__ import annotations

import anyio
import pytest

from alma_async import (
    AlmaClient,
    AlmaSet,
    ConfigurationError,
    DeadlineExceeded,
    ElectronicCollection,
    LocalBudget,
    Portfolio,
    ReadOnly,
    UnexpectedEnvironment,
    sim,
)
from alma_async._http.messages import Request
from alma_async.alma.environment import require_environment
from alma_async.load import Load
from tests.conftest import KEY, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
QUESTION = "GET /almaws/v1/conf/general"


def a_portfolio():
    portfolio = Portfolio()
    portfolio.resource_metadata.mms_id.value = "991122334455"
    return portfolio


WRITES = {
    "a portfolio": lambda alma: alma.electronic.portfolios.create(C, S, a_portfolio()),
    "a collection": lambda alma: alma.electronic.collections.create(ElectronicCollection(public_name="a")),
    "a deletion": lambda alma: alma.electronic.services.delete(C, S),
    "a set": lambda alma: alma.sets.create(AlmaSet(name="a")),
    "members": lambda alma: alma.sets.add_members("1", ["991122334455"]),
    "a job": lambda alma: alma.jobs.submit("M1"),
    "a raw call": lambda alma: alma.request("PUT", "/almaws/v1/bibs/991122334455", json={}),
    "a copy": lambda alma: alma.with_options(priority="bulk").electronic.services.delete(C, S),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_client_that_only_reads_sends_no_write(write):
    """Each write raises an error that says why and what to do, and nothing is sent."""
    async with institution(client={"read_only": True}) as (server, alma):
        assert alma.read_only
        with pytest.raises(ReadOnly, match="only reads") as caught:
            await write(alma)
        assert (caught.value.effect, caught.value.retryable) == ("none", False)
        assert "read_only" in str(caught.value)
        assert len(server.world.tally.received) == 0


async def test_it_reads_and_plans(tmp_path):
    """Reads work, and so do dry runs: of one call, and of a load, which then is not carried out."""
    async with institution(client={"read_only": True}) as (server, alma):
        assert await alma.electronic.portfolios.list(C, S).all() == []
        planned = await alma.electronic.portfolios.create(C, S, a_portfolio(), dry_run=True)
        assert isinstance(planned, Request)
        load = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load")
        with await load.plan([{"mms_id": "991122334455"}]) as plan:
            assert plan.report.created == 1
        before = len(server.world.tally.received)
        with pytest.raises(ReadOnly):
            await load.run([{"mms_id": "991122334455"}])
        assert len(server.world.tally.received) == before
        assert not (tmp_path / "a.load").exists()
        assert all(route.startswith("GET ") for route in server.world.tally.routes)


async def test_the_expected_environment_is_asked_for_once():
    """However many calls begin at once, and through whichever copy; then they go out."""
    async with institution(client={"expect": "sandbox"}) as (server, alma):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(alma.electronic.collections.get, C)
        await alma.with_options(language="en").electronic.collections.get(C)
        assert server.world.tally.routes[QUESTION] == 1
        assert len(server.world.tally.received) == 22


@pytest.mark.parametrize(
    ("environment", "expect", "says"),
    [
        ("PRODUCTION", "sandbox", "the production environment of 01SIM_INST, and sandbox is expected"),
        ("SANDBOX", "production", "the sandbox environment of 01SIM_INST, and production is expected"),
        ("", "production", "type ''"),
        ("<script>", "sandbox", "type '<script>'"),
    ],
)
async def test_in_another_environment_nothing_is_sent(environment, expect, says):
    """No read and no write but the question, which is not asked again either."""
    async with institution(environment=environment, client={"expect": expect}) as (server, alma):
        for _ in range(2):
            with pytest.raises(UnexpectedEnvironment, match=says):
                await alma.electronic.collections.get(C)
            with pytest.raises(UnexpectedEnvironment):
                await alma.electronic.portfolios.create(C, S, a_portfolio())
        assert dict(server.world.tally.routes) == {QUESTION: 1}


@pytest.mark.parametrize("general", [{"environment_type": "SANDBOX", "institution": {}}, {}, "x"])
def test_an_answer_that_does_not_name_both(general):
    """It is said so: a type that the answer names is not said to be none."""
    with pytest.raises(UnexpectedEnvironment, match="does not name both institution and type") as caught:
        require_environment("sandbox", general)
    assert "''" not in str(caught.value)


async def test_a_premium_sandbox_is_a_sandbox():
    """The kinds have names that contain what they are."""
    async with institution(environment="PREMIUM_SANDBOX", client={"expect": "sandbox"}) as (_, alma):
        assert (await alma.electronic.collections.get(C)).id == C


async def test_where_the_environment_cannot_be_read_nothing_is_sent():
    """A key without the right to the configuration area is told so."""
    async with institution(areas={"electronic"}, client={"expect": "sandbox"}) as (server, alma):
        with pytest.raises(UnexpectedEnvironment, match="may not read the configuration"):
            await alma.electronic.collections.get(C)
        assert dict(server.world.tally.routes) == {QUESTION: 1}


async def test_a_failed_question_is_asked_again():
    """What passes by itself is not taken for an answer; and a deadline bounds the question as it does the call."""
    slow = sim.FaultPlan.named({"stall": 1.0})
    async with institution(client={"expect": "sandbox"}) as (server, alma):
        server.world.configure(sim.Config(epoch=server.world.config.epoch, faults=slow))
        hurried = alma.with_options(deadline=3)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(exceeds, hurried)
        server.world.configure(sim.Config(epoch=server.world.config.epoch))
        assert (await alma.electronic.collections.get(C)).id == C


async def exceeds(alma):
    """A call that its deadline ends, on time."""
    began = alma.clock.now()
    with pytest.raises(DeadlineExceeded):
        await alma.electronic.collections.get(C)
    assert alma.clock.now() - began <= 3.1


def test_both_come_from_the_environment(monkeypatch):
    """An argument wins; a word that is neither is named with its variable."""
    monkeypatch.setenv("ALMA_API_KEY", KEY)
    monkeypatch.setenv("ALMA_REGION", "eu")

    def made(**given):
        return AlmaClient.from_env(budget=LocalBudget(), **given)

    assert not made().read_only
    for text, read_only in {
        "1": True,
        "TRUE": True,
        "yes": True,
        "on": True,
        "0": False,
        "no": False,
    }.items():
        monkeypatch.setenv("ALMA_READ_ONLY", text)
        assert made().read_only is read_only
        assert made(read_only=False).read_only is read_only  # it is never lifted
    assert made(read_only=True).read_only
    monkeypatch.setenv("ALMA_READ_ONLY", "perhaps")
    with pytest.raises(ConfigurationError, match="ALMA_READ_ONLY must be 1 or 0, not 'perhaps'"):
        made()
    monkeypatch.setenv("ALMA_READ_ONLY", "1")
    monkeypatch.setenv("ALMA_EXPECT", "Sandbox")
    made()
    monkeypatch.setenv("ALMA_EXPECT", "test")
    with pytest.raises(ConfigurationError, match="ALMA_EXPECT must be sandbox or production, not 'test'"):
        made()
    with pytest.raises(ConfigurationError, match="expect must be one of 'sandbox', 'production'"):
        made(expect="test")
    with pytest.raises(ConfigurationError, match="read_only must be True or False"):
        made(expect=None, read_only="yes")
