"""Deleting, activating and deactivating, against the simulator in virtual time."""

from __future__ import annotations

import json

import pytest

from alma_async import sim
from alma_async._http.codec import structure
from alma_async.alma.fields import url_of
from alma_async.alma.models.electronic import Portfolio
from alma_async.load import Load, LoadOptions, Mark, read_rows, undo_rows
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


LINKS = dict.fromkeys(("link", "resource_metadata", "electronic_collection"))  # absolute in answers


def url(n):
    return f"https://journals.example/{n}"


@pytest.fixture
def rows(tmp_path):
    """Writes a native CSV of these lines and gives its rows."""

    def write(*lines, name="rows.csv"):
        path = tmp_path / name
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return read_rows(path)

    return write


def hold(server, count):
    """Let the institution hold so many portfolios, with something in each that no file names; their ids."""
    ids = []
    for n in range(count):
        mms_id = f"99{n:06}"
        server.world.add_bib(mms_id, f"Title {n}")
        sent = {
            "resource_metadata": {"mms_id": {"value": mms_id}},
            "availability": {"value": "11"},
            "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url(n)}"},
            "public_note": f"Note {n}",
            "unheard_of": {"kept": [n, None]},
        }
        ids.append(server.world.portfolios.create(C, S, sent, now=0.0)["id"])
    return ids


def loading(alma, tmp_path, action, name="a.load", **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=tmp_path / name,
        options=LoadOptions(**{"action": action, "quarantine": 30.0, **how}),
    )


def told(path):
    with JournalFile(path) as journal:
        return {entry.line: entry for entry in journal.entries()}


async def test_delete_by_title_and_by_id(rows, tmp_path):
    """Rows are deleted by title or by id, what is not there is done already, and each before-image is kept whole."""
    async with institution() as (server, alma):
        ids = hold(server, 4)
        before = {one: dict(server.world.portfolios.all[one]) for one in ids}
        some = rows("mms_id,portfolio_id", "99000000,", f",{ids[1]}", "99000777,", ",5300000000009999")
        report = await loading(alma, tmp_path, "delete").run(some)
        assert (report.deleted, report.unchanged, report.rejected, report.exit_code) == (2, 2, 0, 0)
        assert set(server.world.portfolios.all) == set(ids[2:])
    found = told(tmp_path / "a.load")
    assert [found[line].message for line in (4, 5)] == ["It was not there."] * 2
    with JournalFile(tmp_path / "a.load") as journal:
        for n in (1, 2):
            kept = json.loads(journal.body(n))
            assert {**kept, **LINKS} == {**before[ids[n - 1]], **LINKS}
    assert {d.field: d.old for d in found[2].differences} == {
        "url": url(0), "availability": "11", "public_note": "Note 0", "coverage_in_use": "0",
    }  # fmt: skip


@pytest.mark.parametrize("action", ["delete", "activate", "deactivate"])
async def test_a_row_that_names_a_url_strikes_no_other_portfolio(rows, tmp_path, action):
    """Where the portfolio with the row's URL is gone, the title's only other one is left to a person."""
    async with institution() as (server, alma):
        gone, other = hold(server, 1), hold(server, 1)[0]
        held, before = server.world.portfolios.all, "10" if action == "activate" else "11"
        held[other]["linking_details"]["static_url"] = f"jkey={url(9)}"
        held[other]["availability"] = {"value": before}
        server.world.portfolios.delete(C, S, *gone)
        report = await loading(alma, tmp_path, action).run(rows("mms_id,url", f"99000000,{url(0)}"))
        assert (report.review, held[other]["availability"]["value"]) == (1, before)
        assert other in told(tmp_path / "a.load")[2].message
        its = rows("mms_id,url", f"99000000,{url(9)}", name="its.csv")
        report = await loading(alma, tmp_path, action, name="b.load").run(its)
        assert (report.deleted + report.updated, report.exit_code) == (1, 0)


