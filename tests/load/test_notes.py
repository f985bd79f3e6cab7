"""What a row's note does to one that is there: it takes its place, is added to it once, or is not set."""

from __future__ import annotations

import pytest

from alma_async import ConfigurationError, sim
from alma_async.load import Load, LoadOptions
from tests.conftest import institution
from tests.load.test_actions import hold

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
ROWS = [
    {"mms_id": "99000000", "public_note": "New"},
    {"mms_id": "99000001", "public_note": "Note 1"},
    {"mms_id": "99000002", "public_note": "<clear>"},
    {"mms_id": "99000003", "public_note": "Alone", "internal_description": "mine"},
]
THEN = {
    "replace": ["New", "Note 1", "", "Alone"],
    "append": ["Note 0; New", "Note 1", "", "Alone"],
    "keep": ["Note 0", "Note 1", "", "Alone"],
}


def loading(alma, tmp_path, notes, name="a.load", **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=tmp_path / name,
        options=LoadOptions(notes=notes, quarantine=30.0, **how),
    )


def notes_of(server, ids):
    return [server.world.portfolios.all[own]["public_note"] or "" for own in ids]


@pytest.mark.parametrize("notes", THEN)
async def test_notes_over_notes(notes, tmp_path):
    """Planned, loaded, verified and loaded once more: the second time nothing differs. An undo puts back what was there."""
    async with institution() as (server, alma):
        ids = hold(server, 4)
        server.world.portfolios.all[ids[3]]["public_note"] = None
        before = notes_of(server, ids)
        load = loading(alma, tmp_path, notes)
        with await load.plan(ROWS) as plan:
            planned = [{d.field: d.new for d in entry.differences} async for entry in plan]
        report = await load.run(ROWS)
        assert (report.review, report.rejected, notes_of(server, ids)) == (0, 0, THEN[notes])
        assert [one.get("public_note", old) for one, old in zip(planned, before, strict=True)] == THEN[notes]
        assert not (await load.verify()).findings
        again = await loading(alma, tmp_path, notes, "b.load").run(ROWS)
        assert (again.unchanged, again.updated) == (4, 0)
        await Load.open(tmp_path / "a.load", alma).undo()
        assert notes_of(server, ids) == before


@pytest.mark.parametrize("write_answers", ["short", "whole"])
async def test_an_added_note_is_added_once_after_a_lost_answer(write_answers, tmp_path):
    """What was sent and not answered is read back; a note that is in is not added again."""
    faults = sim.FaultPlan.named({"cut_after": 0.4, "cut_before": 0.2}, seed=3)
    async with institution(write_answers=write_answers) as (server, alma):
        ids = hold(server, 30)
        server.world.configure(
            sim.Config(epoch=server.world.config.epoch, faults=faults, write_answers=write_answers)
        )
        rows = [{"mms_id": f"99{n:06}", "public_note": "New"} for n in range(30)]
        report = await loading(alma, tmp_path, "append").run(rows)
        assert (report.updated + report.review, report.rejected) == (
            30,
            0,
        )  # which answers are lost is the machine's
        assert report.updated > 15
        left = [note for n, note in enumerate(notes_of(server, ids)) if note != f"Note {n}; New"]
        assert len(left) <= report.review and all("New" not in note for note in left)


async def test_the_strategy_is_the_load_s_own(tmp_path):
    """It stands in the journal: resumed by the journal alone it is the same, and another one is named."""
    async with institution() as (server, alma):
        (own,) = hold(server, 1)
        load = loading(alma, tmp_path, "append")
        load.stop()
        await load.run(ROWS[:1])
        with pytest.raises(ConfigurationError, match="notes=append, not keep"):
            await loading(alma, tmp_path, "keep").run()
        await Load.open(tmp_path / "a.load", alma).run(ROWS[:1])
        assert notes_of(server, [own]) == ["Note 0; New"]
        with pytest.raises(ConfigurationError, match="notes must be one of"):
            LoadOptions(notes="add")
