"""What Alma makes of a create: learned from rows that are read, trusted, checked, and doubted where it turns out otherwise."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest

from alma_async import sim
from alma_async.load import Load, LoadOptions, Row
from alma_async.load.after_create import AfterCreate, Turn, kind_of, reads_of
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from alma_async.load.row import Coverage
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


def rows(count, *, start=0, **values):
    return [
        Row(
            line=n + 2,
            lines=(n + 2,),
            mms_id=f"99{n:06}",
            values={"url": f"https://journals.example/{n}", **values},
            coverage=(Coverage(from_year=str(1950 + n % 50)),),
        )
        for n in range(start, start + count)
    ]


def load(alma, tmp_path, **how):
    options = LoadOptions(**{"quarantine": 30.0, **how})
    return Load(alma, collection_id=C, service_id=S, journal=tmp_path / "a.load", options=options)


def held(server):
    return {one["resource_metadata"]["mms_id"]["value"]: one for one in server.world.portfolios.all.values()}


@pytest.mark.parametrize("adds", ["nothing", "the same"])
@pytest.mark.parametrize("answers", ["short", "without_coverage"])
async def test_a_create_and_its_coverage_are_two_calls(tmp_path, answers, adds):
    """Where POST ignores coverage and answers with less than the whole, few rows are read; what Alma has added stays."""
    async with institution(latency=0.2, post_answers=answers, post_adds=adds) as (server, alma):
        report = await load(alma, tmp_path).run(rows(400))
        assert (report.created, report.exit_code) == (400, 0)
        assert report.calls == len(server.world.tally.received) == 1 + 800 + reads_of(400)
        assert report.calls <= 2.05 * 400
        for n, one in enumerate(held(server).values()):
            assert one["coverage_details"]["local_date_coverage_parameters"], n
            assert one["interface"]["name"] == ("A platform" if adds == "the same" else "")


@pytest.mark.parametrize("answers", ["whole", "short", "without_coverage"])
async def test_where_a_create_takes_coverage_nothing_is_put(tmp_path, answers):
    """A whole answer shows it; of a shortened one a read does, for no row is done that was not shown."""
    async with institution(coverage_in_post=True, write_answers=answers) as (server, alma):
        report = await load(alma, tmp_path).run(rows(40))
        assert (report.created, report.exit_code) == (40, 0)
        assert report.calls == 1 + (40 if answers == "whole" else 80)
        assert not server.world.tally.updated


async def test_what_differs_between_rows_is_never_trusted(tmp_path):
    """Each row is read, and keeps what Alma gave it."""
    async with institution(post_answers="short", post_adds="of the record") as (server, alma):
        report = await load(alma, tmp_path).run(rows(40))
        assert (report.created, report.calls) == (40, 1 + 120)
        assert all(one["internal_description"] == f"Of {title}" for title, one in held(server).items())


@pytest.mark.parametrize("stops_at", [None, 26, 27, 28, 29, 30, 31])
async def test_a_surprise_ends_the_trust(tmp_path, stops_at):
    """What changes under way is found at the next check: the rest is read, and what was written unread is said, also resumed."""
    async with institution(post_answers="short", post_adds="the same") as (server, alma):

        def change(progress):
            if progress.created >= 20:
                server.world.configure(attrs.evolve(server.world.config, post_adds="of the record"))

            if progress.created == stops_at:
                first.stop()

        first = load(alma, tmp_path, workers=1)
        report = await first.run(rows(60), on_progress=change)
        if stops_at is not None:
            assert report.pending
            report = await load(alma, tmp_path, workers=1).run()
        assert report.pending == 0
        assert report.created + report.review == 60
        with JournalFile(tmp_path / "a.load") as journal:
            entries = journal.entries()
        for entry in entries:
            one = held(server)[entry.mms_id]
            described = one["internal_description"]
            if entry.state is State.DONE:
                assert described == f"Of {entry.mms_id}" or (not described and entry.n <= 24)
            else:
                assert (entry.state, entry.reason) == (State.REVIEW, "unread")
                assert "internal_description" in entry.message


SENT = {"availability": {"value": "11"}, "linking_details": {"static_url": "jkey=https://a.example/1"}}
MADE = {
    "interface": {"name": "A platform", "vendor": None},
    "availability": {"value": "11", "desc": "Available"},
}


def learned(present=MADE, *, rows=4):
    known = AfterCreate()
    for n in range(rows):
        assert known.turn(kind_of(SENT)) is Turn.READ
        known.learn(of_record(n), {"id": "1"}, {**SENT, **present})
    return known


def of_record(n):
    return {**SENT, "resource_metadata": {"mms_id": {"value": f"99{n}"}}}


def test_rows_of_one_record_teach_once():
    """What four rows of one title have in common may be the title's."""
    known = AfterCreate()
    for _ in range(10):
        assert known.turn(kind_of(SENT)) is Turn.READ
        known.learn(of_record(1), {"id": "1"}, {**SENT, **MADE})


