"""A load that knows an earlier one: what that did is not sent again, what it had begun goes on, and each says what it wrote."""

from __future__ import annotations

import anyio
import attrs
import pytest

from alma_async import ConfigurationError, sim
from alma_async.load import InputError, Load, LoadOptions, read_rows, undo_rows
from alma_async.load.entries import KNOWN, Difference, Entry, Moment, State, Step
from alma_async.load.ingest import continued
from alma_async.load.journal_file import JournalFile
from tests.conftest import institution
from tests.load.test_ingest import held

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
NOW = Moment(wall=1.0, mono=1.0, boot="b")
OLD = Entry(
    n=3,
    line=4,
    state=State.DONE,
    step=Step.UPDATE,
    natural_key=b"k",
    payload=b"p",
    portfolio_id="53",
    action="created",
)
SAME = Entry(n=9, line=7, state=State.PENDING, natural_key=b"k", payload=b"p")
OTHER = attrs.evolve(SAME, payload=b"q")
MADE = (Difference("url", "", "x"),)


@pytest.fixture
def file(tmp_path):
    """Writes rows given as ``number: note`` into the one file."""

    def write(rows):
        path = tmp_path / "titles.csv"
        lines = [f"99{n:06},https://journals.example/{n},{note}" for n, note in rows]
        path.write_text("\n".join(["mms_id,url,public_note", *lines, ""]), encoding="utf-8")
        return read_rows(path)

    return write


@pytest.fixture
def load(tmp_path):
    """Makes loads of the demo service, each of a journal by name."""

    def make(alma, name, **how):
        since = how.pop("since", None)
        known = {} if since is None else {"since": tmp_path / since}
        return Load(
            alma,
            collection_id=C,
            service_id=S,
            journal=tmp_path / name,
            options=LoadOptions(quarantine=30.0, **known, **how),
        )

    return make


def test_what_was_done_and_is_asked_for_again_is_known():
    """A row that was done and says the same is known, with its portfolio, once the service is listed; one that says something else
    begins anew.
    """
    known = attrs.evolve(SAME, action=KNOWN, reason="known", portfolio_id="53")
    assert continued(OLD, SAME) == known
    assert continued(OLD, OTHER) == OTHER


@pytest.mark.parametrize("new", [SAME, OTHER], ids=["same", "other"])
@pytest.mark.parametrize("state", [State.INTENT, State.UNKNOWN])
def test_what_was_sent_without_an_answer_is_read_back(state, new):
    """A row whose outcome is unknown rests on as it did, whatever it asks for now: a send again would double it."""
    old = attrs.evolve(
        OLD, state=state, step=Step.CREATE, portfolio_id=None, action=None, sent_by=NOW, lost_answers=2
    )
    expected = attrs.evolve(old, n=9, line=7, payload=new.payload, state=State.UNKNOWN, lost_answers=0)
    assert continued(old, new) == expected


def test_what_was_begun_goes_on():
    """A portfolio that was made and not filled yet is filled with what the row says now."""
    old = attrs.evolve(OLD, state=State.PENDING)
    assert continued(old, OTHER) == attrs.evolve(old, n=9, line=7, payload=b"q")


def test_a_create_that_ended_in_doubt_is_looked_for():
    """A create that was given to a person because its outcome stayed unknown is looked for before anything is made."""
    old = attrs.evolve(
        OLD, state=State.REVIEW, step=Step.CREATE, portfolio_id=None, action=None, differences=MADE
    )
    assert continued(old, SAME).state is State.UNKNOWN


@pytest.mark.parametrize("state", [State.REJECTED, State.REVIEW, State.UNDONE, State.DUPLICATE])
def test_what_came_to_nothing_is_a_row_like_any_other(state):
    """What was rejected, taken back, or is a person's to decide, is looked at anew."""
    assert continued(attrs.evolve(OLD, state=state), SAME) == SAME


