"""Publishers' real title lists become portfolios: URL, coverage statements, and nothing lost on the way."""

from __future__ import annotations

import csv

import pytest

from alma_async import sim
from alma_async.load import BadRow, Load, read_rows
from alma_async.load.entries import State
from alma_async.load.journal_file import JournalFile
from tests.conftest import SHARED, institution

LISTS = {
    # file: rows that make titles, titles refused
    "folio_Testdata_KBART_AnnualReviews.tsv": (60, 5),
    "gokb_journals.cambridge.org_AllTitles_2015-07-14.txt": (468, 0),
}


def a_map(path, target):
    """A map of each list's identifiers to MMS ids, made for the purpose: one id for each pair of identifiers."""
    pairs = {}
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            names = [
                row[c]
                for c in ("print_identifier", "online_identifier")
                if (row[c] or "").strip() not in ("", "n/a")
            ]
            known = next((pairs[n] for n in names if n in pairs), f"99{len(pairs) + 1:08}")
            for name in names:
                pairs.setdefault(name, known)
    target.write_text("".join(f"{name}\t{mms}\n" for name, mms in pairs.items()), encoding="utf-8")
    return target


@pytest.mark.parametrize("name", LISTS)
async def test_a_real_list_is_loaded(name, tmp_path):
    """Each title of the list is one portfolio with its URL and all its coverage; refused rows say why."""
    path = SHARED / "kbart" / name
    if not path.exists():
        pytest.skip("the publishers' lists are not beside this checkout")
    rows = read_rows(path, mms_map=a_map(path, tmp_path / "map.tsv"))
    wanted = [row for row in rows if not isinstance(row, BadRow)]
    good, refused = LISTS[name]
    async with institution(latency=0.2) as (server, alma):
        load = Load(
            alma,
            collection_id=sim.DEMO_COLLECTION,
            service_id=sim.DEMO_SERVICE,
            journal=tmp_path / "j" / "a.load",
        )
        report = await load.run(rows)
        assert (report.created, report.rejected, report.review, report.pending) == (good, refused, 0, 0)
        assert server.world.tally.rejected.total() == 0
        with JournalFile(tmp_path / "j" / "a.load") as journal:
            entries = {entry.line: entry for entry in journal.entries()}
        assert all(entry.message for entry in entries.values() if entry.state is State.REJECTED)
        for row in wanted:
            held = server.world.portfolios.all[entries[row.line].portfolio_id]
            assert held["linking_details"]["static_url"] == f"jkey={row.values['url']}"
            statements = held["coverage_details"]["local_date_coverage_parameters"]
            assert len(statements) == len(row.coverage or ())
            for statement, coverage in zip(statements, row.coverage or (), strict=True):
                assert statement.get("from_year") == coverage.from_year
                assert statement.get("from_volume") in (coverage.from_volume, "")


async def test_several_statements_and_an_embargo(tmp_path):
    """A title with gaps gets a statement for each of its rows, and its moving wall."""
    columns = ["publication_title", "online_identifier", "date_first_issue_online", "num_first_vol_online"]
    columns += [
        "date_last_issue_online",
        "title_url",
        "title_id",
        "embargo_info",
        "coverage_depth",
        "publication_type",
        "mms_id",
    ]
    common = {
        "publication_title": "Анналы",
        "online_identifier": "2049-3630",
        "title_url": "https://x.example/a",
        "title_id": "a",
        "embargo_info": "P18M",
        "coverage_depth": "fulltext",
        "publication_type": "Serial",
        "mms_id": "991122334455",
    }
    parts = [
        {
            "date_first_issue_online": "1990-02",
            "date_last_issue_online": "1995",
            "num_first_vol_online": "S7",
        },
        {"date_first_issue_online": "2001", "date_last_issue_online": ""},
    ]
    lines = [
        "\t".join(columns),
        *("\t".join({**common, **part}.get(c, "") for c in columns) for part in parts),
    ]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    async with institution() as (server, alma):
        load = Load(
            alma,
            collection_id=sim.DEMO_COLLECTION,
            service_id=sim.DEMO_SERVICE,
            journal=tmp_path / "j" / "a.load",
        )
        assert (await load.run(read_rows(path))).created == 1
        (held,) = server.world.portfolios.all.values()
    details = held["coverage_details"]
    assert [
        (s.get("from_year"), s.get("until_year") or None) for s in details["local_date_coverage_parameters"]
    ] == [
        ("1990", "1995"),
        ("2001", None),
    ]
    assert details["local_date_coverage_parameters"][0]["from_volume"] == "S7"
    embargo = details["local_embargo_information"]
    assert (embargo["embargo_operator"]["value"], int(embargo["number_of_months"])) == (">", 18)
