"""Opening a file: which format it is, what it holds, how much memory it takes; and the published lists and the sample, whole."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from alma_async.load.readers import RowSource, read_rows
from alma_async.load.readers.identifiers import match_key
from alma_async.load.row import BadRow, InputError, Row
from tests.load.readers.workbooks import xlsx

Opened = Callable[..., RowSource]

ROOT = Path(__file__).resolve().parents[3]
LISTS = ROOT / ".." / "shared" / "kbart"
SAMPLE = ROOT / "alma_async" / "cli" / "sample_titles.txt"

KBART = "publication_title\tonline_identifier\ttitle_id\tmms_id"


def published(name: str) -> Path:
    """A published list, if it lies beside the checkout."""
    if not (path := LISTS / name).exists():
        pytest.skip(f"the published list {name} is not beside this checkout")
    return path


@pytest.mark.parametrize(
    ("content", "options", "format_", "reason"),
    [
        (
            f"{KBART}\n",
            {},
            "kbart",
            "Taken for kbart: the header names publication_title, online_identifier.",
        ),
        ("mms_id,portfolio_id\n", {}, "csv", "Taken for csv: the header names mms_id, portfolio_id."),
        ("mms_id\n", {"format": "csv"}, "csv", "As asked: the header names mms_id."),
        (
            f"{KBART}\n",
            {"format": "kbart"},
            "kbart",
            "As asked: the header names publication_title, online_identifier.",
        ),
    ],
)
def test_format(opened: Opened, content: str, options: dict[str, str], format_: str, reason: str) -> None:
    """The header alone tells the format, and the source says why."""
    source = opened(content, **options)
    assert (source.format, source.reason, list(source)) == (format_, reason, [])


@pytest.mark.parametrize(
    ("content", "options", "named"),
    [
        (
            "title\tissn\te_issn\tft_start_date\n",
            {},
            ["publication_title", "mms_id or portfolio_id", "title, issn, e_issn"],
        ),
        ("A list of titles\n\nof ten lines\n", {}, ["Expected kbart", "Found in line 1: a list of titles"]),
        ("991,https://example.org\n", {}, ["Found in line 1: 991, https://example.org"]),
        ("mms_id\n", {"format": "kbart"}, ["Expected kbart", "mms_id"]),
        (f"{KBART}\n", {"format": "csv", "ignore_unknown": False}, ["unknown columns: publication_title"]),
        (
            "mms_id\n",
            {"format": "marc"},
            ["marc is no format; known are auto, kbart, alma-loader, analytics, csv"],
        ),
    ],
    ids=["cufts", "preamble", "no header", "not kbart", "not csv", "no such format"],
)
def test_rejected_by_header(
    opened: Opened, content: str, options: dict[str, object], named: list[str]
) -> None:
    """A file of another kind is rejected with what was looked for and what was found."""
    with pytest.raises(InputError) as rejection:
        opened(content, **options)
    assert all(text in str(rejection.value) for text in named)


def test_map_beside_csv(opened: Opened, tmp_path: Path) -> None:
    """A map that would be ignored is an error."""
    (tmp_path / "map").write_text("a,991\n")
    with pytest.raises(InputError, match="is for KBART"):
        opened("mms_id\n", mms_map=tmp_path / "map")


def test_read_again(opened: Opened) -> None:
    """Each iteration reads the file anew, and the count of blank rows is of one reading."""
    source = opened("mms_id,url\n991,\n,\n992,\n")
    assert not source.warnings
    first = list(source)
    assert first == list(source)
    assert source.warnings == ("blank rows skipped: 1",)


def peak(rows: Iterable[Row | BadRow]) -> int:
    """The most memory that reading these rows takes at a time."""
    tracemalloc.start()
    try:
        assert all(isinstance(row, Row) for row in rows)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_csv(opened: Opened) -> None:
    """Rows of CSV come one by one: a hash of each record stays, neither the file nor the rows (a KB each)."""
    rows = iter(opened("mms_id,public_note\n" + "".join(f"99{n:014},{'x' * 900}\n" for n in range(20_000))))
    assert peak(rows) < 20_000 * 150


def test_memory_of_kbart(opened: Opened) -> None:
    """A KBART list costs some hundred bytes a title, for the count of its lines; rows that stay would cost ten times that."""
    lines = (f"Title {n}\t\tt{n}\t99{n:010}\n" for n in range(6_000))
    assert peak(opened(KBART + "\n" + "".join(lines))) < 6_000 * 350


def test_memory_of_a_workbook(tmp_path: Path) -> None:
    """Neither the rows of a workbook stay nor its texts (3 MB here), which all must be at hand from the first row on."""
    table = [["mms_id", "public_note"], *([f"99{n:08}", f"{n:08}" * 120] for n in range(3_000))]
    rows = read_rows(xlsx(tmp_path / "rows", {"A": table}))
    assert peak(rows) < 1_000_000


@pytest.mark.parametrize(
    ("name", "titles", "lines", "skipped", "reasons"),
    [
        ("folio_Testdata_KBART_AnnualReviews.tsv", 65, 71, 73, {"access_type": 5}),
        (
            "gokb_journals.cambridge.org_AllTitles_2015-07-14.txt",
            468,
            468,
            0,
            {},
        ),
        ("variants/gokb_test_rest_import_partial_error.txt", 2, 2, 0, {"": 1}),
        ("variants/gokb_test_rest_initial_access_dates.txt", 4, 4, 0, {}),
        ("variants/gokb_test_validation_serials_valid.txt", 1, 1, 0, {}),
        ("variants/gokb_test_validation_serials_errors.txt", 1, 1, 0, {}),
        ("variants/gokb_test_validation_monographs_errors.txt", 1, 1, 0, {}),
    ],
)
def test_published_lists(
    tmp_path: Path, name: str, titles: int, lines: int, skipped: int, reasons: dict[str, int]
) -> None:
    """Every line of a published list is in one title; with a map, all load but those that are wrong in themselves."""
    path = published(name)
    without = list(read_rows(path))
    assert len(without) == titles
    assert sum(len(row.lines) for row in without) == lines
    assert all(row.identifiers and row.mms_id is None for row in without if isinstance(row, Row))

    source = read_rows(path, mms_map=mapped(path, tmp_path / "map"))
    rows = list(source)
    found = Counter(problem.column for row in rows if isinstance(row, BadRow) for problem in row.problems)
    assert found == reasons
    blank = (f"blank rows skipped: {skipped}",) if skipped else ()
    assert source.warnings[: len(blank)] == blank
    assert all(warning.startswith(("line", "columns not read")) for warning in source.warnings[len(blank) :])


def mapped(path: Path, mms_map: Path) -> Path:
    """Make a map that knows each line of a list by one identifier."""
    header, *lines = [
        line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    places = [header.index(column) for column in ("online_identifier", "print_identifier")]
    known = (next((line[place] for place in places if line[place] not in ("", "n/a")), "?") for line in lines)
    numbered = enumerate(dict.fromkeys(map(match_key, known)))
    mms_map.write_text("".join(f"{key}\t99{number:08}\n" for number, key in numbered), encoding="utf-8")
    return mms_map


def test_predecessors_stay_apart(tmp_path: Path) -> None:
    """In the FOLIO list eleven title_ids stand on several lines; only lines with the same identifiers become one title."""
    path = published("folio_Testdata_KBART_AnnualReviews.tsv")
    rows = list(read_rows(path, mms_map=mapped(path, tmp_path / "map")))
    assert [row.lines for row in rows if len(row.lines) > 1] == [
        (13, 14),
        (29, 30),
        (47, 48),
        (49, 50),
        (62, 63),
        (65, 66),
    ]
    assert [row.lines for row in rows if isinstance(row, Row) and len(row.lines) > 1] == [(49, 50)]


def test_cufts_is_rejected() -> None:
    """A CUFTS export is rejected by its header, with the columns that were looked for."""
    with pytest.raises(InputError, match=r"publication_title .* Found in line 1: title, issn, e_issn"):
        read_rows(published("not_kbart/gokb_acs_legacy_archives"))


def test_sample() -> None:
    """The sample list has the titles, gaps, scripts and bad rows that the demo promises."""
    source = read_rows(SAMPLE)
    rows = list(source)
    good = [row for row in rows if isinstance(row, Row)]
    bad = [row for row in rows if isinstance(row, BadRow)]
    joined, *others = source.warnings[1:]
    assert source.warnings[0] == "blank rows skipped: 5"
    assert joined.startswith("lines 5, ")
    assert joined.endswith(" and 33 more: joined with other lines of the same title or portfolio to one row")
    assert others == [
        "line 20: online_identifier 2976-8300 is no ISSN: its check digit is wrong",
        "line 43: coverage_depth is selected articles, not full text",
        "line 61: online_identifier 979-8-9957-4650-0 is no ISBN: its check digit is wrong",
        "line 183: the coverage of line 184 overlaps with that of line 183",
        "line 227: date_first_issue_online: 2011-02-30 does not exist: the month alone is written",
    ]
    assert (len(good), len(bad), sum(len(row.lines) for row in rows)) == (243, 2, 298)
    assert len({row.mms_id for row in good}) == len(good)
    assert [len(row.identifiers) for row in good if row.mms_id is None] == [2]
    assert Counter(row.values["material_type"] for row in good) == {"JOURNAL": 172, "BOOK": 71}
    assert Counter(len(row.lines) for row in good) == {1: 208, 2: 18, 3: 17}
    assert sum(row.embargo is not None for row in good) == 46
    assert Counter(problem.column for row in bad for problem in row.problems) == {"": 1, "access_type": 1}