async def test_a_corrected_file_sends_what_changed(file, load, tmp_path):
    """A row that changed, one that is new, one that moved and one that is gone: only the first two cost calls."""
    async with institution() as (server, alma):
        await load(alma, "a.load").run(file([(n, "old") for n in range(50)]))
        changed = file(
            [(4, "old"), (3, "new"), (70, "old"), *((n, "old") for n in range(10, 50)), (1, "new")]
        )
        before = len(server.world.tally.received)
        report = await load(alma, "b.load", since="a.load").run(changed)
        sent = len(server.world.tally.received) - before
        assert (report.rows, report.known, report.created, report.updated, report.pending) == (
            44,
            41,
            1,
            2,
            0,
        )
        assert sent < 15
        expected = {n: ["old"] for n in [*range(50), 70]} | {1: ["new"], 3: ["new"]}
        assert held(server) == expected
        with pytest.raises(InputError, match="later load"):
            await load(alma, "c.load", since="a.load").run(changed)
        assert (await load(alma, "b.load", since="a.load").verify()).exit_code == 0
        again = await load(alma, "c.load", since="b.load").run(changed)
        assert (again.known, again.exit_code) == (44, 0)


@pytest.mark.parametrize("times", [1, 3, 30])
async def test_what_was_of_unknown_outcome_is_made_once(file, load, times):
    """A load that was cut off with rows of unknown outcome is followed by one of a corrected file: no title is there twice."""
    plan = sim.FaultPlan(rules=[sim.Rule("cut_after", method="POST", nth=1, times=times)])
    async with institution(latency=0.5, faults=plan) as (server, alma):
        with anyio.move_on_after(1.4):
            await load(alma, "a.load", workers=4).run(file([(n, "old") for n in range(30)]))
        assert server.world.portfolios.all
        changed = file([(n, "new" if n % 2 else "old") for n in range(29, -1, -1)])
        report = await load(alma, "b.load", since="a.load", beside=True).run(changed)
        assert (report.pending, report.review, report.rejected) == (0, 0, 0)
        assert held(server) == {n: ["new" if n % 2 else "old"] for n in range(30)}


async def test_what_is_gone_from_the_service_is_made_again(file, load):
    """A title that somebody deleted since the earlier load is not taken for known."""
    async with institution() as (server, alma):
        rows = file([(n, "old") for n in range(20)])
        await load(alma, "a.load").run(rows)
        gone = next(iter(server.world.portfolios.all))
        await alma.electronic.portfolios.delete(C, S, gone)
        report = await load(alma, "b.load", since="a.load").run(rows)
        assert (report.known, report.created) == (19, 1)
        assert held(server) == {n: ["old"] for n in range(20)}


async def test_each_load_takes_back_what_it_wrote(file, load, tmp_path):
    """The undo of the later load brings back what the earlier one left, and its undo what was there before both."""
    async with institution() as (server, alma):
        await load(alma, "a.load").run(file([(n, "old") for n in range(6)]))
        await load(alma, "b.load", since="a.load").run(
            file([(n, "new" if n < 3 else "old") for n in range(8)])
        )
        back = await load(alma, "undo-b.load", action="undo").run(undo_rows(tmp_path / "b.load"))
        assert (back.deleted, back.updated, back.exit_code) == (2, 3, 0)
        assert held(server) == {n: ["old"] for n in range(6)}
        back = await load(alma, "undo-a.load", action="undo").run(undo_rows(tmp_path / "a.load"))
        assert (back.deleted, back.exit_code, held(server)) == (6, 0, {})


async def test_a_dry_run_leaves_the_earlier_load_its_place(file, load):
    """What a load would do since an earlier one can be asked, and the earlier one goes on as if nothing had been."""
    async with institution() as (server, alma):
        await load(alma, "a.load").run(file([(n, "old") for n in range(6)]))
        changed = file([(n, "new" if n < 3 else "old") for n in range(8)])
        with await load(alma, "b.load", since="a.load").plan(changed) as plan:
            assert (plan.report.known, plan.report.updated, plan.report.created) == (3, 3, 2)
        assert held(server) == {n: ["old"] for n in range(6)}
        assert (await load(alma, "a.load").run()).created == 6


