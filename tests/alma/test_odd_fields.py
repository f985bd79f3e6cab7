"""Members in forms that no document has: they stay as they came, and cost nothing but their own object where nothing names it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from alma_async import OutcomeUnknown, ServerFault, sim
from alma_async.alma.models.common import Coded
from alma_async.alma.models.sets import AlmaSet
from tests.alma.hostile import hostile
from tests.conftest import EPOCH, institution
from tests.load.test_actions import hold

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


@pytest.mark.parametrize("share", [0.2, 1.0])
async def test_all_lists_and_objects_are_read_and_written_back(share: float) -> None:
    """With odd members everywhere each list comes whole, each object is read, and get, change, update changes one member."""
    async with institution(rate=None, odd_fields=share) as (server, alma):
        for n in range(130):
            body = {
                "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
                "activation_date": "2020-01-02",
                "availability": {"value": "11"},
                "public_note": "n",
            }
            server.world.portfolios.create(C, S, body, now=EPOCH)
        await alma.sets.create(AlmaSet(name="one", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO")))
        assert len(await alma.electronic.portfolios.list(C, S).all()) == 130
        assert len(await alma.electronic.services.list(C).all()) == 1
        assert len(await alma.electronic.collections.list().all()) == 1
        assert len(await alma.sets.list().all()) == 1
        assert len(await alma.jobs.list().all()) > 0
        for one in list(server.world.portfolios.all)[:20]:
            got = await alma.electronic.portfolios.get(C, S, one)
            before, kept = got.to_dict(), dict(server.world.portfolios.all[one])
            got.public_note = "changed"
            assert got.to_dict() == before | {"public_note": "changed"}
            assert (await alma.electronic.portfolios.update(C, S, got)).public_note == "changed"
            assert server.world.portfolios.all[one] == kept | {"public_note": "changed"}
            assert got.availability.value == "11"


ODD: list[dict[str, Any]] = [
    {"activation_date": "2026-01-01T00:00:00Z"},
    {"is_local": "True"},
    {"availability": "11"},
    {"number": "12", "coverage_details": {"local_embargo_information": {"number_of_years": 12.0}}},
    {"notes": {"a": [1]}, "linking_details": [], "public_note": ["x"]},
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: next(iter(odd)))
async def test_an_odd_item_is_one_of_its_page(odd: dict[str, Any], caplog: Any) -> None:
    """A page with such an item comes whole and in order, with one warning."""
    items = [{"id": str(n), **(odd if n == 50 else {})} for n in range(100)]
    page = {"portfolio": items, "total_record_count": 100}
    async with hostile(lambda *_: page) as (_, alma):
        listed = await alma.electronic.portfolios.list(C, S).all()
    assert [one.to_dict() for one in listed] == items
    (warned,) = [record for record in caplog.records if record.name == "alma_async._http"]
    assert "(id 50)" in warned.getMessage()


async def test_a_made_object_whose_answer_cannot_be_read_is_not_made_again() -> None:
    """Known to be done by its id, a creation is told as done with that id, and nothing else is sent."""
    async with hostile(lambda *_: {"id": ["95"], "name": "x"}) as (calls, alma):
        with pytest.raises(OutcomeUnknown, match="It was done") as caught:
            await alma.sets.create(AlmaSet(name="x", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO")))
    assert caught.value.object_id == "['95']"
    assert calls == [("POST", "/almaws/v1/conf/sets")]


async def test_a_set_with_an_odd_answer_is_made_once() -> None:
    """Whatever else of the answer is odd, the set that was made is returned."""
    odd = {
        "id": 95,
        "name": {"a": 1},
        "additional_info": {"value": ["x"], "link": 5},
        "number_of_members": "many",
    }
    async with hostile(lambda *_: odd) as (calls, alma):
        made = await alma.sets.create(AlmaSet(name="x", type=Coded("ITEMIZED"), content=Coded("PORTFOLIO")))
    assert (made.id, made.run, len(calls)) == ("95", None, 1)
    assert made.to_dict() == odd


@pytest.mark.parametrize("status", ["FAILED", "COMPLETED_FAILED", "SYSTEM_ABORTED"])
async def test_a_set_whose_job_failed_is_not_said_to_be_full(status: str) -> None:
    """Where the run that fills a set ends without success, the wait ends with that status and not with a set."""
    link = "https://api.example.org/almaws/v1/conf/jobs/M12/instances/96"
    a_set = {
        "id": "95",
        "additional_info": {"value": "a job", "link": link},
        "number_of_members": {"value": 2},
    }

    def answer(_: str, path: str, __: Any) -> Any:
        return {"id": "96", "status": {"value": status}} if "/jobs/" in path else a_set

    async with hostile(answer) as (_, alma):
        with pytest.raises(ServerFault, match=status):
            await alma.sets.wait_until_filled("95")


async def test_a_kind_of_oddity_is_warned_of_once(caplog):
    """However many objects come with the same odd members, in lists or alone, a client warns of each member and kind once,
    and has the rest at level debug; another client warns again.
    """
    caplog.set_level(logging.DEBUG, logger="alma_async")
    for _ in range(2):
        caplog.clear()
        async with institution(odd_fields=1.0) as (server, alma):
            ids = hold(server, 12)
            await alma.electronic.portfolios.list(C, S).all()
            for one in ids:
                await alma.electronic.portfolios.get(C, S, one)
            kept = [record for record in caplog.records if "Kept as it came" in record.message]
            warned = [record.message for record in kept if record.levelno == logging.WARNING]
            assert 1 <= len(warned) <= 4
            assert all(message.endswith("is logged at level debug.") for message in warned)
            assert sum(record.levelno == logging.DEBUG for record in kept) >= len(ids)
