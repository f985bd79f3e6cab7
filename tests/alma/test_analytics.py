"""Analytics reports against the simulator: all rows once, in spite of lost pages and reports that are not made yet."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from alma_async import BadAnswer, DeadlineExceeded, InvalidRequest, ServerFault, sim
from alma_async.load import read_rows
from tests.alma.hostile import hostile
from tests.conftest import institution

PATH = "/shared/Our Library/Reports/Portfolios & more"
ROUTE = "analytics/reports"


def world(rows=2500, **more):
    made = sim.World.demo()
    columns = ("Portfolio Id", "MMS Id", "Public Note", "Public Note")
    made.analytics.add(
        PATH, columns, [(f"53{n:06}", f"99{n:06}", None, "ä <&>") for n in range(rows)], **more
    )
    return made


async def read(alma, **how):
    return [row async for row in alma.analytics.report(PATH, **how)]


async def test_all_rows_in_their_order():
    """Three pages of a thousand; each row by the headings, empty cells as "", a repeated heading with its number."""
    async with institution(world=world()) as (server, alma):
        rows = await read(alma)
        assert server.world.tally.routes["GET /almaws/v1/analytics/reports"] == 3
    assert [row["Portfolio Id"] for row in rows] == [f"53{n:06}" for n in range(2500)]
    assert rows[0] == {
        "Portfolio Id": "53000000",
        "MMS Id": "99000000",
        "Public Note": "",
        "Public Note (2)": "ä <&>",
    }


async def test_a_report_that_is_being_made():
    """Answers without rows are not its end; it is waited for, and not for ever."""
    async with institution(world=world(10, unready=4)) as (_, alma):
        assert len(await read(alma)) == 10
    async with institution(world=world(10, unready=9999)) as (_, alma):
        with pytest.raises(DeadlineExceeded, match="60 seconds"):
            await read(alma, timeout=60)
    async with institution(world=world(0)) as (_, alma):
        assert await read(alma) == []


@pytest.mark.parametrize("fault", ["cut_after", "truncate", "bad_json"])
async def test_a_lost_page_is_never_passed_over(fault, tmp_path):
    """A page whose answer was lost ends the reading; a download begins anew and has each row once."""
    faults = sim.FaultPlan(rules=[sim.Rule(fault, path=ROUTE, nth=2)])
    async with institution(world=world(), faults=faults) as (_, alma):
        seen = []
        with pytest.raises(Exception, match=r"cut|JSON|broke|closed|lost|answer") as lost:
            async for row in alma.analytics.report(PATH):
                seen.append(row["MMS Id"])  # noqa: PERF401 - it breaks off
        assert not isinstance(lost.value, InvalidRequest)
        assert seen == [f"99{n:06}" for n in range(1000)]
    async with institution(world=world(), faults=faults) as (_, alma):
        assert await alma.analytics.download(PATH, tmp_path / "a.csv") == 2500
    rows = list(read_rows(tmp_path / "a.csv"))
    assert [row.mms_id for row in rows] == [f"99{n:06}" for n in range(2500)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


async def test_what_was_not_processed_is_sent_again():
    """Too many calls a second, and a connection that was never made, cost no page."""
    faults = sim.FaultPlan(rules=[sim.Rule("reject", path=ROUTE, nth=2)])
    async with institution(world=world(), faults=faults) as (_, alma):
        assert len(await read(alma)) == 2500


async def test_a_download_waits_once_for_its_report(tmp_path):
    """A report that is not made in time is given up after that time, and not begun anew: no page was lost."""
    async with institution(world=world(10, unready=9999)) as (_, alma):
        began = alma.clock.now()
        with pytest.raises(DeadlineExceeded, match="60 seconds"):
            await alma.analytics.download(PATH, tmp_path / "a.csv", timeout=60)
        assert alma.clock.now() - began < 70
    assert list(tmp_path.iterdir()) == []


async def test_a_download_that_fails_leaves_nothing(tmp_path):
    """Neither half a file nor another in place of the one that was there."""
    (tmp_path / "a.csv").write_text("before")
    faults = sim.FaultPlan(rules=[sim.Rule("cut_after", path=ROUTE, nth=2, times=None)])
    async with institution(world=world(), faults=faults) as (_, alma):
        with pytest.raises(ServerFault):
            await alma.analytics.download(PATH, tmp_path / "a.csv")
    async with institution(world=world()) as (_, alma):
        with pytest.raises(InvalidRequest):
            await alma.analytics.download("/shared/none", tmp_path / "a.csv")
        with pytest.raises(InvalidRequest, match="path of a report"):
            await alma.analytics.download("Portfolios", tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "before"


async def test_a_page_without_a_way_on(tmp_path):
    """A first page with rows, not finished and without a token: its rows are not given, and it is not asked for again and again."""
    page = (
        "<QueryResult><IsFinished>false</IsFinished><ResultXml><rowset>"
        '<element name="Column1" columnHeading="MMS Id"/><Row><Column1>99</Column1></Row></rowset></ResultXml></QueryResult>'
    )

    def answer(*_):
        assert len(calls) <= 9, "the same page again and again"
        return {"anies": [page]}

    async with hostile(answer) as (calls, alma):
        rows = alma.analytics.report(PATH)
        with pytest.raises(BadAnswer, match="token"):
            await anext(rows)
        assert len(calls) == 1
        with pytest.raises(BadAnswer, match="token"):
            await alma.analytics.download(PATH, tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"anies": []},
        {"anies": ["<QueryResult/>"]},
        {"anies": ["<QueryResult><IsFinished>true</IsFinished>"]},
        {
            "anies": [
                '<!DOCTYPE a [<!ENTITY b "c">]><QueryResult>&b;<IsFinished>true</IsFinished></QueryResult>'
            ]
        },
        {"anies": [7]},
    ],
)
async def test_what_is_no_page(answer):
    """Anything else is said to be none, and never read as an empty report."""
    async with hostile(lambda *_: answer) as (_, alma):
        with pytest.raises(BadAnswer):
            await read(alma)


async def test_a_download_that_is_cancelled_leaves_nothing(tmp_path, monkeypatch):
    """Also where it is cancelled while its file is made."""

    async def aside(_clock, work):
        made = work()
        if (tmp_path / "a.csv").exists() or not list(tmp_path.iterdir()) or any(cut):
            return made
        cut.append(True)
        raise asyncio.CancelledError

    cut = []
    async with institution(world=world()) as (_, alma):
        monkeypatch.setattr(type(alma.clock), "aside", aside)
        with pytest.raises(asyncio.CancelledError):
            await alma.analytics.download(PATH, tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_is_full_keeps_nothing_of_a_download(tmp_path, monkeypatch):
    """What was written is removed, and the error is the disk's."""
    real = Path.open

    class Full:
        def __init__(self, *given, **named):
            self.file = real(*given, **named)

        def write(self, text):
            return self.file.write(text)

        def close(self):
            self.file.close()
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(*given, **named):
        return Full(*given, **named)

    async with institution(world=world()) as (_, alma):
        monkeypatch.setattr(Path, "open", opened)
        with pytest.raises(OSError, match="No space"):
            await alma.analytics.download(PATH, tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