def test_the_first_rows_are_read_while_others_wait():
    """Four are under way at most; one that was not read makes room for another."""
    known, kind = AfterCreate(), kind_of(SENT)
    assert [known.turn(kind) for _ in range(5)] == [Turn.READ] * 4 + [Turn.WAIT]
    known.forgo(kind)
    assert [known.turn(kind) for _ in range(2)] == [Turn.READ, Turn.WAIT]


def test_reads_become_rarer():
    """After five, ten, fifteen trusted rows one is read, and at last after each fifty."""
    known, turns = learned(), []
    for _ in range(400):
        turns.append(known.turn(kind_of(SENT)))
        if turns[-1] is Turn.READ:
            known.learn(SENT, {"id": "1"}, {**SENT, **MADE})
    read = [n for n, turn in enumerate(turns) if turn is Turn.READ]
    assert read[:4] == [5, 16, 32, 53]
    assert [later - one for one, later in pairwise(read)][-2:] == [51, 51]
    assert len(read) + 4 == reads_of(404)


def test_what_is_expected():
    """What was sent, what the answer shows, and what Alma has added to each row that was read."""
    answer = {"id": "2", "link": "x", "library": None, "availability": {"value": "10"}}
    expected = learned().expected(SENT, answer)
    assert expected == {
        "id": "2", "link": "x", "availability": {"value": "10"}, "linking_details": SENT["linking_details"],
        "interface": {"name": "A platform"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "present", [{"activation_date": "2026-11-29Z"}, {"material_type": {"value": "JOURNAL"}}]
)
def test_what_changes_by_itself_is_not_trusted(present):
    """A date is another tomorrow, and the material type is the record's."""
    assert learned(present, rows=1).turn(kind_of(SENT)) is Turn.READ
    assert [learned(present, rows=4).turn(kind_of(SENT)) for _ in range(6)] == [Turn.READ] * 6


def test_kinds_are_learned_apart():
    """Another code, another member: Alma may make something else of it; another text is the row's own."""
    assert kind_of(SENT) == kind_of({**SENT, "linking_details": {"static_url": "jkey=https://b.example/"}})
    assert kind_of(SENT) != kind_of({**SENT, "availability": {"value": "10"}})
    assert kind_of(SENT) != kind_of({**SENT, "public_note": "a note"})
    assert learned().turn(kind_of({**SENT, "public_note": "a note"})) is Turn.READ


async def test_a_stream_gives_the_end_in_review_again(tmp_path):
    """Who acknowledges ends is told of a row that was done and is to be looked at."""
    async with institution(post_answers="short", post_adds="the same") as (server, alma):
        ends: dict[int, list[str]] = {}
        async for ended in load(alma, tmp_path, workers=1).stream(rows(60)):
            ends.setdefault(ended.line, []).append(ended.state)
            if len(ends) == 20:
                server.world.configure(attrs.evolve(server.world.config, post_adds="of the record"))
        assert len(ends) == 60
        assert ["done", "review"] in ends.values()
        with JournalFile(tmp_path / "a.load") as journal:
            assert {entry.line: entry.state.value for entry in journal.entries()} == {
                line: states[-1] for line, states in ends.items()
            }