@pytest.mark.parametrize("other", [{"action": "delete"}, {"bib": "suppress"}])
async def test_only_a_load_of_the_same_kind_can_be_known(file, load, other):
    """Another action, another service or a dry run says nothing of what is asked for here; it is refused before a call is made."""
    async with institution() as (server, alma):
        rows = file([(n, "old") for n in range(3)])
        await load(alma, "a.load").run(rows)
        calls = len(server.world.tally.received)
        with pytest.raises(InputError, match="belongs to a load"):
            await load(alma, "b.load", since="a.load", **other).run(rows)
        with pytest.raises(InputError, match="no journal"):
            await load(alma, "c.load", since="nowhere.load").run(rows)
        with pytest.raises(ConfigurationError, match="allow_duplicates"):
            load(alma, "d.load", since="a.load", allow_duplicates=True)
        assert len(server.world.tally.received) == calls


async def test_a_later_load_that_is_cut_off_while_it_reads_leaves_the_earlier_one(file, load, tmp_path):
    """Until all its rows are in, the later load has taken nothing over."""

    def dying():
        yield from file([(n, "new") for n in range(600)])
        raise OSError("gone")

    async with institution() as (_, alma):
        await load(alma, "a.load").run(file([(n, "old") for n in range(3)]))
        with pytest.raises(OSError, match="gone"):
            await load(alma, "b.load", since="a.load").run(dying())
        assert (await load(alma, "a.load").run()).created == 3
        with JournalFile(tmp_path / "a.load") as journal:
            journal.check()


@pytest.mark.parametrize("links", [1, 2])
async def test_what_was_taken_back_is_known_no_more(file, load, tmp_path, links):
    """Rows that a load only knows are taken back with the load that did them: its journals say so, and a load since it sends them;
    where that undo is undone, they stand again. While the undo is not at its end, none of them goes on.
    """
    async with institution() as (server, alma):
        await load(alma, "base.load").run(file([(n, "old") for n in range(4)]))
        rows = file([(n, "new") for n in range(6)])  # four updated, two created
        await load(alma, "0.load").run(rows)
        chain = [f"{n}.load" for n in range(1, links + 1)]
        for before, name in zip(["0.load", *chain], chain, strict=False):
            assert (await load(alma, name, since=before).run(rows)).known == 6
        await load(alma, "0.load").undo(journal=tmp_path / "undo.load")
        assert held(server) == {n: ["old"] for n in range(4)}
        for name, before in zip(chain, ["0.load", *chain], strict=False):
            assert (await load(alma, "0.load").undo(journal=tmp_path / "undo.load")).exit_code == 0
            with JournalFile(tmp_path / name, reading=True) as journal:
                assert {entry.state for entry in journal.entries()} == {State.UNDONE}
            audit = await load(alma, name, since=before).verify()
            assert (audit.once, audit.report.undone, audit.findings) == (0, 6, ())
        await Load.open(tmp_path / "undo.load", alma).undo(journal=tmp_path / "redo.load")
        assert held(server) == {n: ["new"] for n in range(6)}
        audit = await Load.open(tmp_path / chain[-1], alma).verify()
        assert (audit.once, audit.report.known, audit.findings) == (6, 6, ())
        await Load.open(tmp_path / "redo.load", alma).undo(journal=tmp_path / "again.load")
        report = await load(alma, "last.load", since=chain[-1]).run(rows)
        assert (report.known, report.updated, report.created) == (0, 4, 2)
        assert held(server) == {n: ["new"] for n in range(6)}


async def test_an_undo_that_did_not_end_holds_up_what_knows_its_load(file, load, tmp_path):
    """While it is not told which rows are taken back, no load goes on with them, however many journals lie between."""
    async with institution(latency=0.5) as (server, alma):
        rows = file([(n, "new") for n in range(30)])
        await load(alma, "a.load").run(rows)
        await load(alma, "b.load", since="a.load").run(rows)
        with anyio.move_on_after(8.0):
            await load(alma, "a.load", workers=2).undo(journal=tmp_path / "undo.load")
        assert 0 < len(held(server)) < 30
        with pytest.raises(InputError, match="undo"):
            await load(alma, "c.load", since="b.load", beside=True).run(rows)
        await load(alma, "undo.load", action="undo", beside=True).run()
        report = await load(alma, "c.load", since="b.load").run(rows)
        assert (report.known, report.created) == (0, 30)


