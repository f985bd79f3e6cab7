"""KBART: each trap of published lists, and what a line means for a portfolio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import pytest

from alma_async.load.readers import RowSource
from alma_async.load.row import BadRow, Coverage, Embargo, InputError, Period, Row

Opened = Callable[..., RowSource]

PHASE_ONE = [
    "publication_title", "print_identifier", "online_identifier", "date_first_issue_online", "num_first_vol_online",
    "num_first_issue_online", "date_last_issue_online", "num_last_vol_online", "num_last_issue_online", "title_url",
    "first_author", "title_id", "embargo_info", "coverage_depth", "coverage_notes", "publisher_name",
]  # fmt: skip
PHASE_TWO = [
    *(name.replace("coverage_notes", "notes") for name in PHASE_ONE),
    "publication_type", "date_monograph_published_print", "date_monograph_published_online", "monograph_volume",
    "monograph_edition", "first_editor", "parent_publication_title_id", "preceding_publication_title_id", "access_type",
]  # fmt: skip
WITH_ID = [*PHASE_TWO, "mms_id"]

TIDES = {
    "publication_title": "Tide Letters",
    "print_identifier": "2434-561X",
    "online_identifier": "2049-3630",
    "title_url": "https://example.org/tides",
    "title_id": "tides",
    "coverage_depth": "fulltext",
    "publication_type": "serial",
    "access_type": "P",
    "mms_id": "991",
}


def kbart(*lines: dict[str, str], header: Iterable[str] = WITH_ID, end: str = "\n") -> str:
    """A list of lines under a header, as a publisher would write it."""
    names = list(header)
    return "".join(
        "\t".join(cells) + end
        for cells in [names, *([line.get(name, "") for name in names] for line in lines)]
    )


def only(source: RowSource) -> Row:
    """The one row of a file, which must be good."""
    (row,) = source
    assert isinstance(row, Row), row
    return row


def rejected(source: RowSource) -> BadRow:
    """The one row of a file, which must be bad."""
    (row,) = source
    assert isinstance(row, BadRow), row
    return row


def test_phase_two(opened: Opened) -> None:
    """A line of phase II becomes ids, values, coverage as text at the precision given, and embargo."""
    line = TIDES | {
        "date_first_issue_online": "1998-03",
        "num_first_vol_online": "S7",
        "num_first_issue_online": "3-4",
        "date_last_issue_online": "2010-12-31",
        "num_last_vol_online": "01",
        "embargo_info": "R2Y;P6M",
        "notes": "Hybrid",
    }
    assert only(opened(kbart(line))) == Row(
        line=2,
        lines=(2,),
        mms_id="991",
        identifiers=("2049-3630", "2434-561X"),
        title="Tide Letters",
        values={"url": "https://example.org/tides", "material_type": "JOURNAL", "internal_description": "Hybrid"},
        coverage=(
            Coverage(
                from_year="1998", from_month="03", from_volume="S7", from_issue="3-4",
                until_year="2010", until_month="12", until_day="31", until_volume="01",
            ),
        ),
        embargo=Embargo(last=Period(2, "Y"), except_last=Period(6, "M")),
    )  # fmt: skip


def test_phase_one(opened: Opened) -> None:
    """Phase I has neither type nor access: no material type is invented and nothing is warned about."""
    line = TIDES | {"coverage_notes": "From the archive", "coverage_depth": "Volltext", "own_anchor": "x"}
    row = only(opened(kbart(line, header=[*PHASE_ONE, "own_anchor", "mms_id"])))
    assert row.values == {"url": "https://example.org/tides", "internal_description": "From the archive"}
    assert not row.warnings


@pytest.mark.parametrize("notes", ["public_note", "internal_description", None])
def test_notes_are_a_setting(opened: Opened, notes: str | None) -> None:
    """The publisher's notes go where the user says, or nowhere."""
    row = only(opened(kbart(TIDES | {"notes": "Hybrid"}), notes=notes))
    assert {name for name, text in row.values.items() if text == "Hybrid"} == ({notes} if notes else set())


