"""Whole loads against the simulator, in virtual time: every row once, whatever happens."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import anyio
import attrs
import pytest

from alma_async import AlmaClient, ConfigurationError, LocalBudget, Unauthorized, sim
from alma_async.load import InputError, Load, LoadOptions, Row, read_rows, undo_rows
from alma_async.load.entries import State
from alma_async.load.group_commit import GroupedJournal as SqliteJournal
from alma_async.load.journal_file import JournalFile
from alma_async.load.report import write_report
from alma_async.load.row import Coverage, Embargo
from tests.conftest import EPOCH, institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


@pytest.fixture
def titles(tmp_path):
    """Writes a native CSV of so many titles and gives its rows."""

    def write(count, *, more="", name="titles.csv", note="Online"):
        path = tmp_path / name
        lines = [f"99{n:06},https://journals.example/{n},{1990 + n % 30},{note}" for n in range(count)]
        path.write_text(
            "\n".join(["mms_id,url,coverage_from,public_note", *lines, *more.splitlines(), ""]),
            encoding="utf-8",
        )
        return read_rows(path)

    return write


def load_into(alma, tmp_path, **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=tmp_path / "j" / "a.load",
        options=LoadOptions(**{"quarantine": 30.0, **how}),
    )


def held(server):
    """What the simulated institution holds: URL → how often."""
    found = {}
    for portfolio in server.world.portfolios.all.values():
        url = portfolio["linking_details"]["static_url"].removeprefix("jkey=")
        found[url] = found.get(url, 0) + 1
    return found


def each_once(count):
    return {f"https://journals.example/{n}": 1 for n in range(count)}


async def test_titles_become_portfolios(titles, tmp_path):
    """Every row becomes one portfolio with its URL, note and coverage, at two calls a row and the price of a look."""
    async with institution(latency=0.25) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(60))
        assert (report.rows, report.created, report.exit_code) == (60, 60, 0)
        assert held(server) == each_once(60)
        for portfolio in server.world.portfolios.all.values():
            coverage = portfolio["coverage_details"]
            assert coverage["coverage_in_use"]["value"] == "0"
            assert len(coverage["local_date_coverage_parameters"]) == 1
            assert portfolio["public_note"] == "Online"
        assert report.calls == len(server.world.tally.received) == 121
        assert server.world.tally.rejected.total() == 0


async def test_a_second_load_changes_nothing(titles, tmp_path):
    """Loaded again, the same file finds all as it should be: one read a row, nothing written."""
    async with institution() as (server, alma):
        await load_into(alma, tmp_path).run(titles(30))
        before = dict(server.world.tally.updated)
        again = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "b.load")
        report = await again.run(titles(30))
        assert (report.unchanged, report.created, report.updated) == (30, 0, 0)
        assert dict(server.world.tally.updated) == before


async def test_changed_rows_are_updated(titles, tmp_path):
    """A file that says something else replaces just that, in whole objects that lose nothing."""
    async with institution() as (server, alma):
        await load_into(alma, tmp_path).run(titles(10))
        for portfolio in server.world.portfolios.all.values():
            portfolio["unheard_of"] = {"kept": [1, None]}
        again = Load(alma, collection_id=C, service_id=S, journal=tmp_path / "b.load")
        report = await again.run(titles(10, note="On site only"))
        assert report.updated == 10
        for portfolio in server.world.portfolios.all.values():
            assert portfolio["public_note"] == "On site only"
            assert portfolio["unheard_of"] == {"kept": [1, None]}
            assert portfolio["coverage_details"]["local_date_coverage_parameters"]


@pytest.mark.parametrize(("action", "outcome"), [("create", "unchanged"), ("update", "updated")])
async def test_actions(titles, tmp_path, action, outcome):
    """`create` leaves alone what is there; `update` refuses what is not."""
    async with institution() as (server, alma):
        await load_into(alma, tmp_path).run(titles(5))
        some = Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "b.load",
            options=LoadOptions(action=action),
        )
        report = await some.run(titles(8, note="New", name="more.csv"))
        assert getattr(report, outcome) == 5
        assert (report.created, report.rejected) == ((3, 0) if action == "create" else (0, 3))
        assert len(server.world.portfolios.all) == (8 if action == "create" else 5)


async def test_bad_and_repeated_rows_are_told(titles, tmp_path):
    """A bad row is refused with line and reason, a repeated one names the first; both are never sent."""
    more = "not-an-id,https://x.example/1,2001,\n99000001,https://journals.example/1,1991,Online"
    async with institution() as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(3, more=more))
        assert (report.created, report.rejected, report.duplicates, report.exit_code) == (3, 1, 1, 1)
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            told = {e.line: (e.state, e.message) for e in journal.entries() if e.state is not State.DONE}
        assert told[5][0] is State.REJECTED
        assert "mms_id" in told[5][1]
        assert told[6] == (State.DUPLICATE, "The same title as line 3.")
        assert held(server) == each_once(3)


async def test_what_alma_refuses_is_told_with_its_code(titles, tmp_path):
    """A row that Alma refuses ends with its code and tracking id, and the load goes on."""
    async with institution(require_known_bibs=True) as (server, alma):
        server.world.add_bib("99000001", "Known")
        report = await load_into(alma, tmp_path).run(titles(3))
        assert (report.created, report.rejected) == (1, 2)
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            refused = [e for e in journal.entries() if e.state is State.REJECTED]
        assert {e.code for e in refused} == {"60172"}
        assert all(e.tracking_id for e in refused)


FAULTS = {
    "reject": 0.05,
    "server_error": 0.03,
    sim.Fault("server_error", commit=True, form="html", status=502): 0.03,
    "html_200": 0.02,
    "cut_before": 0.04,
    "cut_after": 0.05,
    sim.Fault("commit_late", delay=20.0): 0.05,
    "truncate": 0.04,
    sim.Fault("stall", delay=300.0, commit=True): 0.02,
    "bad_json": 0.02,
}


@pytest.mark.parametrize("seed", range(12))
async def test_faults_lose_nothing_and_double_nothing(titles, tmp_path, seed):
    """With a third of all calls going wrong in every way, each row ends as one portfolio, or in review; none is lost or doubled."""
    plan = sim.FaultPlan(FAULTS, seed=seed)
    async with institution(latency=0.25, faults=plan, seed=seed) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(40))
        assert report.pending == 0
        assert report.created + report.review + report.rejected == 40
        assert report.rejected == 0
        once = held(server)
        assert set(once.values()) == {1}
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            for entry in journal.entries():
                if entry.state is State.DONE:
                    url = f"https://journals.example/{entry.n - 1}"
                    assert once[url] == 1
                    assert entry.portfolio_id in server.world.portfolios.all


@pytest.mark.parametrize("seed", range(8))
async def test_stopped_and_resumed_at_any_moment(titles, tmp_path, seed):
    """Cancelled again and again at random moments, the load goes on where it stood: every row once."""
    rng = random.Random(seed)
    plan = sim.FaultPlan({"cut_after": 0.05, sim.Fault("commit_late", delay=10.0): 0.05}, seed=seed)
    async with institution(latency=0.5, faults=plan, seed=seed) as (server, alma):
        rows = titles(50)
        for _ in range(20):
            report = None
            with anyio.move_on_after(rng.uniform(0.0, 4.0)):
                report = await load_into(alma, tmp_path).run(rows)
            if report is not None and report.pending == 0:
                break
        report = await load_into(alma, tmp_path).run(rows)
        assert (report.created, report.pending, report.review) == (50, 0, 0)
        assert held(server) == each_once(50)


async def test_an_outage_is_waited_out(titles, tmp_path):
    """An hour in which nothing is answered well costs time and no row; progress says what is waited for."""
    outage = sim.FaultPlan(
        rules=[sim.Rule(sim.Fault("server_error", status=503, form="html"), nth=20, times=60)]
    )
    seen = []
    async with institution(latency=0.2, faults=outage) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(40), on_progress=seen.append)
        assert (report.created, report.pending) == (40, 0)
        assert held(server) == each_once(40)
    assert any(p.waiting for p in seen)


async def test_patience_ends(titles, tmp_path):
    """After its patience the load stops, resumable, and says why."""
    dead = sim.FaultPlan(rules=[sim.Rule(sim.Fault("cut_before"), nth=5, times=None)])
    async with institution(faults=dead) as (_, alma):
        report = await load_into(alma, tmp_path, longest_outage=600.0).run(titles(10))
        assert report.exit_code == 3
        assert report.pending
        assert report.stopped


async def test_the_quota_stops_a_load_and_midnight_lets_it_go_on(titles, tmp_path):
    """At the day's end of calls the load stops resumable; with `wait_for_quota` it goes on by itself after midnight."""
    async with institution(quota=70, epoch=EPOCH) as (server, alma):
        rows = titles(60)
        report = await load_into(alma, tmp_path, workers=4).run(rows)
        assert report.exit_code == 3
        assert 0 < report.pending < 60
        server.world.configure(sim.Config(quota=100_000, epoch=EPOCH))
        report = await load_into(alma, tmp_path, wait_for_quota=True).run(rows)
        assert (report.created, report.pending) == (60, 0)
        assert held(server) == each_once(60)