async def test_what_a_later_load_wrote_itself_is_vouched_for_by_it_alone(file, load, tmp_path):
    """The undo of the earlier load takes what it changed from the later one's rows too; what only the later wrote stands."""
    async with institution() as (server, alma):
        await load(alma, "base.load").run(file([(n, "old") for n in range(3)]))
        await load(alma, "a.load").run(file([(0, "new"), (1, "new")]))
        changed = file([(0, "new"), (1, "newer"), (2, "new")])
        report = await load(alma, "b.load", since="a.load").run(changed)
        assert (report.known, report.updated) == (1, 2)
        await load(alma, "a.load").undo(journal=tmp_path / "undo.load")
        assert held(server) == {0: ["old"], 1: ["newer"], 2: ["new"]}
        report = await load(alma, "c.load", since="b.load").run(changed)
        assert (report.known, report.updated) == (2, 1)
        assert held(server) == {0: ["new"], 1: ["newer"], 2: ["new"]}


@pytest.mark.parametrize("lost", [False, True], ids=["there", "lost"])
async def test_a_superseded_load_is_no_dead_end(file, load, tmp_path, lost):
    """One that had ended still gives its report and sends nothing; as an earlier load it names the later one, and where that one's
    journal is lost, a way that leads on.
    """
    async with institution() as (server, alma):
        rows = file([(n, "old") for n in range(3)])
        await load(alma, "a.load").run(rows)
        await load(alma, "b.load", since="a.load").run(rows)
        if lost:
            (tmp_path / "b.load").unlink()
        calls = len(server.world.tally.received)
        for again in (None, rows):
            report = await load(alma, "a.load").run(again)
            assert (report.created, report.calls, report.exit_code) == (3, 0, 0)
        with pytest.raises(InputError, match="not among them"):
            await load(alma, "a.load").run(file([(n, "new") for n in range(3)]))
        assert len(server.world.tally.received) == calls
        with pytest.raises(
            InputError, match="begin with a new journal" if lost else "Name that one"
        ) as refused:
            await load(alma, "c.load", since="a.load").run(rows)
        assert str(tmp_path / "b.load") in str(refused.value)
        rows = file([(n, "new") for n in range(4)])
        report = await load(alma, "c.load", **({} if lost else {"since": "b.load"})).run(rows)
        assert (report.updated, report.created) == (3, 1)


async def test_a_superseded_load_with_open_rows_stays_where_it_is(file, load, tmp_path):
    """What the later load took over is not sent beside it, also where its journal is lost: a new journal looks first."""
    async with institution() as (server, alma):
        rows = file([(n, "old") for n in range(40)])
        first = load(alma, "a.load", workers=2)
        await first.run(rows, on_progress=lambda now: first.stop() if now.created >= 5 else None)
        assert (await load(alma, "b.load", since="a.load").run(rows)).exit_code == 0
        for match in ("Go on with that one", "is not there"):
            with pytest.raises(InputError, match=match):
                await load(alma, "a.load").run()
            (tmp_path / "b.load").unlink(missing_ok=True)
        report = await load(alma, "c.load").run(rows)
        assert (report.unchanged, report.created) == (40, 0)
        assert held(server) == {n: ["old"] for n in range(40)}


@pytest.mark.parametrize("kind", ["dry", "unread", "other-place", "itself", "nowhere"])
async def test_what_cannot_be_known_is_named_and_binds_nothing(file, load, tmp_path, kind):
    """An earlier journal that is of no use is named with what it is of and what to do; without it, the load then goes on."""

    def dying():
        yield from file([(1, "old")])
        raise OSError("gone")

    async with institution() as (server, alma):
        rows = file([(n, "old") for n in range(3)])
        if kind == "dry":
            with await load(alma, "a.load").plan(rows, journal=tmp_path / "a.load"):
                pass
        elif kind == "unread":
            with pytest.raises(OSError, match="gone"):
                await load(alma, "a.load").run(dying())
        elif kind == "other-place":
            await load(alma, "a.load", action="create").run(rows)
        calls = len(server.world.tally.received)
        with pytest.raises(ConfigurationError) as refused:
            await load(alma, "b.load", since="b.load" if kind == "itself" else "a.load").run(rows)
        said = str(refused.value)
        assert "a.load" in said or kind == "itself"
        assert "since" in said
        assert "correct the file" not in said
        assert "This journal" not in said
        assert len(server.world.tally.received) == calls
        assert (await load(alma, "b.load").run(rows)).exit_code == 0