def test_aliases(opened: Opened) -> None:
    """Known misspellings of a header stand for the column, unless the column is there as well; unknown columns are read over."""
    line = TIDES | {
        "publicaton_title": "Tide Letters",
        "notes": "right",
        "coverage_notes": "wrong",
        "parent_publication_id": "p",
    }
    header = ["publicaton_title", *WITH_ID[1:], "coverage_notes", "parent_publication_id"]
    row = only(opened("\ufeff" + kbart(line, header=header)))
    assert (row.title, row.values["internal_description"]) == ("Tide Letters", "right")


def test_old_mac_file(opened: Opened) -> None:
    """CR-only line ends, unnamed trailing columns and blank rows at the end are read through, the blank rows counted."""
    text = kbart(TIDES, end="\t\t\t\t\r") + "\t" * 29 + "\r" + "\t" * 29 + " \r"
    source = opened(text)
    only(source)
    assert source.warnings == ("blank rows skipped: 2",)


def test_quoted_fields(opened: Opened) -> None:
    """Quotes that a spreadsheet put around a title with a comma go; no other quote joins lines or cells."""
    lines = [
        TIDES
        | {
            "publication_title": '"Salt, ""Smoke"" and Ice"',
            "online_identifier": "",
            "title_id": "a",
            "title_url": "",
        },
        TIDES | {"publication_title": '"Half quoted', "title_id": "b", "title_url": "", "mms_id": "992"},
        TIDES
        | {
            "publication_title": "Next",
            "print_identifier": "",
            "title_id": "c",
            "title_url": "",
            "mms_id": "993",
        },
    ]
    assert [row.title for row in opened(kbart(*lines))] == ['Salt, "Smoke" and Ice', '"Half quoted', "Next"]


def test_missing_tab(opened: Opened) -> None:
    """A missing tab rejects its row alone, by line."""
    text = kbart(
        TIDES,
        TIDES
        | {"title_id": "next", "online_identifier": "0028-0836", "print_identifier": "", "mms_id": "992"},
    )
    bad, good = opened(text.replace("Tide Letters\t2434", "Tide Letters 2434", 1))
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.title) == (2, "Tide Letters 2434-561X")
    assert "has 25 cells under a header of 26" in bad.problems[0].reason
    assert isinstance(good, Row)


def test_monograph(opened: Opened) -> None:
    """The dates of a monograph are no coverage, wherever the list puts them."""
    book = TIDES | {
        "publication_type": "Monograph",
        "print_identifier": "n/a",
        "online_identifier": "0-306-40615-2",
        "date_monograph_published_online": "2012",
    }
    row = only(opened(kbart(book)))
    assert (row.values["material_type"], row.coverage, row.warnings) == ("BOOK", None, ())
    row = only(opened(kbart(book | {"date_first_issue_online": "2012"})))
    assert (row.coverage, row.warnings) == (None, ("the coverage of a monograph is not loaded",))


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"coverage_depth": "Full  Text"}, ()),
        ({"coverage_depth": "abstracts"}, ("coverage_depth is abstracts, not full text",)),
        ({"access_type": "f"}, ()),
        ({"access_type": "Paid"}, ("access_type is Paid, neither F nor P",)),
        ({"access_type": ""}, ("access_type is blank, neither F nor P",)),
        (
            {"publication_type": "blog"},
            ("publication_type blog is neither serial nor monograph: no material type is set",),
        ),
    ],
)
def test_warnings(opened: Opened, change: dict[str, str], warning: tuple[str, ...]) -> None:
    """What Alma has no field for, or the format no word for, is told and not written."""
    assert only(opened(kbart(TIDES | change))).warnings == warning


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        ({"date_first_issue_online": "2011-13-30"}, "date_first_issue_online", "does not exist"),
        ({"date_last_issue_online": "soon"}, "date_last_issue_online", "is no date"),
        (
            {"date_first_issue_online": "2011", "date_last_issue_online": "2010-12"},
            "date_first_issue_online",
            "is later than",
        ),
        ({"title_url": "see the publisher"}, "title_url", "is no URL"),
        ({"mms_id": "9.91E+17"}, "mms_id", "Excel rounded"),
        (
            {"mms_id": "", "print_identifier": "", "online_identifier": "n/a"},
            "mms_id",
            "is missing, and the title has neither ISSN nor ISBN",
        ),
        (
            {
                "print_identifier": "",
                "online_identifier": "n/a",
                "title_id": "",
                "title_url": "",
                "mms_id": "",
            },
            "",
            "the title is not identified",
        ),
    ],
)
def test_rejected(opened: Opened, change: dict[str, str], column: str, reason: str) -> None:
    """A wrong cell, or nothing that names the record, rejects the title with column and reason."""
    problem = rejected(opened(kbart(TIDES | change))).problems[0]
    assert (problem.line, problem.column) == (2, column)
    assert reason in problem.reason