async def test_a_load_that_cannot_even_begin_is_resumable(titles, tmp_path):
    """Where the quota is spent before the first look at the service, the load stops resumable, with all rows taken up."""
    async with institution(faults=sim.FaultPlan(rules=[sim.Rule("daily", times=None)])) as (_, alma):
        report = await load_into(alma, tmp_path).run(titles(5))
        assert (report.pending, report.exit_code) == (5, 3)
        assert "quota" in (report.stopped or "")


async def test_a_refused_key_stops_the_load(titles, tmp_path):
    """A key that is refused stops everything at once, after no more than the calls under way."""
    async with institution() as (server, alma):
        wrong = type(alma)("another-key", base_url=server.base_url, clock=alma.clock, budget=LocalBudget())
        async with wrong:
            with pytest.raises(Unauthorized):
                await load_into(wrong, tmp_path).run(titles(10))
        assert len(server.world.tally.received) <= 1


async def test_another_file_or_service_is_refused(titles, tmp_path):
    """A journal belongs to one file and one service; anything else is refused before a call is made."""
    async with institution() as (server, alma):
        await load_into(alma, tmp_path).run(titles(3))
        calls = len(server.world.tally.received)
        with pytest.raises(InputError, match="--since"):
            await load_into(alma, tmp_path).run(titles(4))
        other = Load(alma, collection_id=C, service_id="62999", journal=tmp_path / "j" / "a.load")
        with pytest.raises(InputError, match="service"):
            await other.run(titles(3))
        assert len(server.world.tally.received) == calls