async def test_a_journal_without_rows_is_no_load_that_was_cut_off(load):
    """To go on with a journal that never had rows asks for them, and says nothing of an end that there never was."""
    async with institution() as (_, alma):
        with pytest.raises(InputError, match=r"a\.load: none were given yet.*Give the rows"):
            await load(alma, "a.load").run()


async def test_rows_that_are_refused_leave_the_journal_as_it_was(file, load, tmp_path):
    """A journal that is given other rows than its own goes on telling of the file that its own came from."""
    async with institution() as (_, alma):
        await load(alma, "a.load", facts={"file": "a.csv"}).run(file([(1, "old")]))
        with pytest.raises(InputError, match="not among them"):
            await load(alma, "a.load", facts={"file": "b.csv"}).run(file([(1, "new")]))
        with JournalFile(tmp_path / "a.load") as journal:
            assert journal.meta()["file"] == "a.csv"


async def warnings_of(rows):
    """What is said of the whole, once the rows are read."""
    assert [row async for row in rows]
    return rows.warnings


async def test_an_undo_says_what_it_cannot_tell(file, load, tmp_path):
    """The journal of a later load that is not where it was is named before the undo and in its report: its rows stay done."""
    async with institution() as (_, alma):
        rows = file([(n, "old") for n in range(3)])
        await load(alma, "a.load").run(rows)
        assert not await warnings_of(undo_rows(tmp_path / "a.load"))
        await load(alma, "b.load", since="a.load").run(rows)
        assert not await warnings_of(undo_rows(tmp_path / "a.load"))
        (tmp_path / "b.load").rename(tmp_path / "moved.load")
        (warning,) = await warnings_of(undo_rows(tmp_path / "a.load"))
        assert str(tmp_path / "b.load") in warning
        assert (await load(alma, "a.load").undo(journal=tmp_path / "u.load")).deleted == 3
        with JournalFile(tmp_path / "u.load") as journal:
            assert warning in journal.meta()["warnings"]


async def test_an_undo_has_a_journal_of_its_own(file, load, tmp_path):
    """An undo into the journal that it takes back is refused as that, however the path is spelled."""
    (tmp_path / "link.load").symlink_to(tmp_path / "a.load")
    async with institution() as (_, alma):
        await load(alma, "a.load").run(file([(1, "old")]))
        for name in ("a.load", "link.load"):
            with pytest.raises(ConfigurationError, match="journal of the load itself"):
                await load(alma, "a.load").undo(journal=tmp_path / name)


def drift(server, n, **changes):
    """Change the portfolio of this title; its id."""
    for one, portfolio in server.world.portfolios.all.items():
        if portfolio["resource_metadata"]["mms_id"]["value"] == f"99{n:06}":
            portfolio.update(changes)
            return one
    raise LookupError(n)


async def test_what_drifted_is_compared(load, tmp_path):
    """A known row whose portfolio vanished or has another availability than the earlier load left is loaded as it says."""
    path = tmp_path / "titles.csv"

    def some(codes):
        lines = [f"99{n:06},https://journals.example/{n},{code}" for n, code in enumerate(codes)]
        path.write_text("\n".join(["mms_id,url,availability", *lines, ""]), encoding="utf-8")
        return read_rows(path)

    async with institution() as (server, alma):
        for n in range(8):
            server.world.add_bib(f"99{n:06}", "A title")
        codes = ["11", "10", "11", "", "11", "10", "", "11"]
        assert (await load(alma, "a.load").run(some(codes))).created == 8
        off, on = {"value": "10"}, {"value": "11"}
        server.world.portfolios.delete(C, S, drift(server, 0))
        drift(server, 1, availability=on)  # is put back
        back = drift(server, 2, availability=off)  # is put back
        drift(server, 3, availability=off)  # the row says nothing of it: compared, and left
        before = len(server.world.tally.received)
        report = await load(alma, "b.load", since="a.load").run(some(codes))
        assert (report.known, report.created, report.updated, report.unchanged) == (4, 1, 2, 1)
        assert len(server.world.tally.received) - before == 3 + 1 + 2 * 2 + 1
        assert server.world.portfolios.all[back]["availability"]["value"] == "11"
        before = len(server.world.tally.received)
        again = await load(alma, "c.load", since="b.load").run(some(codes))
        assert (again.known, len(server.world.tally.received) - before) == (8, 3)


