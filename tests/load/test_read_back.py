"""What is read back after a lost answer: what was not applied is as if it had not been sent, and what was stays known."""

from __future__ import annotations

from copy import deepcopy

import anyio
import pytest

from alma_async import sim
from alma_async.load.journal_file import JournalFile
from alma_async.sim.electronic import Portfolios
from tests.conftest import institution
from tests.load.test_actions import hold, loading, url


def lost(method, *later):
    """The first write of this kind is lost before it is applied."""
    return sim.FaultPlan(
        rules=(sim.Rule("cut_before", method=method, path="/portfolios", nth=1, times=1), *later)
    )


def rejected(method):
    return sim.Rule(sim.Fault("error", code="401664"), method=method, path="/portfolios", nth=2, times=9)


def only_row(tmp_path):
    with JournalFile(tmp_path / "a.load") as journal:
        (entry,) = journal.entries()
    return entry


async def edited_meanwhile(server, load, rows):
    """A colleague writes a note while the row rests after its lost answer; the one portfolio."""
    await load.run(rows, rest=False)
    (one,) = server.world.portfolios.all.values()
    one["public_note"] = "a colleague's"
    await anyio.sleep(60)
    return one, await load.run()


async def test_an_update_that_was_not_applied_is_undone_to_what_stood_before_its_second_send(tmp_path):
    """An undo brings back what a colleague wrote between the lost send and the one that was applied."""
    async with institution(faults=lost("PUT")) as (server, alma):
        hold(server, 1)
        load = loading(alma, tmp_path, "upsert")
        one, _ = await edited_meanwhile(
            server, load, [{"mms_id": "99000000", "url": url(2), "public_note": "new"}]
        )
        assert one["public_note"] == "new"
        await load.undo()
        assert one["public_note"] == "a colleague's"


async def test_an_update_that_was_not_applied_and_is_then_rejected_has_changed_nothing(tmp_path):
    """The row ends as rejected, without an action."""
    async with institution(faults=lost("PUT", rejected("PUT"))) as (server, alma):
        hold(server, 1)
        load = loading(alma, tmp_path, "upsert")
        await edited_meanwhile(server, load, [{"mms_id": "99000000", "url": url(2), "public_note": "new"}])
        assert (only_row(tmp_path).state.value, only_row(tmp_path).action) == ("rejected", None)


async def test_a_deletion_that_was_not_applied_and_is_then_rejected_has_deleted_nothing(tmp_path):
    """The row ends as rejected, without an action."""
    async with institution(faults=lost("DELETE", rejected("DELETE"))) as (server, alma):
        hold(server, 1)
        await loading(alma, tmp_path, "delete", on_unknown="resend").run([{"mms_id": "99000000"}])
        assert (only_row(tmp_path).state.value, only_row(tmp_path).action) == ("rejected", None)


async def test_a_deletion_that_was_not_applied_is_undone_to_what_stood_before_its_second_send(tmp_path):
    """What is made anew is what a colleague had written between the lost deletion and the one that was applied."""
    async with institution(faults=lost("DELETE")) as (server, alma):
        hold(server, 1)
        load = loading(alma, tmp_path, "delete", on_unknown="resend")
        await edited_meanwhile(server, load, [{"mms_id": "99000000"}])
        assert not server.world.portfolios.all
        await load.undo()
        (made,) = server.world.portfolios.all.values()
        assert made["public_note"] == "a colleague's"


async def test_an_update_of_which_a_part_stands_is_for_review(tmp_path, monkeypatch):
    """Where nothing is sent again, and Alma took the note and not the licence, the row is not rejected: the note stands."""
    replace = Portfolios._replace

    def partly(self, old, sent, now):
        licence, one = deepcopy(old["license"]), replace(self, old, sent, now)
        one["license"] = licence
        return one

    monkeypatch.setattr(Portfolios, "_replace", partly)
    plan = sim.FaultPlan(rules=(sim.Rule("cut_after", method="PUT", path="/portfolios", nth=1, times=1),))
    async with institution(faults=plan) as (server, alma):
        hold(server, 1)
        rows = [{"mms_id": "99000000", "url": url(0), "public_note": "new", "license": "L"}]
        report = await loading(alma, tmp_path, "upsert", on_unknown="never").run(rows)
        assert (report.review, report.rejected) == (1, 0)


@pytest.mark.parametrize("missing", ["deactivate", "delete"])
async def test_what_a_list_does_not_name_and_somebody_deletes_meanwhile_is_done(tmp_path, missing):
    """A surplus portfolio that is gone after the lost answer needs nobody's review."""
    method = {"deactivate": "PUT", "delete": "DELETE"}[missing]
    async with institution(faults=lost(method)) as (server, alma):
        ids = hold(server, 4)
        load = loading(alma, tmp_path, "upsert", missing=missing, max_delete="50%")
        await load.run([{"mms_id": f"99{n:06}", "url": url(n)} for n in range(3)], rest=False)
        server.world.portfolios.delete(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, ids[3])
        await anyio.sleep(60)
        report = await load.run()
        assert (report.is_finished, report.review) == (True, 0)
