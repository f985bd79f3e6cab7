"""Publishers' lists against what their load leaves in Alma, by a second reading that shares no code with the readers.

Each raw line is split here in the plainest way; what it says is then looked for in the portfolio that its row became.
"""

from __future__ import annotations

import csv
import random
import re
from collections import Counter, defaultdict

import pytest

from alma_async import sim
from alma_async.load import BadRow, Load, LoadOptions, read_rows
from alma_async.load.journal_file import JournalFile
from tests.conftest import SHARED, institution

# List → titles that are refused, each looked at: free and paid for dates that overlap; two embargoes at one portfolio.
LISTS = {
    "folio_Testdata_KBART_AnnualReviews.tsv": 5,
    "gokb_journals.cambridge.org_AllTitles_2015-07-14.txt": 0,
    "publishers/IEEEXplore_Global_All-Journals_2019-05-13.txt": 0,
    "publishers/JSTOR_GLOBAL_ALLEBOOKS_2025-07-21.txt": 0,
    "publishers/OUP_GLOBAL_ALLTITLES_2021-01-22.txt": 0,
    "publishers/WILEY_GLOBAL_ALLJOURNALS_2026-02-01.txt": 0,
    "publishers/cabi_ebooks_2017-04-12.txt": 0,
    "publishers/hrj_Journal_2021-12-08.txt": 0,
    "publishers/smf_titles_2016-10-27.txt": 0,
}


def raw_lines(path):
    """Line number → cells by name, of each line that holds anything."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    found, header = {}, None
    for number, raw in enumerate(re.split(rb"\r\n|\n|\r", content), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            line = raw.decode("cp1252", "replace")
        cells = [
            re.sub(r'^"(.*)"$', r"\1", cell.strip()).replace('""', '"').strip() for cell in line.split("\t")
        ]
        if header is None:
            header = cells
        elif any(cells):
            found[number] = dict(zip(header, cells, strict=False))
    return found


def names(line):
    """All that a map may know a line by."""
    cells = [line.get(column, "").replace("- ", "-") for column in ("online_identifier", "print_identifier")]
    ids = [
        word
        for cell in cells
        for word in re.findall(r"[\dXx-]{10,17}|\d{4}-?\d{3}[\dXx]", cell)
        if "/" not in cell
    ]
    own = [re.sub("-", "", word).upper() for word in ids] or [line["alone"]]
    return [name for name in own if name and name != "N/A"]


def a_map(lines, target):
    """Map each name to a record, lines that share a name to one; record by line. A line without ISSN and ISBN goes by its address,
    unless others have that too.
    """
    addresses = Counter(line.get("title_url") for line in lines.values())
    for line in lines.values():
        line["alone"] = line.get("title_url" if addresses[line.get("title_url")] == 1 else "title_id")
    group = {}

    def top(name):
        while group.setdefault(name, name) != name:
            name = group[name]
        return name

    for line in lines.values():
        first, *others = names(line)
        for other in (first, *others):
            group[top(other)] = top(first)
    ids = {name: f"99{n:08}" for n, name in enumerate(sorted({top(name) for name in group}))}
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows((name, ids[top(name)]) for name in sorted(group))
    return {number: ids[top(names(line)[0])] for number, line in lines.items()}


def digits(text):
    """The numbers of a date, in the order year, month, day, and none for what stands for the present."""
    numbers = [int(n) for n in re.findall("[0-9]+", text)]
    if len(numbers) == 1 and len(text) in (6, 8):
        numbers = [int(n) for n in (text[:4], text[4:6], text[6:8]) if n]
    if numbers and numbers[-1] > 1000:
        numbers.reverse()
    return tuple(n for n in numbers if n)


def told(statement, end):
    """A statement's date, and volume and issue, of one end."""
    parts = (statement.get(f"{end}_{part}") for part in ("year", "month", "day"))
    date = tuple(int(part.get("value") if isinstance(part, dict) else part) for part in parts if part)
    return date, statement.get(f"{end}_volume") or "", statement.get(f"{end}_issue") or ""


