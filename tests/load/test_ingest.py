"""A load's beginning: rows from anywhere, read once; repeated rows, a lost journal, being cut short."""

from __future__ import annotations

import anyio
import attrs
import pytest

from alma_async import sim
from alma_async.load import InputError, Load, LoadOptions, read_rows
from alma_async.load.entries import BeforeImage, Difference, Entry, Planned, State
from alma_async.load.ingest import _source
from alma_async.load.journal_file import JournalFile
from alma_async.load.records import dump_row, row_of
from alma_async.load.row import CLEAR, BadRow, Coverage, Embargo, Period, Row
from tests.conftest import institution

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE


@pytest.fixture
def journal(tmp_path):
    """Where the load is written down."""
    return tmp_path / "a.load"


@pytest.fixture
def file(tmp_path):
    """Writes rows given as ``number: note`` into the one file."""

    def write(rows, *, more=()):
        path = tmp_path / "titles.csv"
        lines = [f"99{n:06},https://journals.example/{n},{note}" for n, note in rows]
        path.write_text("\n".join(["mms_id,url,public_note", *lines, *more, ""]), encoding="utf-8")
        return read_rows(path)

    return write


def load(alma, journal, **how):
    return Load(
        alma,
        collection_id=C,
        service_id=S,
        journal=journal,
        options=LoadOptions(**{"quarantine": 30.0, **how}),
    )


def held(server):
    """Notes by number, one for each portfolio."""
    found = {}
    for portfolio in server.world.portfolios.all.values():
        number = int(portfolio["linking_details"]["static_url"].rsplit("/", 1)[1])
        found.setdefault(number, []).append(portfolio["public_note"])
    return found


async def test_nothing_reads_the_source_again(file, journal):
    """Once its rows are in, a load needs no file: it is resumed, compared and planned by its journal alone."""
    async with institution(latency=0.5) as (server, alma):
        rows = file([(n, "old") for n in range(60)])
        with anyio.move_on_after(1.5):
            await load(alma, journal, workers=2).run(rows)
        assert 0 < len(server.world.portfolios.all) < 60
        rows.path.unlink()
        assert (await load(alma, journal).run()).created == 60
        assert (await load(alma, journal).verify()).once == 60
        assert held(server) == {n: ["old"] for n in range(60)}


@pytest.mark.parametrize("change", ["another", "fewer", "more", "shuffled", "same"])
async def test_rows_that_are_given_again_must_be_the_same(file, journal, change):
    """Nothing is taken from rows that are given to a journal which has its own; others are refused before a call is made."""
    old = [(n, "old") for n in range(5)]
    changed = {
        "another": [*old[:4], (4, "new")],
        "fewer": old[:4],
        "more": [*old, (5, "old")],
        "shuffled": old[::-1],
        "same": old,
    }
    async with institution() as (server, alma):
        await load(alma, journal).run(file(old))
        calls = len(server.world.tally.received)
        if change == "same":
            assert (await load(alma, journal).run(file(changed[change]))).created == 5
        else:
            with pytest.raises(InputError, match="--since"):
                await load(alma, journal).run(file(changed[change]))
        assert len(server.world.tally.received) == calls


class Cut(Exception):
    """The process dies."""


async def test_a_reading_that_was_cut_off_begins_anew(file, journal):
    """Rows of which not all were read in are none: nothing was sent for them, and others may be given."""

    def dying():
        yield from list(file([(n, "old") for n in range(700)]))
        raise Cut

    async with institution() as (server, alma):
        with pytest.raises(Cut):
            await load(alma, journal).run(dying())
        with pytest.raises(InputError, match="Not all rows"):
            await load(alma, journal).run()
        assert not server.world.tally.received
        assert (await load(alma, journal).run(file([(1, "new")]))).rows == 1
        assert held(server) == {1: ["new"]}


