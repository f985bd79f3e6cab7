"""A load's beginning: the file it was begun with or a changed one, repeated rows, a lost journal, being cut short."""

from __future__ import annotations

import anyio
import pytest

from alma_async import sim
from alma_async.load import InputError, Load, read_rows
from alma_async.load.entries import State
from alma_async.load.journal import Journal
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
    return Load(alma, collection_id=C, service_id=S, journal=journal, **{"quarantine": 30.0, **how})


def held(server):
    """Notes by number, one for each portfolio."""
    found = {}
    for portfolio in server.world.portfolios.all.values():
        number = int(portfolio["linking_details"]["static_url"].rsplit("/", 1)[1])
        found.setdefault(number, []).append(portfolio["public_note"])
    return found


async def test_a_changed_file_is_refused_unless_that_is_accepted(file, journal):
    """A row that changed, one that is new, one that moved and one that is gone: nothing is made twice or taken back."""
    async with institution() as (server, alma):
        await load(alma, journal).run(file([(n, "old") for n in range(5)]))
        changed = file([(4, "old"), (3, "new"), (7, "old"), (0, "old"), (1, "new")])
        with pytest.raises(InputError, match="accept_changed"):
            await load(alma, journal).run(changed)
        report = await load(alma, journal, accept_changed=True).run(changed)
        assert (report.rows, report.created, report.pending) == (6, 6, 0)
        assert held(server) == {0: ["old"], 1: ["new"], 2: ["old"], 3: ["new"], 4: ["old"], 7: ["old"]}
        calls = len(server.world.tally.received)
        again = await load(alma, journal).run(changed)
        assert (again.pending, len(server.world.tally.received)) == (0, calls)
        with Journal(journal) as opened:
            opened.check()
            lines = {entry.mms_id: entry.line for entry in opened.entries(after=5)}
        assert lines == {"99000004": 2, "99000003": 3, "99000007": 4, "99000000": 5, "99000001": 6}


async def test_a_file_that_changed_while_rows_were_open(file, journal):
    """Rows of unknown outcome are read back as ever, open rows that are gone end refused, and open rows that stay go on."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_after", method="POST", nth=1, times=3)])
    async with institution(latency=0.5, faults=plan) as (server, alma):
        with anyio.move_on_after(1.2):
            await load(alma, journal, workers=2).run(file([(n, "old") for n in range(6)]))
        with Journal(journal) as opened:
            states = {entry.state for entry in opened.entries()}
        assert {State.UNKNOWN, State.PENDING} <= states
        changed = file([(0, "new"), (5, "old"), (4, "old")])
        report = await load(alma, journal, accept_changed=True).run(changed)
        assert report.pending == 0
        assert held(server)[0] == ["new"]
        assert all(len(notes) == 1 for notes in held(server).values())
        assert {0, 4, 5} <= set(held(server))
        assert report.rejected + report.review + report.created == 6


async def test_a_change_that_was_cut_short_is_taken_up_again(file, journal):
    """Killed between taking a changed file for new and having its rows, the load goes on as if nothing had been."""
    async with institution() as (server, alma):
        await load(alma, journal).run(file([(n, "old") for n in range(5)]))
        changed = file([(n, "new") for n in range(3, 8)])
        half = load(alma, journal, accept_changed=True)
        with pytest.raises(Cut):
            await half.run(Cutting(changed, after=3))
        report = await load(alma, journal).run(changed)
        assert (report.created, report.pending) == (8, 0)
        assert held(server) == {n: ["new" if n >= 3 else "old"] for n in range(8)}


class Cut(Exception):
    """The process dies."""


class Cutting:
    """Rows that end in the middle, as a file does under a process that dies."""

    def __init__(self, rows, *, after):
        self.rows, self.after = rows, after
        self.fingerprint = rows.fingerprint

    def __iter__(self):
        for n, row in enumerate(self.rows):
            if n == self.after:
                raise Cut
            yield row


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


async def test_what_came_since_the_load_began_is_seen_when_its_file_changes(file, journal, tmp_path):
    """A title that somebody else has added by then is not added again."""
    async with institution() as (server, alma):
        await load(alma, journal).run(file([(1, "old")]))
        await load(alma, tmp_path / "other.load").run(file([(2, "theirs")]))
        report = await load(alma, journal, accept_changed=True).run(file([(1, "old"), (2, "theirs")]))
        assert (report.created, report.unchanged) == (1, 1)
        assert held(server) == {1: ["old"], 2: ["theirs"]}


async def test_a_row_in_doubt_is_looked_for_when_its_file_changes(file, journal):
    """A create that ended in review though it was applied is found before anything is made anew."""
    rules = [
        sim.Rule("cut_after", method="POST"),
        sim.Rule(sim.Fault("error", code="999999"), method="GET", path="/bibs/"),
    ]
    async with institution(faults=sim.FaultPlan(rules=rules)) as (server, alma):
        assert (await load(alma, journal).run(file([(1, "old")]))).review == 1
        report = await load(alma, journal, accept_changed=True).run(file([(1, "new")]))
        assert (report.created, report.review) == (1, 0)
        assert held(server) == {1: ["new"]}


async def test_a_corrected_url_changes_the_one_portfolio(file, journal, tmp_path):
    """The only row of a title whose URL was corrected changes what the row of then has made, and makes nothing beside it."""
    async with institution() as (server, alma):
        await load(alma, journal).run(file([(1, "old")]))
        path = tmp_path / "titles.csv"
        path.write_text("mms_id,url,public_note\n99000001,https://journals.example/7,old\n", encoding="utf-8")
        again = load(alma, journal, accept_changed=True)
        report = await again.run(read_rows(path))
        assert (report.created, report.updated) == (1, 1)
        assert held(server) == {7: ["old"]}
        assert (await again.verify(read_rows(path))).exit_code == 0


async def test_rows_that_say_different_things_of_one_title(file, journal):
    """A row that repeats another is told as its repeat; of rows that say different things none is chosen by its place."""
    async with institution() as (_, alma):
        report = await load(alma, journal).run(file([(1, "a"), (1, "a"), (1, "b")]))
        assert (report.created, report.duplicates, report.review, report.exit_code) == (0, 1, 2, 1)