async def test_a_list_of_a_week_ago_costs_its_list(file, load):
    """500 rows that an earlier load knows: what changed is sent, and the list is what is read besides."""
    async with institution() as (server, alma):
        await load(alma, "a.load").run(file([(n, "old") for n in range(500)]))
        await anyio.sleep(7 * 86400.0)
        before = len(server.world.tally.received)
        report = await load(alma, "b.load", since="a.load").run(
            file([(n, "new" if n < 10 else "old") for n in range(500)])
        )
        assert (report.known, report.updated) == (490, 10)
        assert len(server.world.tally.received) - before <= 30


async def test_a_vanished_portfolio_of_a_list_that_moves_is_not_known(file, load, monkeypatch):
    """Also where the service changes while it is listed, each time, a known row whose portfolio is not seen is looked for."""
    monkeypatch.setattr("alma_async.load.lookup._LISTINGS", 0)
    async with institution() as (server, alma):
        rows = file([(n, "old") for n in range(5)])
        await load(alma, "a.load").run(rows)
        server.world.portfolios.delete(C, S, drift(server, 3))
        report = await load(alma, "b.load", since="a.load").run(rows)
        assert (report.created, report.pending) == (1, 0)
        assert held(server) == {n: ["old"] for n in range(5)}


async def test_a_title_that_is_listed_twice_is_made_again_once(file, load):
    """A row that repeats one whose portfolio vanished stands for nothing, and nothing is made for it."""
    async with institution() as (server, alma):
        rows = file([(n, "old") for n in (0, 1, 2, 1)])
        await load(alma, "a.load").run(rows)
        server.world.portfolios.delete(C, S, drift(server, 1))
        report = await load(alma, "b.load", since="a.load").run(rows)
        assert (report.known, report.created, report.duplicates) == (2, 1, 1)
        assert held(server) == {n: ["old"] for n in range(3)}


# --- what goes on from the earlier load


def of_title(server, *urls, **also):
    """Portfolios of the title 991 with these URLs; their ids."""
    server.world.add_bib("991", "A title")
    ids = []
    for one in urls:
        sent = {
            "resource_metadata": {"mms_id": {"value": "991"}},
            "availability": {"value": "11"},
            "linking_details": {"url_type": {"value": "static"}, "static_url": f"jkey={one}"},
            **also,
        }
        ids.append(server.world.portfolios.create(C, S, sent, now=0.0)["id"])
    return ids


def rows_of(*urls, **also):
    return [{"mms_id": "991", "url": one, **also} for one in urls]


A, B = "https://a.example/", "https://b.example/"


def posts(kind, times):
    return sim.FaultPlan(rules=(sim.Rule(kind, method="POST", path="/portfolios", nth=1, times=times),))


@pytest.mark.parametrize("also", [{}, {"public_note": "corrected"}], ids=["same list", "corrected list"])
@pytest.mark.parametrize(("kind", "times"), [("cut_after", 1), ("cut_before", 1), ("cut_before", 3)])
async def test_a_lost_create_does_not_hide_what_its_title_had_before(load, kind, times, also):
    """The portfolio that was there is found again, and only what is lacking is made, also where the create was for review."""
    async with institution(faults=posts(kind, times)) as (server, alma):
        of_title(server, A)
        await load(alma, "a.load").run(rows_of(A, B), rest=times > 1)
        await anyio.sleep(60)
        rows = [rows_of(A, **also)[0], rows_of(B)[0]]
        report = await load(alma, "b.load", since="a.load").run(rows)
        assert (report.exit_code, len(server.world.portfolios.all)) == (0, 2)


