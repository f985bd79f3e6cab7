"""Each row's end is given as it comes, once it is durable; a row may carry a key of the caller's."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from alma_async import Unauthorized, sim
from alma_async.load import Load, LoadOptions
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def loading(alma, tmp_path, **how):
    options = LoadOptions(**{"quarantine": 30.0, **how})
    return Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load", options=options)


def messages(count, start=0):
    """Rows as they come from a queue, each with the key of its message."""
    for n in range(start, start + count):
        yield {"mms_id": f"99{n:06}", "url": f"https://journals.example/{n}", "key": f"message-{n}"}


async def test_each_end_is_given_once(tmp_path):
    """With state, action, the fields before and after, portfolio and key; and each is on the disk by then."""
    async with institution() as (_, alma):
        load, found = loading(alma, tmp_path), {}
        async for ended in load.stream(messages(30)):
            assert ended.key not in found
            found[ended.key] = ended
        assert load.report.created == len(found) == 30
        one = found["message-7"]
        assert (one.state, one.action, one.line, one.mms_id) == ("done", "created", 8, "99000007")
        assert (one.before["url"], one.after["url"]) == ("", "https://journals.example/7")
        assert one.portfolio_id
        assert (one.reason, one.message, one.code, one.tracking_id) == (None, None, None, None)


async def test_a_bad_row_ends_too(tmp_path):
    """With its reason, and Alma's code and tracking id where Alma rejected it."""
    refusal = sim.Rule(sim.Fault("error", code="401861"), method="POST", nth=1)
    async with institution(faults=sim.FaultPlan(rules=[refusal])) as (_, alma):
        rows = [{"mms_id": "nothing", "key": "a"}, *messages(1), {"mms_id": "99", "key": []}]
        ends = {ended.line: ended async for ended in loading(alma, tmp_path).stream(rows)}
    assert (ends[1].state, ends[1].reason, ends[1].key) == ("rejected", "input", "a")
    assert "mms_id" in ends[1].message
    assert (ends[2].state, ends[2].reason, ends[2].code) == ("rejected", "rejected", "401861")
    assert ends[2].tracking_id
    assert (ends[3].state, "key" in ends[3].message) == ("rejected", True)


async def test_who_leaves_early_stops_the_load_and_goes_on_later(tmp_path):
    """A row that was sent is let end; resumed, the ends that are known come first, and each row's comes once."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path, workers=4)
        seen = []
        async with aclosing(load.stream(messages(40))) as ends:
            async for ended in ends:
                seen.append(ended.key)
                if len(seen) == 10:
                    break
        calls = len(server.world.tally.received)
        await anyio.sleep(60)
        assert len(server.world.tally.received) == calls
        with JournalFile(tmp_path / "a.load") as journal:
            states = {entry.key: entry.state for entry in journal.entries()}
        assert {states[key] for key in seen} == {State.DONE}
        assert State.PENDING in states.values()
        again = [ended.key async for ended in load.stream()]
        assert set(seen) < set(again)
        assert len(again) == len(set(again)) == len(server.world.portfolios.all) == 40


async def test_a_slow_consumer_holds_the_load_back(tmp_path):
    """Rows are begun as ends are consumed, so memory stays bounded."""
    async with institution() as (server, alma):
        ends = loading(alma, tmp_path).stream(messages(600))
        async with aclosing(ends):
            await anext(ends)
            await anyio.sleep(3600)
            assert len(server.world.portfolios.all) < 400


async def test_a_cancelled_consumer_leaves_nothing_running(tmp_path):
    """The rows under way are cancelled as in ``run``, and the load can be resumed."""
    async with institution() as (server, alma):
        load = loading(alma, tmp_path)
        with anyio.move_on_after(1.0):
            async for _ in load.stream(messages(200)):
                pass
        calls = len(server.world.tally.received)
        await anyio.sleep(60)
        assert len(server.world.tally.received) == calls
        assert (await load.run()).pending == 0
        assert len(server.world.portfolios.all) == 200


async def test_what_run_raises_comes_out_of_the_loop(tmp_path):
    """A key that is not valid any more ends the loop with its error."""
    revoked = sim.Rule(
        sim.Fault("error", code="UNAUTHORIZED", commit=False), method="POST", nth=3, times=None
    )
    async with institution(faults=sim.FaultPlan(rules=[revoked])) as (_, alma):
        with pytest.raises(Unauthorized):
            async for _ in loading(alma, tmp_path).stream(messages(20)):
                pass


async def test_a_message_that_comes_again_is_the_same_row(tmp_path):
    """The first with a key is loaded, whatever the others say; each of them ends as its duplicate."""
    changed = {"mms_id": "99000900", "url": "https://journals.example/new", "key": "message-0"}
    async with institution() as (server, alma):
        ends = [
            ended async for ended in loading(alma, tmp_path).stream([*messages(3), changed, *messages(1)])
        ]
        assert len(server.world.portfolios.all) == 3
    repeats = {ended.line: ended for ended in ends if ended.state == "duplicate"}
    assert sorted(repeats) == [4, 5]
    assert {one.key for one in repeats.values()} == {"message-0"}
    assert repeats[4].message == "The same key as line 1."


async def test_a_key_that_is_not_a_number_rejects_its_row(tmp_path):
    """As NaN in any other column does; the rows beside it are loaded."""
    rows = [{**one, "key": float("nan")} for one in messages(2)]
    async with institution() as (_, alma):
        ends = [ended async for ended in loading(alma, tmp_path).stream([*rows, *messages(1, 2)])]
    said = sorted((ended.line, ended.state, ended.key, ended.message) for ended in ends)
    assert said[:2] == [(n, "rejected", None, "key is not a number (NaN)") for n in (1, 2)]
    assert said[2][:3] == (3, "done", "message-2")