@pytest.mark.parametrize("source", ["list", "generator", "coroutine", "path", "mappings"])
async def test_rows_come_from_anywhere(file, journal, source):
    """A path, rows or mappings, from a list or as they come, are read once; a mapping that is wrong ends as a rejected row."""
    rows = file([(n, "old") for n in range(1200)])

    async def coming():
        for row in rows:
            yield row

    def mappings():
        for n in range(1200):
            yield {
                "mms_id": 99000000 + n,
                "url": f"https://journals.example/{n}",
                "public_note": "old",
                "embargo": None,
            }
        yield {"mms_id": "991", "url": "https://journals.example/1", "colour": "red"}
        yield {"mms_id": "992", "availability": "perhaps"}

    given = {
        "list": list(rows), "generator": iter(rows), "coroutine": coming(), "path": rows.path, "mappings": mappings(),
    }  # fmt: skip
    async with institution() as (server, alma):
        report = await load(alma, journal).run(given[source])
        assert (report.created, report.rejected) == (1200, 2 if source == "mappings" else 0)
        assert held(server) == {n: ["old"] for n in range(1200)}
    if source == "mappings":
        with JournalFile(journal) as opened:
            told = [entry.message for entry in opened.entries(after=1200)]
        assert "colour is no column" in told[0]
        assert "availability" in told[1]


async def test_what_is_no_row_is_said(journal):
    """Whatever else is given as rows is an error of our own."""
    async with institution() as (_, alma):
        with pytest.raises(InputError, match="iterable"):
            await load(alma, journal).run(7)


async def test_repeated_rows_are_loaded_each_where_that_is_allowed(file, journal, tmp_path):
    """Three rows that say the same are one portfolio, or three where duplicates are allowed; the journal keeps to what it was begun
    with.
    """
    rows = [(1, "a"), (1, "a"), (2, "a"), (1, "a")]
    async with institution() as (server, alma):
        report = await load(alma, journal, allow_duplicates=True).run(file(rows))
        assert (report.created, report.duplicates) == (4, 0)
        assert {number: len(notes) for number, notes in held(server).items()} == {1: 3, 2: 1}
        with pytest.raises(InputError, match="duplicates"):
            await load(alma, journal).run(file(rows))
        assert (await load(alma, journal, allow_duplicates=True).run(file(rows))).pending == 0
        assert len(server.world.portfolios.all) == 4
    async with institution() as (server, alma):
        report = await load(alma, tmp_path / "b.load").run(file(rows))
        assert (report.created, report.duplicates) == (2, 2)


@pytest.mark.parametrize("faults", [{}, {"cut_after": 0.2}])
async def test_a_lost_journal_doubles_nothing(file, journal, tmp_path, faults):
    """Begun again without its journal, once what was sent has been applied, a load finds what is there and makes only the rest."""
    plan = sim.FaultPlan(faults, seed=3)
    async with institution(latency=0.5, faults=plan) as (server, alma):
        rows = file([(n, "a") for n in range(60)])
        with anyio.move_on_after(1.5):
            await load(alma, journal).run(rows)
        await anyio.sleep(300.0)
        made = len(server.world.portfolios.all)
        assert 0 < made < 60
        report = await load(alma, tmp_path / "new.load").run(rows)
        assert (report.created, report.unchanged, report.pending) == (60 - made, made, 0)
        assert {len(notes) for notes in held(server).values()} == {1}
        assert set(held(server)) == set(range(60))


async def test_a_load_that_is_stopped_while_it_looks_at_the_service(file, journal):
    """Stopped before it knows what the service holds, a load ends at once, resumable, with all rows open."""
    async with institution(latency=30.0) as (_, alma):
        rows, begun = file([(n, "a") for n in range(600)]), load(alma, journal)
        async with anyio.create_task_group() as group:

            async def stop():
                await anyio.sleep(5.0)
                begun.stop()

            group.start_soon(stop)
            started = anyio.current_time()
            report = await begun.run(rows)
        assert anyio.current_time() - started < 6.0
        assert (report.rows, report.pending, report.exit_code) == (600, 600, 3)


async def test_a_service_that_changes_while_it_is_listed(journal, tmp_path):
    """What is deleted meanwhile shifts a portfolio off the next page: the service is listed again, and nothing is made twice."""
    async with institution() as (server, alma):
        ids = []
        for n in range(250):
            sent = {
                "resource_metadata": {"mms_id": {"value": f"99{n:06}"}},
                "linking_details": {"static_url": f"jkey=https://journals.example/{n}"},
            }
            ids.append(server.world.portfolios.create(C, S, sent, now=0.0)["id"])
        titles = tmp_path / "titles.csv"
        lines = [f"99{n:06},https://journals.example/{n}" for n in range(1, 250)]
        titles.write_text("\n".join(["mms_id,url", *lines, ""]), encoding="utf-8")
        seen = []

        async def colleague():
            while len(server.world.tally.received) < 2:
                await anyio.sleep(0.01)
            seen.append(len(server.world.tally.received))
            await alma.electronic.portfolios.delete(C, S, ids[0])

        async with anyio.create_task_group() as group:
            group.start_soon(colleague)
            report = await load(alma, journal).run(read_rows(titles))
        assert seen == [2]  # in the middle of the listing
        assert (report.created, report.unchanged) == (0, 249)
        assert len(server.world.portfolios.all) == 249