@pytest.mark.parametrize("key", ["24345610", "2434561X", "2049-3630", "tides", "https://example.org/tides"])
def test_map(opened: Opened, tmp_path: Path, key: str) -> None:
    """The map may name a title by either identifier, its title_id or its URL; by anything else it does not match."""
    mms_map = tmp_path / "map.csv"
    mms_map.write_text(f"identifier,mms_id\n{key},992\n")
    (row,) = opened(kbart(TIDES, header=PHASE_TWO), mms_map=mms_map)
    assert (row.mms_id == "992") if isinstance(row, Row) else key == "24345610"


def test_found_by_identifiers(opened: Opened) -> None:
    """Without MMS id and map a title is left to be found by its identifiers, in one spelling and each once."""
    row = only(
        opened(
            kbart(
                TIDES | {"print_identifier": "24345 61x", "online_identifier": "0-306-40615-2", "mms_id": ""}
            )
        )
    )
    assert (row.mms_id, row.identifiers) == (None, ("2434-561X", "9780306406157"))
    row = only(opened(kbart(TIDES | {"print_identifier": "2049-3630"}, header=PHASE_TWO)))
    assert (row.mms_id, row.identifiers) == (None, ("2049-3630",))


def test_not_in_the_map(opened: Opened, tmp_path: Path) -> None:
    """A map is taken to be complete: a title that it does not know is rejected, identifiers or not."""
    (tmp_path / "map").write_text("other,992\n")
    (problem,) = rejected(opened(kbart(TIDES, header=PHASE_TWO), mms_map=tmp_path / "map")).problems
    assert (problem.column, problem.reason) == (
        "mms_id",
        "is missing: neither a column mms_id nor the map of MMS ids names the record of this title",
    )


def test_two_records(opened: Opened, tmp_path: Path) -> None:
    """Where map and column name two records for one title, none is chosen."""
    mms_map = tmp_path / "map.csv"
    mms_map.write_text("tides,992\n")
    (problem,) = rejected(opened(kbart(TIDES), mms_map=mms_map)).problems
    assert (problem.text, problem.reason) == (
        "991, 992",
        "are several records for one title; leave the right one",
    )


def test_rows_come_as_they_are_complete(opened: Opened) -> None:
    """The lines of a title are joined from anywhere in the file, and other titles do not wait for them."""
    other = TIDES | {"publication_title": "Other", "online_identifier": "", "mms_id": "992"}
    lines = [
        TIDES | {"date_first_issue_online": "1990", "date_last_issue_online": "1995"},
        other,
        TIDES | {"date_first_issue_online": "2000", "mms_id": ""},
    ]
    assert [(row.title, row.lines) for row in opened(kbart(*lines))] == [
        ("Other", (3,)),
        ("Tide Letters", (2, 4)),
    ]


def test_changed_while_read(opened: Opened) -> None:
    """Lines that wait for others which a change of the file took away are an error, and are not lost silently."""
    others = [
        TIDES
        | {"print_identifier": "", "online_identifier": "", "publication_title": f"T{n}", "mms_id": f"99{n}"}
        for n in range(999)
    ]
    source = opened(kbart(TIDES, *others, TIDES))
    rows = iter(source)
    next(rows)
    source.path.write_bytes(b"")
    with pytest.raises(InputError, match="changed while it was read"):
        list(rows)


def test_column_twice(opened: Opened) -> None:
    """A list that names a column twice is rejected, if the column matters."""
    with pytest.raises(InputError, match="names columns twice: title_url"):
        opened(kbart(TIDES, header=[*WITH_ID, "title_url"]))
    only(opened(kbart(TIDES, header=[*WITH_ID, "first_editor"])))


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_any_delimiter(opened: Opened, delimiter: str) -> None:
    """A KBART header may be separated by anything; under another delimiter than the tab a cell is quoted as in CSV."""
    text = kbart(TIDES | {"publication_title": f'"Tide{delimiter} ""Letters"""', "notes": "x"}).replace(
        "\t", delimiter
    )
    row = only(opened(text))
    assert (row.title, row.values["internal_description"], row.mms_id) == (
        f'Tide{delimiter} "Letters"',
        "x",
        "991",
    )