def test_facts_may_not_take_the_journals_own_names(tmp_path):
    """What a caller writes into the journal cannot overwrite what the journal says of itself."""
    alma = AlmaClient("sim-xx", base_url="http://127.0.0.1:1", budget=LocalBudget())
    with pytest.raises(ConfigurationError, match="ingested"):
        Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "a.load",
            options=LoadOptions(facts={"ingested": "2"}),
        )


async def test_several_portfolios_of_a_title(titles, tmp_path):
    """Where a title has several portfolios the URL decides; where it cannot, nothing is written and a person is asked."""
    async with institution() as (server, alma):
        await load_into(alma, tmp_path).run(titles(1, more="99000000,https://other.example/0,1999,Online"))
        assert len(server.world.portfolios.all) == 2
        path = tmp_path / "again.csv"
        path.write_text(
            "mms_id,url,public_note\n99000000,https://other.example/0,Changed\n99000000,https://third.example,X\n"
        )
        report = await Load(alma, collection_id=C, service_id=S, journal=tmp_path / "b.load").run(
            read_rows(path)
        )
        assert (report.updated, report.review, report.created) == (1, 1, 0)
        assert len(server.world.portfolios.all) == 2


async def test_portfolios_of_one_title_are_read_once(titles, tmp_path):
    """Four rows of one title, matched by their URLs and alike: one read of each portfolio, not of all by each row."""
    urls = [f"https://{name}.example/0" for name in "abcd"]
    async with institution() as (server, alma):
        for url in urls:
            sent = {
                "resource_metadata": {"mms_id": {"value": "99000000"}},
                "availability": {"value": "11"},
                "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={url}"},
            }
            server.world.portfolios.create(C, S, sent, now=0.0)
        rows = [{"mms_id": "99000000", "url": url} for url in urls]
        report = await load_into(alma, tmp_path, workers=1).run(rows)
        assert (report.unchanged, report.exit_code) == (4, 0)
        assert report.calls == len(server.world.tally.received) == 3 + 4  # the list, and each