def said(line):
    """The same of a raw line; None where it says nothing of it."""
    first = [
        line.get(f"{name}_online", "") for name in ("date_first_issue", "num_first_vol", "num_first_issue")
    ]
    last = [line.get(f"{name}_online", "") for name in ("date_last_issue", "num_last_vol", "num_last_issue")]
    if line.get("publication_type", "").casefold() == "monograph" or not any((*first, *last)):
        return None
    return (digits(first[0]), *first[1:]), (digits(last[0]), *last[1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
async def test_each_line_is_what_alma_holds(name, tmp_path):
    """Every line of a list is in the one portfolio of its record and URL, with its coverage, embargo and address, or was refused
    for what was looked at; no portfolio says anything that no line says.
    """
    path = SHARED / "kbart" / name
    if not path.exists():
        pytest.skip("the publishers' lists are not beside this checkout")
    lines = raw_lines(path)
    records = a_map(lines, tmp_path / "map.tsv")
    source = read_rows(path, mms_map=tmp_path / "map.tsv")
    rows = list(source)
    refused = [row for row in rows if isinstance(row, BadRow)]
    assert len(refused) == LISTS[name], "\n".join(f"{row.line}: {row.reason}" for row in refused)
    assert sorted(n for row in rows for n in row.lines) == sorted(lines)
    async with institution(latency=0.1, coverage_in_post=True) as (server, alma):
        where = {"collection_id": sim.DEMO_COLLECTION, "service_id": sim.DEMO_SERVICE}
        load = Load(alma, **where, journal=tmp_path / "a.load", options=LoadOptions(circuit_breaker=False))
        report = await load.run(source)
        assert (report.rejected, report.review, report.pending) == (len(refused), 0, 0)
        with JournalFile(tmp_path / "a.load") as journal:
            after, held = 0, {}
            while entries := journal.entries(after=after):
                held |= {entry.line: entry.portfolio_id for entry in entries}
                after = entries[-1].n
        there = server.world.portfolios.all
    assert len(there) == len(rows) - len(refused)
    for row in rows:
        if not isinstance(row, BadRow):
            compare([lines[n] for n in row.lines], {records[n] for n in row.lines}, there[held[row.line]])


def compare(lines, records, portfolio):
    """One portfolio beside the raw lines that it is of."""
    assert {portfolio["resource_metadata"]["mms_id"]["value"]} == records
    urls = {line["title_url"] for line in lines} - {""}
    written = (portfolio["linking_details"].get("static_url") or "").removeprefix("jkey=")
    assert written in urls or not urls or written.removeprefix("https://doi.org/") in urls
    details = portfolio["coverage_details"]
    statements = {
        (told(one, "from"), told(one, "until")) for one in details["local_date_coverage_parameters"]
    }
    assert statements == {one for line in lines if (one := said(line))}
    embargoes = {line.get("embargo_info", "") for line in lines}
    wall = details["local_embargo_information"] or {}
    number = (wall.get("number_of_years") or 0, wall.get("number_of_months") or 0)
    wanted = {
        tuple(int(m[2]) if m[3] == unit else 0 for unit in "YM")
        for e in embargoes
        if (m := re.match("([RP])(.*)([YM])$", e))
    }
    assert (wanted or {(0, 0)}) == {tuple(map(int, number))}
    kinds = {line.get("publication_type", "").casefold() for line in lines} - {""}
    material = {"serial": "JOURNAL", "monograph": "BOOK"}.get(kinds.pop() if kinds else "", "")
    assert material == (portfolio["material_type"].get("value") or "")


@pytest.mark.parametrize("name", LISTS)
def test_the_order_of_a_list_changes_nothing(name, tmp_path):
    """A list whose lines are shuffled gives the same rows but for their numbers and places."""
    path = SHARED / "kbart" / name
    if not path.exists():
        pytest.skip("the publishers' lists are not beside this checkout")
    a_map(raw_lines(path), tmp_path / "map.tsv")
    header, *lines = [line for line in re.split(rb"\r\n|\n|\r", path.read_bytes()) if line]
    found = []
    for seed in (None, 1, 2):
        if seed is not None:
            random.Random(seed).shuffle(lines)
        shuffled = tmp_path / "list.txt"
        shuffled.write_bytes(b"\n".join([header, *lines, b""]))
        found.append(content(read_rows(shuffled, mms_map=tmp_path / "map.tsv")))
    assert found[0] == found[1] == found[2]


def content(rows):
    """What is written for each record, and how many titles are refused."""
    good = defaultdict(list)
    for row in rows:
        if isinstance(row, BadRow):
            good["refused"].append((row.title is not None, len(row.lines)))
        else:
            good[row.mms_id].append(
                (sorted(row.values.items()), row.coverage, row.embargo, row.identifiers, len(row.lines))
            )
    return {mms_id: sorted(rows, key=repr) for mms_id, rows in good.items()}