@pytest.mark.parametrize("name", ["MMS Id", "mms-id", "MMS ID", "mmsid", "\ufeffMMS_ID"])
def test_headers_in_other_spellings(opened: Opened, name: str) -> None:
    """Blanks, hyphens and capitals in a column's name are no other name."""
    header = [column.replace("_", " ").title() for column in PHASE_TWO]
    line = {new: TIDES.get(old, "") for new, old in zip(header, PHASE_TWO, strict=True)} | {name: "992"}
    row = only(opened(kbart(line, header=[*header, name])))
    assert (row.mms_id, row.values["url"]) == ("992", TIDES["title_url"])


def test_columns_that_are_not_read(opened: Opened) -> None:
    """What is not read of a header is told before a row is, with the column that may be meant; the standard's own is not."""
    misspelt = {
        "title_url": "url",
        "date_first_issue_online": "date_first_issue",
        "notes": "subject",
    }
    source = opened(kbart(TIDES, header=[misspelt.get(name, name) for name in WITH_ID]))
    assert source.warnings == (
        "column date_first_issue is not read; perhaps date_first_issue_online is meant",
        "column url is not read; perhaps title_url is meant",
        "columns not read: subject",
    )
    assert not opened(kbart(TIDES)).warnings
    assert "no column says anything" in opened("publication_title\tprint_identifier\tmms_id\n").warnings[-1]


@pytest.mark.parametrize(
    "content",
    [
        "mms_id\n991\n",
        "MMS Id\n991\n",
        "publication_title\tprint_identifier\tmms_id\nA\t0306-4522\t991\n",
        "publication_title\tprint_identifier\tmms_id\ttitle_url\nA\t0306-4522\t991\t\n",
    ],
)
def test_a_list_of_names_alone_where_no_row_makes_a_portfolio(opened: Opened, content: str) -> None:
    """That a row makes an empty portfolio is a warning only where the action can make one."""
    assert "empty" in warned(opened(content))
    for action in ("activate", "deactivate", "delete"):
        assert warned(opened(content, action=action)) == ""


def warned(source: RowSource) -> str:
    """All warnings of a list, once it was read."""
    only(source)
    return " / ".join(source.warnings)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            {"print_identifier": "1234-5678"},
            "print_identifier 1234-5678 is no ISSN: its check digit is wrong",
        ),
        (
            {"online_identifier": "10.1079/9780851991283.0000"},
            "online_identifier 10.1079/9780851991283.0000 is no ISSN and no ISBN",
        ),
        ({"notes": "bad \x97 char"}, "notes bad"),
        ({"embargo_info": "2018-05-01"}, "embargo_info 2018-05-01 is a date and no embargo: none is written"),
        ({"embargo_info": "6 months"}, "embargo_info 6 months is read as P6M"),
        ({"title_url": "www.example.org/x"}, "is written as http://www.example.org/x"),
        ({"publication_title": ""}, "publication_title  is missing"),
        ({"date_first_issue_online": "01/02/2003"}, "the year alone is written"),
        ({"date_last_issue_online": "9999-12-31"}, "no last date is written"),
    ],
)
def test_what_is_doubtful(opened: Opened, change: dict[str, str], warning: str) -> None:
    """A cell that the row can do without, or that may mean several things, costs a warning; with ``strict`` the row."""
    assert warning in " / ".join(only(opened(kbart(TIDES | change))).warnings)
    rejected(opened(kbart(TIDES | change), strict=True))


def test_two_identifiers_in_a_cell(opened: Opened, tmp_path: Path) -> None:
    """All identifiers of a cell name the title, and all are looked for in the map."""
    line = TIDES | {"print_identifier": "2049-3630、0306-4522", "online_identifier": "", "mms_id": ""}
    assert only(opened(kbart(line, header=PHASE_TWO))).identifiers == ("0306-4522", "2049-3630")
    (tmp_path / "map").write_text("0306-4522\t992\n")
    assert only(opened(kbart(line, header=PHASE_TWO), mms_map=tmp_path / "map")).mms_id == "992"