@pytest.mark.parametrize("lost", [(2,), (1,), (1, 2), (2, 3)])
async def test_equal_rows_that_are_all_meant_are_made_once_each(tmp_path, lost):
    """Whichever creates of equal rows lose their answers, none is made again; loaded anew, nothing is made at all."""
    rules = [sim.Rule("cut_after", method="POST", nth=n) for n in lost]
    rows = [{"mms_id": "99000000", "url": "https://a.example/0"}] * 3
    async with institution(faults=sim.FaultPlan(rules=rules)) as (server, alma):
        report = await load_into(alma, tmp_path, allow_duplicates=True).run(rows)
        assert (report.rows, report.created + report.review, report.pending) == (3, 3, 0)
        assert len(server.world.portfolios.all) == 3
        if len(lost) == 1:
            assert (report.created, (await load_into(alma, tmp_path).verify()).exit_code) == (3, 0)
        again = Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "b.load",
            options=LoadOptions(allow_duplicates=True),
        )
        assert (await again.run(rows)).created == 0
        assert len(server.world.portfolios.all) == 3


async def test_stop_ends_between_calls(titles, tmp_path):
    """A stop takes no further row and leaves no row between intent and outcome."""
    async with institution(latency=0.5) as (server, alma):
        load = load_into(alma, tmp_path, workers=4)
        seen = []

        def tell(progress):
            seen.append(progress)
            if progress.created >= 10:
                load.stop()

        report = await load.run(titles(50), on_progress=tell)
        assert report.exit_code == 3
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            assert not [e for e in journal.entries() if e.state in (State.INTENT, State.UNKNOWN)]
        report = await load_into(alma, tmp_path).run(titles(50))
        assert (report.created, report.pending) == (50, 0)
        assert held(server) == each_once(50)


async def test_two_rows_of_a_title_asked_for_by_itself(titles, tmp_path):
    """Where titles are asked for one by one, what a lost answer left is not taken for older because a second row looked later."""
    lost = sim.Rule("cut_after", method="POST", nth=221)
    async with institution(faults=sim.FaultPlan(rules=[lost])) as (server, alma):
        assert (
            await load_into(alma, tmp_path).run(titles(220))
        ).created == 220  # more pages than the file has rows
        more = titles(
            0, more="99900001,https://a.example/,2001,\n99900001,https://b.example/,2001,", name="two.csv"
        )
        report = await Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "b.load",
            options=LoadOptions(quarantine=30.0, workers=1),
        ).run(more)
        assert (report.created, report.exit_code) == (2, 0)
        assert set(held(server).values()) == {1}
        assert len(held(server)) == 222


async def test_a_strangers_404_proves_no_absence(titles, tmp_path):
    """A page of something before Alma, met while a lost create is looked for, is waited out: nothing is made a second time."""
    rules = [
        sim.Rule("cut_after", method="POST"),
        sim.Rule(sim.Fault("server_error", status=404, form="html"), method="GET", path="/bibs/", times=4),
    ]
    async with institution(faults=sim.FaultPlan(rules=rules)) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(1))
        assert (report.created, report.exit_code) == (1, 0)
        assert held(server) == each_once(1)


async def test_what_was_made_and_then_refused_is_for_a_person(titles, tmp_path):
    """A portfolio whose coverage Alma refuses is there: its row needs review, names it, and is not told as refused."""
    refusal = sim.Rule(sim.Fault("error", code="60110"), method="PUT", times=None)
    async with institution(faults=sim.FaultPlan(rules=[refusal])) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(3))
        assert (report.review, report.rejected, len(held(server))) == (3, 0, 3)
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            entries = journal.entries()
        assert {entry.portfolio_id for entry in entries} == set(server.world.portfolios.all)
        assert {(entry.action, entry.code) for entry in entries} == {("created", "60110")}