async def test_a_delete_that_comes_again_strikes_no_other_portfolio(tmp_path):
    """Of a message without a key, that is delivered twice: the title's portfolio with another URL stays."""
    async with institution() as (server, alma):
        one, other = hold(server, 1)[0], hold(server, 1)[0]
        links = server.world.portfolios.all[other]["linking_details"]
        links["static_url"] = f"jkey={url(9)}"

        async def twice():
            for _ in range(2):
                yield {"mms_id": "99000000", "url": url(0)}

        ends = [ended async for ended in loading(alma, tmp_path, "delete").stream(twice())]
        said = [(ended.state, ended.portfolio_id) for ended in ends]
        assert said[0] == ("done", one)
        assert said[1][0] == "review"
        assert list(server.world.portfolios.all) == [other]


@pytest.mark.parametrize(
    ("bib", "left"), [("retain", "there"), ("suppress", "suppressed"), ("delete", "gone")]
)
async def test_bib_of_the_last_portfolio(rows, tmp_path, bib, left):
    """`bib` says what becomes of a title without inventory."""
    async with institution() as (server, alma):
        hold(server, 1)
        await loading(alma, tmp_path, "delete", bib=bib).run(rows("mms_id", "99000000"))
        known = server.world.bibs.find("99000000")
        assert (left == "gone") == (known is None)
        if known is not None:
            assert known.suppressed == (left == "suppressed")


@pytest.mark.parametrize(("action", "code"), [("deactivate", "10"), ("activate", "11")])
async def test_activation_touches_nothing_else(rows, tmp_path, action, code):
    """Activating and deactivating write the availability, leave alone whatever else the file names, and refuse what is not."""
    async with institution() as (server, alma):
        ids = hold(server, 2)
        for one in ids:
            server.world.portfolios.all[one]["availability"] = {
                "value": "10" if code == "11" else "11",
                "desc": "?",
            }
        await loading(alma, tmp_path, action).run(
            rows("mms_id,public_note", "99000000,Other", "99000001,Other", "99000999,Other")
        )
        for n, one in enumerate(ids):
            held = server.world.portfolios.all[one]
            assert (held["availability"]["value"], held["public_note"]) == (code, f"Note {n}")
            assert held["unheard_of"] == {"kept": [n, None]}
    assert told(tmp_path / "a.load")[4].state is State.REJECTED


CUT = {
    "applied": (sim.Fault("cut_after"), {"deleted": 3}),
    "not applied": (sim.Fault("cut_before"), {"review": 1, "deleted": 2}),
}


@pytest.mark.parametrize("kind", CUT)
async def test_a_lost_answer_to_a_delete(rows, tmp_path, kind):
    """A delete whose answer is lost is read back after the quarantine: gone means deleted; what is there is put up for review."""
    fault, expected = CUT[kind]
    plan = sim.FaultPlan(rules=[sim.Rule(fault, method="DELETE", nth=2)])
    async with institution(faults=plan) as (server, alma):
        hold(server, 3)
        some = rows("mms_id", "99000000", "99000001", "99000002")
        report = await loading(alma, tmp_path, "delete", workers=1).run(some)
        assert {name: getattr(report, name) for name in expected} == expected
        assert report.seconds > 30
        assert len(server.world.portfolios.all) == expected.get("review", 0)


async def test_a_lost_delete_is_sent_again_where_the_user_says_so(rows, tmp_path):
    """With on_unknown="resend" a delete that was not applied is sent once more."""
    plan = sim.FaultPlan(rules=[sim.Rule(sim.Fault("cut_before"), method="DELETE", nth=1)])
    async with institution(faults=plan) as (server, alma):
        hold(server, 1)
        load = loading(alma, tmp_path, "delete", on_unknown="resend")
        assert (await load.run(rows("mms_id", "99000000"))).deleted == 1
        assert not server.world.portfolios.all