def test_a_map_that_contradicts_itself(opened: Opened, tmp_path: Path) -> None:
    """An identifier of two records costs the titles that it names, and no others; the map is told with its lines."""
    other = TIDES | {
        "print_identifier": "0306-4522",
        "online_identifier": "",
        "title_id": "b",
        "title_url": "",
    }
    (tmp_path / "map").write_text("2049-3630\t991\n2049-3630\t992\n0306-4522\t993\n")
    source = opened(kbart(TIDES, other, header=PHASE_TWO), mms_map=tmp_path / "map")
    bad, good = source
    assert isinstance(bad, BadRow)
    assert "several records" in bad.reason
    assert isinstance(good, Row)
    assert "(lines 1, 2)" in source.warnings[0]


@pytest.mark.parametrize("embargo", ["P365D", "R10Y;P6M", "P6M;R10Y", "R10Y;P30D"])
def test_an_embargo_that_no_portfolio_holds(opened: Opened, embargo: str) -> None:
    """Days and two walls are kept for the load to reject; or the rest is loaded and that is told."""
    row = only(opened(kbart(TIDES | {"embargo_info": embargo})))
    assert isinstance(row.embargo, Embargo)
    assert row.embargo.unwritable
    row = only(opened(kbart(TIDES | {"embargo_info": embargo}), ignore_embargo=True))
    assert row.embargo is None
    assert "embargo_info is not written" in row.warnings[0]


@pytest.mark.parametrize("text", ["none", "N/A", "-", "P0Y", "0", "null"])
def test_no_embargo(opened: Opened, text: str) -> None:
    """How lists write that there is no embargo."""
    row = only(opened(kbart(TIDES | {"embargo_info": text})))
    assert (row.embargo, row.warnings) == (None, ())


@pytest.mark.parametrize(
    ("change", "availability"),
    [
        ({}, None),
        ({"status": "Current"}, None),
        ({"status": "Retired"}, "10"),
        ({"status": "deleted"}, "10"),
        ({"status": "expected"}, "10"),
        ({"status": "ceased"}, None),
        ({"access_end_date": "2020-12-31"}, "10"),
        ({"access_end_date": "2026-11"}, None),
        ({"access_end_date": "9999"}, None),
        ({"access_start_date": "2026-11-29"}, "10"),
        ({"access_start_date": "2026-11-28"}, None),
        ({"embargo_info": "2030-01-01"}, "10"),
    ],
)
def test_titles_that_are_not_current(
    opened: Opened, change: dict[str, str], availability: str | None
) -> None:
    """A title that is retired, deleted, expected, over or not yet there is not active, and its row says why."""
    header = [*WITH_ID, "status", "access_start_date", "access_end_date"]
    row = only(opened(kbart(TIDES | change, header=header), today=date(2026, 11, 28)))
    assert row.values.get("availability") == availability
    assert any("not active" in warning for warning in row.warnings) is (availability is not None)


def test_one_title_current_and_not(opened: Opened) -> None:
    """Lines of one portfolio of which one is retired are for a person to review."""
    lines = [
        TIDES | {"date_first_issue_online": "1990", "status": "retired"},
        TIDES | {"date_first_issue_online": "2001"},
    ]
    assert rejected(opened(kbart(*lines, header=[*WITH_ID, "status"]))).problems[0].column == "status"


def test_days_and_months_in_the_order_of_the_list(opened: Opened) -> None:
    """One date that shows the order of days and months tells it for the whole list, wherever it stands."""
    lines = [
        TIDES
        | {
            "mms_id": f"99{n}",
            "date_first_issue_online": text,
            "print_identifier": "",
            "online_identifier": "",
            "title_url": f"https://x.example/{n}",
            "title_id": "",
        }
        for n, text in enumerate(("01/02/2003", "31/12/2003"))
    ]
    for order in (lines, lines[::-1]):
        found = {row.mms_id: row.coverage for row in opened(kbart(*order)) if isinstance(row, Row)}
        assert found["990"] == (Coverage(from_year="2003", from_month="02", from_day="01"),)


