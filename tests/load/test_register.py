"""Loads of one service are kept apart on one machine, and those that were left unfinished are known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import attrs
import pytest

from alma_async import sim
from alma_async.load import JournalInUse, ServiceInUse, UnfinishedLoad, read_rows
from alma_async.load.entries import Moment, State
from alma_async.load.journal_file import JournalFile
from alma_async.load.register import Registered, unfinished
from tests.conftest import EPOCH, institution
from tests.load.line import into, titles

MOMENT = Moment(wall=EPOCH, mono=0.0, boot="one")
SERVICE = ("https://one.example", "61", "62")


def enter(journal, *, service=SERVICE, beside=False):
    return Registered.enter(service, journal, beside=beside, now=MOMENT)


async def test_two_loads_at_once_are_refused_and_nothing_is_doubled(tmp_path):
    """The second load of a service ends before it sends anything, naming the first, whatever its journal and file are."""
    rows = [read_rows(titles(tmp_path / name, 30)) for name in ("one.csv", "two.csv")]
    async with institution(latency=0.5) as (server, alma):
        loads = [into(alma, tmp_path / name) for name in ("one.load", "two.load")]
        async with anyio.create_task_group() as group:
            group.start_soon(loads[0].run, rows[0])
            await anyio.sleep(1.5)
            calls = len(server.world.tally.received)
            with pytest.raises(ServiceInUse, match=r"one\.load.*--beside"):
                await loads[1].run(rows[1])
            assert len(server.world.tally.received) == calls
            assert not (tmp_path / "two.load").exists()
        assert (await loads[1].run(rows[1])).unchanged == 30
        assert server.world.portfolios.duplicates() == 0


async def test_beside_another_where_told(tmp_path):
    """Told so, a load goes on beside another; a plan and a verification, which change nothing, need not be told."""
    one, two = titles(tmp_path / "one.csv", 30), tmp_path / "two.csv"
    two.write_text("mms_id,url\n999999998,https://elsewhere.example\n", encoding="utf-8")
    async with institution(latency=0.5) as (_, alma), anyio.create_task_group() as group:
        assert (await into(alma, tmp_path / "old.load").run(read_rows(two))).created == 1
        group.start_soon(into(alma, tmp_path / "one.load").run, read_rows(one))
        await anyio.sleep(1.5)
        two.write_text("mms_id,url\n999999999,https://elsewhere.example/2\n", encoding="utf-8")
        load = into(alma, tmp_path / "two.load")
        with await load.plan(read_rows(two)) as plan:
            assert plan.report.created == 1
        await into(alma, tmp_path / "old.load").verify()
        assert (await into(alma, tmp_path / "two.load", beside=True).run(read_rows(two))).created == 1


def test_a_process_that_stands_still_keeps_nobody_from_a_load_in_the_store(tmp_path, monkeypatch):
    """Whose such a load is, the store knows; other loads of the service are kept apart from it all the same."""
    stored = Path("store:a")
    first = enter(stored)
    with pytest.raises(JournalInUse):
        enter(stored)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # another one
    second = enter(stored)
    with pytest.raises(ServiceInUse, match="store:a"):
        enter(tmp_path / "b.load")
    for one in (first, second):
        one.close()
    assert not unfinished(SERVICE)
    enter(tmp_path / "b.load").close()


def test_another_service_is_nobody_s_business(tmp_path):
    """Loads into two services, collections or institutions go on at the same time."""
    origin, collection, service = SERVICE
    entered = [enter(tmp_path / "a.load")]
    for n, other in enumerate(
        [("https://two.example", collection, service), (origin, "60", service), (origin, collection, "63")]
    ):
        entered.append(enter(tmp_path / f"{n}.load", service=other))
    with pytest.raises(ServiceInUse):
        enter(tmp_path / "b.load")
    for one in entered:
        one.close()
    enter(tmp_path / "b.load").close()


def test_the_same_journal_is_in_use(tmp_path):
    """The same load begun twice is told as such."""
    entered = enter(tmp_path / "a.load")
    with pytest.raises(JournalInUse):
        enter(tmp_path / "a.load", beside=True)
    entered.close()


def test_who_is_killed_leaves_no_lock(tmp_path):
    """A process that is killed holds nobody up, and while it lives it does."""
    program = (
        "import sys, time; from pathlib import Path; from alma_async.load.register import Registered\n"
        "from alma_async.load.entries import Moment\n"
        f"held = Registered.enter({SERVICE!r}, Path(sys.argv[1]), beside=False, now={MOMENT!r})\n"
        "print(held is not None, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.load")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        with pytest.raises(ServiceInUse, match=r"a\.load"):
            enter(tmp_path / "b.load")
        process.kill()
        process.wait()
    enter(tmp_path / "b.load").close()


async def test_what_a_load_that_was_cut_off_had_sent_is_waited_for(tmp_path):
    """A new load does not begin where an earlier one was cut off with calls on their way, until what they did must show."""
    rows = read_rows(titles(tmp_path / "titles.csv", 30))
    plan = sim.FaultPlan(rules=[sim.Rule(sim.Fault("commit_late", delay=100.0), method="POST", nth=5)])
    async with institution(latency=1.0, faults=plan) as (server, alma):
        with anyio.move_on_after(4.0):
            await into(alma, tmp_path / "one.load").run(rows)
        service = (alma.origin, sim.DEMO_COLLECTION, sim.DEMO_SERVICE)
        assert unfinished(service) == [tmp_path / "one.load"]
        again = into(alma, tmp_path / "two.load")
        with pytest.raises(UnfinishedLoad, match=r"one\.load.*Resume it"):
            await again.run(rows)
        with pytest.raises(UnfinishedLoad, match=r"one\.load.*wait until then, also with --since"):
            await into(alma, tmp_path / "since.load", since=tmp_path / "one.load").run(rows)
        await anyio.sleep(301.0)
        report = await again.run(rows)
        assert report.created + report.updated + report.unchanged == 30
        assert server.world.portfolios.duplicates() == 0
        assert unfinished(service) == [tmp_path / "one.load"]
        assert (await into(alma, tmp_path / "one.load").run(rows)).pending == 0
        assert unfinished(service) == []
        assert server.world.portfolios.duplicates() == 0


@pytest.mark.parametrize("quarantine", [2.0, 45.0, 300.0])
async def test_it_is_waited_for_as_long_as_the_quarantine(tmp_path, quarantine):
    """The refusal says until when, asking again does not put that off, and right after it a new load goes on."""
    rows = read_rows(titles(tmp_path / "titles.csv", 10))
    async with institution(latency=1.0) as (_, alma):
        with anyio.move_on_after(2.5):
            await into(alma, tmp_path / "one.load").run(rows)
        died, said = alma.clock.wall(), set()
        with JournalFile(tmp_path / "one.load") as journal:
            for (
                entry
            ) in journal.entries():  # as after a kill: nobody was there to write that it was cancelled
                if entry.state is State.UNKNOWN:
                    sent_by = attrs.evolve(entry.sent_by, wall=died + 60.0, mono=alma.clock.now() + 60.0)
                    journal.write(attrs.evolve(entry, state=State.INTENT, sent_by=sent_by))
        again = into(alma, tmp_path / "two.load", quarantine=quarantine)
        while alma.clock.wall() < died + quarantine:
            with pytest.raises(
                UnfinishedLoad, match=r"until \d\d:\d\d:\d\d UTC, for .*second|minute"
            ) as refused:
                await again.run(rows)
            said.add(re.search(r"until (\S+)", str(refused.value))[1])
            await anyio.sleep(quarantine / 4)
        assert len(said) == 1
        assert (await again.run(rows)).pending == 0


async def test_an_undo_waits_too_for_what_another_run_had_sent(tmp_path):
    """An undo begins only once what another load, or another undo of its load, had sent must show: no title is there twice."""
    titled = [{"mms_id": "99000001", "url": "https://journals.example.org/1"}]
    late = sim.FaultPlan(rules=[sim.Rule(sim.Fault("commit_late", delay=20.0), method="POST", nth=2)])
    for cut_off in ("load", "undo"):
        folder = tmp_path / cut_off
        folder.mkdir()
        async with institution(faults=late) as (server, alma):
            await into(alma, folder / "made.load").run(titled)
            gone = into(alma, folder / "gone.load", action="delete")
            assert (await gone.run(titled)).deleted == 1
            with anyio.move_on_after(5.0):
                if cut_off == "load":
                    await into(alma, folder / "cut.load").run(titled)
                else:
                    await gone.undo(journal=folder / "cut.load")
            with pytest.raises(UnfinishedLoad, match=r"cut\.load.*Resume it, or wait until"):
                await gone.undo()
            await anyio.sleep(301.0)
            back = await gone.undo()
            assert (back.created, back.review) == (0, 1)
            assert len(server.world.portfolios.all) == 1


async def test_an_undo_does_not_wait_for_its_own_load(tmp_path):
    """A load that was cut off with calls on their way is taken back at once; its unknown rows are told, with what to do."""
    rows = read_rows(titles(tmp_path / "titles.csv", 30))
    async with institution(latency=1.0) as (_, alma):
        load = into(alma, tmp_path / "one.load")
        with anyio.move_on_after(4.0):
            await load.run(rows)
        back = await load.undo()
        assert back.deleted + back.rejected == back.rows
        assert back.rejected


def test_a_journal_that_is_gone_is_forgotten(tmp_path):
    """Of loads whose journal was removed nothing is left but by a load that is under way."""
    enter(tmp_path / "a.load").close()
    assert unfinished(SERVICE) == []
    (tmp_path / "b.load").touch()
    enter(tmp_path / "b.load").close()
    assert unfinished(SERVICE) == [tmp_path / "b.load"]


def test_where_nothing_can_be_written_it_is_said(tmp_path, monkeypatch, caplog):
    """Without a state directory a load goes on, and the log says that nothing keeps another one away."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "file"))
    assert enter(tmp_path / "a.load") is None
    assert "cannot be kept apart" in caplog.text