async def test_the_former_state_is_of_just_before_the_write(rows, tmp_path):
    """What is kept is what stood there when the write went out, not what an attempt that never got through had seen."""
    plan = sim.FaultPlan(rules=[sim.Rule("daily", method="PUT")])
    async with institution(faults=plan) as (server, alma):
        ids = hold(server, 1)
        asked = rows("mms_id,public_note", "99000000,New")
        assert (await loading(alma, tmp_path, "upsert").run(asked)).exit_code == 3
        assert told(tmp_path / "a.load")[2].state is State.PENDING
        server.world.portfolios.all[ids[0]]["public_note"] = "A colleague's"
        assert (await loading(alma, tmp_path, "upsert", wait_for_quota=True).run(asked)).updated == 1
    with JournalFile(tmp_path / "a.load") as journal:
        assert json.loads(journal.body(1))["public_note"] == "A colleague's"
    assert [(d.old, d.new) for d in told(tmp_path / "a.load")[2].differences] == [("A colleague's", "New")]


async def test_what_is_kept_first_stands_once_it_may_have_been_replaced(rows, tmp_path):
    """Where an update was applied and its answer lost, what was kept before it stays, whatever others did since."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_after", method="PUT", nth=1)])
    async with institution(faults=plan) as (server, alma):
        ids = hold(server, 1)

        def edit(progress):
            if "rests" in (progress.waiting or ""):
                server.world.portfolios.all[ids[0]]["public_note"] = "A colleague's"

        asked = rows("mms_id,url,public_note", "99000000,https://new.example,New")
        assert (await loading(alma, tmp_path, "upsert").run(asked, on_progress=edit)).updated == 1
        assert server.world.portfolios.all[ids[0]]["public_note"] == "New"
    with JournalFile(tmp_path / "a.load") as journal:
        before_image = json.loads(journal.body(1))
    assert (before_image["public_note"], before_image["linking_details"]["static_url"]) == (
        "Note 0",
        f"jkey={url(0)}",
    )


@pytest.mark.parametrize("write_answers", ["whole", "short"])
@pytest.mark.parametrize("cut", [False, True])
async def test_a_url_of_the_community_zone_is_never_said_to_be_emptied(rows, tmp_path, write_answers, cut):
    """What can be emptied is, the rest of the row is written, and the row is for review; an undo takes back what was made."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_after", method="PUT", nth=1)] if cut else [])
    async with institution(write_answers=write_answers, faults=plan) as (server, alma):
        ids = hold(server, 4)
        held = server.world.portfolios.all
        for one, (is_local, override) in zip(
            ids, ((False, "o"), (False, ""), (True, "o"), (False, "")), strict=True
        ):
            held[one]["is_local"], held[one]["linking_details"]["static_url_override"] = is_local, override
        before = [dict(held[one]["linking_details"]) for one in ids]
        asked = [
            "portfolio_id,url,public_note",
            *(f"{one},<clear>,New" for one in ids[:3]),
            f"{ids[3]},<clear>,",
        ]
        with await loading(alma, tmp_path, "upsert").plan(rows(*asked)) as dry:
            planned = [(entry.state, entry.reason) async for entry in dry]
        assert planned == [
            (State.DONE, "url-stays"),
            (State.DONE, "url-stays"),
            (State.DONE, None),
            (State.REVIEW, "url-stays"),
        ]
        report = await loading(alma, tmp_path, "upsert").run(rows(*asked))
        assert (report.updated, report.review, report.unchanged, report.exit_code) == (1, 3, 0, 1)
        found = told(tmp_path / "a.load")
        assert [found[n].reason for n in (2, 3, 4, 5)] == ["url-stays", "url-stays", None, "url-stays"]
        assert url(0) in found[2].message
        links = [held[one]["linking_details"] for one in ids]
        assert [one["static_url_override"] for one in links] == ["", "", "", ""]
        assert [one["static_url"] for one in links] == [
            f"jkey={url(0)}",
            f"jkey={url(1)}",
            "",
            f"jkey={url(3)}",
        ]
        assert [held[one]["public_note"] for one in ids] == ["New", "New", "New", "Note 3"]
        assert (await loading(alma, tmp_path, "upsert").verify()).count(Mark.ONCE) == 1
        back = await loading(alma, tmp_path, "undo", name="undo.load").run(undo_rows(tmp_path / "a.load"))
        assert (back.updated, back.review) == (3, 0)
        assert [held[one]["linking_details"]["static_url"] for one in ids] == [
            one["static_url"] for one in before
        ]
        assert [url_of(structure(held[one], Portfolio)) for one in ids] == ["o", url(1), "o", url(3)]
        assert [held[one]["public_note"] for one in ids] == [f"Note {n}" for n in range(4)]