@pytest.mark.parametrize("code", ["ROUTING_ERROR", "60159", "UNAUTHORIZED", "NEVER_SEEN"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_writes_that_a_fault_hides_are_found(titles, tmp_path, method, code):
    """Where each write is done and then answered by a 5xx, whatever it names: nothing is rejected, doubled, or left by undo."""
    hidden = sim.Fault("server_error", commit=True, status=503, code=code)
    faults = sim.FaultPlan(rules=[sim.Rule(hidden, method=method, times=3)])
    async with institution(faults=faults) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(3))
        assert (report.created, report.rejected, report.review) == (3, 0, 0)
        assert held(server) == each_once(3)
        back = Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / "back.load",
            options=LoadOptions(action="undo"),
        )
        await back.run(undo_rows(tmp_path / "j" / "a.load"))
        assert held(server) == {}


@pytest.mark.parametrize("code", ["GENERAL_ERROR", "ROUTING_ERROR"])
@pytest.mark.parametrize("commit", [False, True])
async def test_server_faults_in_a_row_are_no_refusals(titles, tmp_path, code, commit):
    """A gateway that fails in Alma's own words for some seconds is waited out like any outage: no mass refusal, nothing doubled."""
    fault = sim.Fault("server_error", commit=commit, status=503, code=code)
    faults = sim.FaultPlan(rules=[sim.Rule(fault, nth=20, times=60)])
    async with institution(faults=faults, latency=0.25) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(100))
        assert (report.created, report.stopped) == (100, None)
        assert held(server) == each_once(100)


@pytest.mark.parametrize("code", ["401664", "40166415", "BAD_REQUEST"])
async def test_a_refusal_that_no_table_lists_ends_its_row(titles, tmp_path, code):
    """A row that Alma refuses by an unlisted code is rejected with it at once: sent one time, nothing to look for."""
    refusal = sim.Rule(sim.Fault("error", code=code), method="POST", times=None)
    async with institution(faults=sim.FaultPlan(rules=[refusal])) as (server, alma):
        report = await load_into(alma, tmp_path).run(titles(3))
        assert (report.rejected, report.review, report.exit_code) == (3, 0, 1)
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            assert {(entry.state, entry.code) for entry in journal.entries()} == {(State.REJECTED, code)}
        assert sum(n for route, n in server.world.tally.routes.items() if route.startswith("POST")) == 3


async def test_codes_of_answers_that_were_overcome_are_not_kept(titles, tmp_path):
    """A row that ended well says nothing of a failure on its way."""
    rules = [sim.Rule(sim.Fault("error", code="60163", commit=True), method="POST")]
    async with institution(faults=sim.FaultPlan(rules=rules)) as (_, alma):
        assert (await load_into(alma, tmp_path).run(titles(1))).created == 1
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            (entry,) = journal.entries()
        assert (entry.state, entry.code, entry.tracking_id, entry.message) == (State.DONE, None, None, None)


@pytest.mark.parametrize("keep", [False, True])
async def test_what_was_sent_is_kept_only_if_asked_for(titles, tmp_path, keep):
    """Each changed field is kept, old and new; the whole object of the last write, for reports in JSONL, only if asked for."""
    async with institution() as (server, alma):
        load = load_into(alma, tmp_path, keep_payload=keep)
        assert (await load.run(titles(2, note="Only here"))).created == 2
        report = tmp_path / "report.jsonl"
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            journal.check()
            await write_report(alma.clock, SqliteJournal(journal, alma.clock.aside), report)
            assert (journal.body(1, of="sent") is not None) is keep
            assert all(
                ("public_note", "", "Only here") in map(attrs.astuple, entry.differences)
                for entry in journal.entries()
            )
        rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
        assert [row.get("sent", {}).get("public_note") for row in rows] == [
            ("Only here" if keep else None)
        ] * 2
        present = server.world.portfolios.all[rows[0]["portfolio_id"]]
        if keep:
            assert rows[0]["sent"]["linking_details"] == present["linking_details"]


@pytest.mark.parametrize(
    ("policy", "state"), [("never", "rejected"), ("review", "review"), ("resend", "done")]
)
async def test_what_becomes_of_a_create_that_was_not_applied(titles, tmp_path, policy, state):
    """Once it is known that nothing was made, the row is sent again, left to a person, or ended, as the user says."""
    cut = sim.Rule("cut_before", method="POST")
    async with institution(faults=sim.FaultPlan(rules=[cut])) as (server, alma):
        await load_into(alma, tmp_path, on_unknown=policy).run(titles(1))
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            assert journal.get(1).state.value == state
        assert len(held(server)) == (policy == "resend")