async def test_rows_that_say_different_things_of_one_title(file, journal):
    """A row that repeats another is told as its repeat; of rows that say different things none is chosen by its place."""
    async with institution() as (_, alma):
        report = await load(alma, journal).run(file([(1, "a"), (1, "a"), (1, "b")]))
        assert (report.created, report.duplicates, report.review, report.exit_code) == (0, 1, 2, 1)


ROWS = [
    Row(line=2, lines=(2,), mms_id="991"),
    Row(
        line=3,
        lines=(3, 4),
        mms_id="991",
        portfolio_id="53",
        identifiers=("1234-5679", "9780306406157"),
        title="A \ud800 title",
        values={"url": "https://x.example/<clear>", "public_note": CLEAR, "library": "MAIN"},
        coverage=(Coverage(from_year="1999", from_month="02", until_volume="S7"), Coverage(from_year="2001")),
        embargo=Embargo(last=Period(1, "Y", 6), except_last=Period(3, "M")),
        keeps=("coverage_from_issue", "coverage_until_issue"),
        blank=("coverage", "embargo"),
        partial=True,
        warnings=("doubtful",),
        action="update",
        before_image=BeforeImage(
            n=7,
            portfolio_id="53",
            body=b'{"id":"53"}',
            differences=(Difference("url", "a", "b"),),
            left=b"\x00\xff",
        ),
    ),
    Row(line=4, lines=(4,), identifiers=("1234-5679",), coverage=CLEAR, embargo=CLEAR),
    Row(
        line=5,
        lines=(5,),
        mms_id="992",
        key="message-5",
        coverage=(),
        embargo=Embargo(except_last=Period(30, "D")),
    ),
    Row(line=6, lines=(6,), mms_id="992", before_image=BeforeImage(n=1, portfolio_id="53")),
    Row(line=0, lines=(0,), portfolio_id="54", action="delete", surplus=True),
    Row(
        line=8,
        lines=(8,),
        mms_id="993",
        planned=Planned(
            at=1_790_000_000.5,
            ended=Entry(n=1, line=8, state=State.DONE, action="updated", portfolio_id="55"),
            seen=(("55", "11"), ("56", "")),
            carriers=("57",),
            before=b'{"id":"55"}',
        ),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[str(row.line) for row in ROWS])
def test_a_row_comes_back_as_it_was_read(row):
    """All that a row says is in the journal, but for where it stands, which is compared when it is read."""
    entry = Entry(n=1, line=row.line, state=State.PENDING, key=row.key, source=_source(row))
    assert row_of(dump_row(row), entry) == row


def test_every_field_of_a_row_is_tried():
    """A field that is added to a row cannot be forgotten: the rows above give each of them a value of its own."""
    plain = ROWS[0]
    kept = {field.name for field in attrs.fields(Row)} - {"collection_id", "service_id"}
    tried = {name for name in kept for row in ROWS[1:] if getattr(row, name) != getattr(plain, name)}
    assert tried | {"mms_id"} == kept


@pytest.mark.parametrize("rows", [{"mms_id": "991"}, b"mms_id", ["991"], [None], [b"x"], 5], ids=repr)
async def test_what_is_no_row_is_named(tmp_path, rows):
    """Whatever else is given for rows is refused, naming what it is, before anything is sent."""
    kind = type(rows[0] if isinstance(rows, list) else rows).__name__
    async with institution() as (_, alma):
        place = {"collection_id": sim.DEMO_COLLECTION, "service_id": sim.DEMO_SERVICE}
        with pytest.raises(InputError, match=kind):
            await Load(alma, **place, journal=tmp_path / "a").run(rows)


def test_a_mapping_that_names_a_column_twice_is_refused():
    """Two names that are one column are not decided by their order: the row is bad, and says which."""
    bad = Row.from_mapping(
        {"mms_id": "99000001", "URL": "https://x.example/1", "url ": "https://x.example/2"}
    )
    assert isinstance(bad, BadRow)
    assert "url is named twice" in bad.reason