async def test_somebody_was_quicker(rows, tmp_path):
    """A portfolio that somebody deletes between our look and our delete was not there: done, and not counted as ours."""
    gone = sim.Fault("error", status=400, code="60122")
    plan = sim.FaultPlan(rules=[sim.Rule(gone, method="DELETE", nth=1)])
    async with institution(faults=plan) as (server, alma):
        hold(server, 2)
        some = rows("mms_id", "99000000", "99000001")
        report = await loading(alma, tmp_path, "delete", workers=1).run(some)
        assert (report.unchanged, report.deleted, report.exit_code) == (1, 1, 0)
    assert told(tmp_path / "a.load")[2].message == "It was not there."


async def test_create_believes_no_id_unseen(rows, tmp_path):
    """A row to create that names a portfolio is done where that is there, and refused where it is not."""
    async with institution() as (server, alma):
        ids = hold(server, 1)
        some = rows("portfolio_id,mms_id", f"{ids[0]},99000000", "5300000000009999,99000001")
        report = await loading(alma, tmp_path, "create").run(some)
        assert (report.unchanged, report.rejected, report.created) == (1, 1, 0)


@pytest.mark.parametrize("action", ["upsert", "create", "delete"])
async def test_a_portfolio_of_another_record(rows, tmp_path, action):
    """Where a row's portfolio is not of the row's record, one of the two is wrong: nothing is written."""
    async with institution() as (server, alma):
        ids = hold(server, 2)
        before = dict(server.world.portfolios.all)
        some = rows("portfolio_id,mms_id,public_note", f"{ids[1]},99000000,x")
        report = await loading(alma, tmp_path, action).run(some)
        assert (report.review, dict(server.world.portfolios.all)) == (1, before)
        assert "belongs to the record 99000001, not to 99000000" in str(told(tmp_path / "a.load")[2].message)


async def test_two_rows_of_one_portfolio(rows, tmp_path):
    """Two rows that name one portfolio and contradict each other, or one that names it and one that names its title, never write
    over each other.
    """
    async with institution(latency=0.3) as (server, alma):
        ids = hold(server, 1)
        some = rows(
            "portfolio_id,mms_id,public_note,internal_description",
            f"{ids[0]},,first,",
            f"{ids[0]},,another,second",
            f"{ids[0]},,first,",
            ",99000000,third,",
        )
        report = await loading(alma, tmp_path, "update").run(some)
        assert (report.updated, report.review, report.duplicates, report.rejected) == (0, 3, 1, 0)
        assert server.world.portfolios.all[ids[0]]["public_note"] == "Note 0"
        assert (
            told(tmp_path / "a.load")[3].message == "The same portfolio as line 2, which says something else."
        )


async def test_rows_of_one_portfolio_that_agree_are_one(rows, tmp_path):
    """Rows that name one portfolio, each another of its fields, are written together; what names its title stays for review."""
    async with institution() as (server, alma):
        ids = hold(server, 1)
        some = rows(
            "portfolio_id,mms_id,public_note,internal_description",
            f"{ids[0]},,first,",
            f"{ids[0]},,,second",
            ",99000000,third,",
        )
        report = await loading(alma, tmp_path, "update").run(some)
        assert (report.updated, report.review) == (1, 1)
        held = server.world.portfolios.all[ids[0]]
        assert (held["public_note"], held["internal_description"]) == ("first", "second")
