r"""Half a character (``\ud800``), from Alma or from a list, is a text like any other: it stops no load, report, log or output."""

from __future__ import annotations

import csv
import json
import logging

import attrs
import openpyxl
import pytest

from alma_async.events import LOGGER, stderr_handler
from alma_async.load import read_rows, undo_rows
from alma_async.load.journal import Journals
from alma_async.load.report import write_report
from alma_async.load.row import BadRow, Row, RowProblem
from tests.conftest import institution
from tests.load.test_actions import hold, loading, told, url

HALVES = ["a\ud800b", "\udfff", "\ud83d and é", "x\udc00\ud800"]


async def reports(clock, tmp_path, journal):
    """All forms of the report, as texts that can be read."""
    async with Journals(clock).opened(tmp_path / journal, reading=True) as found:
        for end in ("csv", "jsonl", "xlsx"):
            await write_report(clock, found, tmp_path / f"report.{end}")
    rows = openpyxl.load_workbook(tmp_path / "report.xlsx").active.iter_rows(values_only=True)
    return (
        list(csv.DictReader((tmp_path / "report.csv").read_text(encoding="utf-8-sig").splitlines())),
        [json.loads(line) for line in (tmp_path / "report.jsonl").read_text(encoding="utf-8").splitlines()],
        list(rows)[1:],
    )


@pytest.mark.parametrize("half", HALVES)
async def test_what_alma_holds(tmp_path, half):
    """Portfolios that hold it, where the load looks and where it does not, are planned, updated, verified, told and put back."""
    file = tmp_path / "rows.csv"
    file.write_text(f"mms_id,url,public_note\n99000000,{url(0)}/n,New\n99000001,,New\n99000002,{url(2)},\n")
    async with institution() as (server, alma):
        ids = hold(server, 3)
        for one in ids:
            server.world.portfolios.all[one] |= {"public_note": half, "unheard_of": {"x": [half]}}
        load = loading(alma, tmp_path, "upsert", keep_payload=True)
        with await load.plan(read_rows(file)) as plan:
            assert plan.report.updated == 2
        assert (await load.run(read_rows(file))).updated == 2
        assert (await load.verify()).exit_code == 0
        assert {diff.field: diff.old for diff in told(tmp_path / "a.load")[2].differences}[
            "public_note"
        ] == half
        cells, objects, rows = await reports(alma.clock, tmp_path, "a.load")
        assert len(cells) == len(rows) == len(objects) == 3
        assert objects[0]["before"]["public_note"] == half
        assert objects[0]["sent"]["unheard_of"] == {"x": [half]}
        assert (
            await loading(alma, tmp_path, "undo", name="u.load").run(undo_rows(tmp_path / "a.load"))
        ).updated == 2
        assert {one["public_note"] for one in server.world.portfolios.all.values()} == {half}


@attrs.frozen
class Rows:
    """Rows of a program."""

    rows: tuple[Row | BadRow, ...]
    about_file: tuple[str, ...] = ()

    def __iter__(self):
        return iter(self.rows)


@pytest.mark.parametrize("half", HALVES)
async def test_what_a_list_holds(tmp_path, half):
    """It is loaded where it is a value, and only told where it is a name, a warning or a reason."""
    known = {"title": half, "identifiers": (half,), "warnings": (half,)}
    good = Row(
        line=2,
        lines=(2,),
        mms_id="99000000",
        values={"url": f"{url(0)}/{half}", "public_note": half},
        **known,
    )
    bad = BadRow(line=3, lines=(3,), title=half, identifiers=(half,), problems=(RowProblem(3, half, half),))
    wrong = Row(line=4, lines=(4,), mms_id=half, values={"url": url(4)})
    alone = Row(line=5, lines=(5,), portfolio_id=half, values={"public_note": "x"})
    rows = Rows((good, bad, wrong, alone), about_file=(half,))
    async with institution() as (server, alma):
        report = await loading(alma, tmp_path, "upsert").run(rows)
        assert (report.created, report.rejected, report.pending) == (1, 3, 0)
        (made,) = server.world.portfolios.all.values()
        assert made["public_note"] == half
        assert (await loading(alma, tmp_path, "upsert").run(rows)).created == 1
        await loading(alma, tmp_path, "upsert").verify()
        _, objects, _ = await reports(alma.clock, tmp_path, "a.load")
        assert objects[0]["title"] == half
        assert len(objects) == 4 + 1  # and what is said of the file
        assert (
            await loading(alma, tmp_path, "undo", name="u.load").run(undo_rows(tmp_path / "a.load"))
        ).deleted == 1


@pytest.mark.parametrize("half", HALVES)
def test_the_log(half, capsys, monkeypatch):
    """A line of the log that has one is written."""
    monkeypatch.setattr(LOGGER, "handlers", [stderr_handler()])
    logging.getLogger("alma_async._http").warning("It says %s", half)
    capsys.readouterr().err.encode()