ACCESS = [*WITH_ID, "access_start_date", "access_end_date"]
TODAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ({"access_end_date": "05/10/2026"}, "access ended 2026-10-05 or 2026-05-10"),
        ({"access_start_date": "05/10/2027"}, "access begins 2027-10-05 or 2027-05-10"),
        ({"embargo_info": "05/10/2027"}, "access begins 2027-10-05 or 2027-05-10"),
        ({"access_end_date": "Q3 2025"}, "access ended 2025"),
    ],
)
def test_access_that_is_over_however_its_date_is_read(
    opened: Opened, cell: dict[str, str], told: str
) -> None:
    """A date of access in the past, or to come, in both of its readings makes a title not active."""
    row = only(opened(kbart(TIDES | cell, header=ACCESS), today=TODAY))
    assert row.values["availability"] == "10"
    assert f"{told}: the portfolio is not active" in row.warnings


@pytest.mark.parametrize("column", ["access_end_date", "access_start_date", "embargo_info"])
@pytest.mark.parametrize("shows", ["31/12/2020", "12/31/2020"])
def test_dates_of_access_in_the_order_of_the_list(opened: Opened, column: str, shows: str) -> None:
    """A date of access is read in the order of day and month that another line of the list shows, in any column of dates."""
    other = {
        "publication_title": "Other",
        "title_url": "https://example.org/o",
        "title_id": "o",
        "mms_id": "992",
    }
    text = "05/12/2026" if (shows == "31/12/2020") == (column != "access_end_date") else "12/05/2026"
    lines = (
        TIDES | {column: text},
        TIDES | other | {"print_identifier": "", "online_identifier": "1234-5679", "access_end_date": shows},
    )
    row = next(iter(opened(kbart(*lines, header=ACCESS), today=TODAY)))
    assert isinstance(row, Row)
    assert row.values["availability"] == "10"


@pytest.mark.parametrize(
    "cell",
    [
        {"access_end_date": "05/12/2026"},
        {"access_end_date": "Q3 2026"},
        {"access_end_date": "2026.1"},
        {"access_end_date": "2563"},
        {"access_end_date": "1445"},
        {"access_start_date": "05/12/2026"},
        {"embargo_info": "05/12/2026"},
    ],
)
def test_dates_of_access_that_are_not_sure(opened: Opened, cell: dict[str, str]) -> None:
    """A date that leaves open whether a title is current is a warning of its row, and rejects it with --strict."""
    ((column, text),) = cell.items()
    content = kbart(TIDES | cell, header=ACCESS)
    row = only(opened(content, today=TODAY))
    assert "availability" not in row.values
    told = " ".join(row.warnings)
    assert text in told
    assert column in told
    assert "not sure" in told or "calendar" in told
    assert rejected(opened(content, today=TODAY, strict=True)).problems[0].column == column


@pytest.mark.parametrize("text", ["0 " * 40 + "x", "1" + " " * 100_000 + "!"], ids=["zeros", "blanks"])
def test_no_embargo_takes_long_to_read(tmp_path: Path, text: str) -> None:
    """A cell of any length is told from an embargo at once."""
    (tmp_path / "list.txt").write_text(kbart(TIDES | {"embargo_info": text}), encoding="utf-8")
    program = "import sys; from alma_async.load import read_rows; print(len(list(read_rows(sys.argv[1]))))"
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "list.txt")],
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert told.stdout.strip() == b"1"


@pytest.mark.parametrize("column", ["date_first_issue_online", "date_last_issue_online"])
@pytest.mark.parametrize("text", ["2563", "2555-01", "2100", "3000", "1389/5/12", "1445", "1599", "5770"])
def test_years_of_another_calendar(opened: Opened, column: str, text: str) -> None:
    """A year that no journal of the common era has rejects the row, and stands for no end."""
    bad = rejected(opened(kbart(TIDES | {column: text})))
    assert [problem.column for problem in bad.problems] == [column]
    assert "calendar" in bad.reason


@pytest.mark.parametrize("text", ["2099", "2999", "9999", "31/12/2099"])
def test_years_that_stand_for_no_end(opened: Opened, text: str) -> None:
    """The years that lists write for no end are read as none, with a warning."""
    row = only(opened(kbart(TIDES | {"date_first_issue_online": "1600", "date_last_issue_online": text})))
    assert row.coverage == (Coverage(from_year="1600"),)
    assert "present" in row.warnings[0]