async def test_rows_from_anywhere(tmp_path):
    """Rows that a program makes are loaded like those of a file: the rows themselves, from a list or as they come."""
    rows = [Row(line=1, lines=(1,), mms_id="99000001", values={"url": "https://x.example/1"})]

    async def coming():
        for row in rows:
            yield row

    for n, given in enumerate((rows, iter(rows), coming())):
        async with institution() as (server, alma):
            load = Load(
                alma,
                collection_id=sim.DEMO_COLLECTION,
                service_id=sim.DEMO_SERVICE,
                journal=tmp_path / f"{n}.load",
            )
            assert (await load.run(given)).created == 1
            assert len(server.world.portfolios.all) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"values": {"note": "x"}}, "note is no column of a row"),
        ({"values": {"embargo": "P1Y"}}, "embargo is no column of a row"),
        ({"values": {"public_note": 1}}, "public_note is no text but int"),
        ({"values": None}, "values is no mapping but NoneType"),
        ({"mms_id": 99000001}, "mms_id is no text but int"),
        ({"line": "1"}, "line is no number but str"),
        ({"lines": ("1",)}, "lines is no number but str"),
        ({"identifiers": "1234-5679"}, "identifiers is no tuple but str"),
        ({"coverage": (Coverage(from_year=2000),)}, "coverage from_year is no text but int"),  # type: ignore[arg-type]
        ({"coverage": Coverage(from_year="2000")}, "coverage is no tuple but Coverage"),
        ({"coverage": ({"from_year": "2000"},)}, "coverage is no Coverage but dict"),
        ({"embargo": "P1Y"}, "embargo is no Embargo but str"),
        ({"embargo": Embargo(last="1Y")}, "last is no Period but str"),  # type: ignore[arg-type]
        ({"keeps": ("coverage",)}, "keeps cannot have 'coverage'"),
        ({"blank": ("note",)}, "blank cannot have 'note'"),
    ],
)
async def test_a_row_of_a_program_that_no_row_can_be_is_rejected_alone(tmp_path, wrong, said):
    """It says what of it is wrong, and the row beside it is loaded."""
    row = Row(**{"line": 1, "lines": (1,), "mms_id": "99000001", **wrong})
    async with institution() as (_, alma):
        report = await load_into(alma, tmp_path).run([row, {"mms_id": "99000002"}])
    assert (report.rejected, report.created) == (1, 1)
    with JournalFile(tmp_path / "j" / "a.load") as journal:
        assert journal.get(1).message == said


@pytest.mark.parametrize("call", ["GET", "POST", "PUT"])
async def test_progress_comes_while_nothing_goes(titles, tmp_path, call):
    """However long a load waits, whatever is refused, it says each second how far it is, and what holds it back."""
    refusing = sim.FaultPlan(rules=[sim.Rule("reject", method=call, times=30)])
    told = []
    async with institution(faults=refusing, latency=0.1) as (_, alma):
        report = await load_into(alma, tmp_path).run(titles(4), on_progress=told.append)
        assert (report.created, report.throttled) == (4, 30)
    assert told[-1].seconds > 20
    assert max(later.seconds - now.seconds for now, later in pairwise(told)) < 1.2
    assert any(now.waiting for now in told)


@pytest.mark.parametrize("call", ["load", "verify"])
async def test_a_progress_that_raises_while_nothing_goes(titles, tmp_path, call):
    """What a hook raises ends the work as itself, also where it was told of a wait; the load then goes on."""

    def tell(now):
        if now.seconds > 3:
            raise ZeroDivisionError

    refusing = sim.FaultPlan(rules=[sim.Rule("reject", times=30)])
    async with institution() as (server, alma):
        if call == "verify":
            await load_into(alma, tmp_path).run(titles(4))
        server.world.configure(attrs.evolve(server.world.config, faults=refusing))
        load = load_into(alma, tmp_path)
        with pytest.raises(ZeroDivisionError):
            await (load.run(titles(4), on_progress=tell) if call == "load" else load.verify(on_progress=tell))
        assert (await load.run() if call == "verify" else await load.run(titles(4))).created == 4