async def test_what_the_earlier_load_made_is_not_hidden_by_a_lost_create_of_its_title(load):
    """A portfolio that the earlier load created is known though another create of its title was lost."""
    plan = sim.FaultPlan(rules=(sim.Rule("cut_after", method="POST", path="/portfolios", nth=2, times=1),))
    async with institution(faults=plan) as (server, alma):
        of_title(server)
        await load(alma, "a.load", workers=1).run(rows_of(A, B), rest=False)
        await anyio.sleep(60)
        report = await load(alma, "b.load", since="a.load").run(rows_of(A, B))
        assert (report.known, report.created, len(server.world.portfolios.all)) == (1, 1, 2)


async def test_a_row_that_goes_on_has_the_key_of_this_list(load):
    """The end of a row that the earlier load had begun is given under its key of now; the key of then is free."""
    async with institution(faults=posts("cut_after", 1)) as (server, alma):
        of_title(server)
        server.world.add_bib("992", "Another")
        await load(alma, "a.load").run([{"key": "k1", **rows_of(A)[0]}], rest=False)
        await anyio.sleep(60)
        rows = [{"key": "k2", **rows_of(A)[0]}, {"key": "k1", "mms_id": "992", "url": B}]
        ends = [end async for end in load(alma, "b.load", since="a.load").stream(rows)]
        assert {end.key: (end.state, end.action) for end in ends} == {
            "k1": ("done", "created"),
            "k2": ("done", "created"),
        }


async def test_what_was_sent_for_a_row_that_is_not_in_the_list_any_more_is_said(load, tmp_path, caplog):
    """A create of unknown outcome, whose row the corrected list lacks, is in the warnings with line and title."""
    async with institution(faults=posts("cut_after", 1)) as (server, alma):
        of_title(server)
        server.world.add_bib("992", "Another")
        await load(alma, "a.load").run(rows_of(A), rest=False)
        await anyio.sleep(60)
        corrected = load(alma, "b.load", since="a.load")
        await corrected.run([{"mms_id": "992", "url": B}])
        with JournalFile(tmp_path / "b.load") as journal:
            assert "Line 1 of the earlier load" in journal.meta()["warnings"]
        assert "what became of 991" in caplog.text


async def test_what_was_deleted_and_is_there_again_is_not_known(load):
    """A deletion that the earlier load carried out is carried out again where the title has a portfolio again."""
    async with institution() as (server, alma):
        of_title(server, A)
        rows = [{"mms_id": "991"}, {"mms_id": "992"}]
        await load(alma, "a.load", action="delete").run(rows)
        of_title(server, A)
        report = await load(alma, "b.load", action="delete", since="a.load").run(rows)
        assert (report.deleted, report.known) == (1, 1)
        assert not server.world.portfolios.all


async def test_what_stands_under_another_record_now_is_not_known(load):
    """A portfolio that was moved to another record does not stand for its row any more."""
    async with institution() as (server, alma):
        of_title(server)
        await load(alma, "a.load").run(rows_of(A))
        (one,) = server.world.portfolios.all.values()
        server.world.add_bib("992", "Another")
        one["resource_metadata"]["mms_id"]["value"] = "992"
        report = await load(alma, "b.load", since="a.load").run(rows_of(A))
        assert (report.known, report.created) == (0, 1)


async def test_an_update_that_was_not_applied_and_is_not_asked_for_any_more_is_no_update(load):
    """The row of the corrected list is unchanged: nothing was ever written for it."""
    plan = sim.FaultPlan(rules=(sim.Rule("cut_before", method="PUT", path="/portfolios", nth=1, times=1),))
    async with institution(faults=plan) as (server, alma):
        of_title(server, A)
        await load(alma, "a.load").run(rows_of(A, public_note="wrong"), rest=False)
        await anyio.sleep(60)
        report = await load(alma, "b.load", since="a.load").run(rows_of(A))
        assert (report.updated, report.unchanged) == (0, 1)


async def test_what_a_person_made_after_a_create_came_to_nothing_is_not_ours(load):
    """A create that was certainly not applied is for review; what a person then makes stays when the later load is undone."""
    async with institution(faults=posts("cut_before", 3)) as (server, alma):
        of_title(server)
        assert (await load(alma, "a.load").run(rows_of(A))).review == 1
        (made,) = of_title(server, A)
        later = load(alma, "b.load", since="a.load")
        report = await later.run(rows_of(A))
        assert (report.created, report.unchanged) == (0, 1)
        await later.undo()
        assert made in server.world.portfolios.all
