"""The map from identifiers to MMS ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from alma_async.load.readers.mms_map import MmsMap
from alma_async.load.row import InputError
from tests.load.readers.workbooks import xlsx


def read(path: Path, content: str) -> MmsMap:
    """Write a map and read it."""
    path.write_text(content, encoding="utf-8", newline="")
    return MmsMap.read(path)


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("header", ["", "identifier{}mms_id\n", "\nISSN{}MMS Id\n"])
def test_two_columns(tmp_path: Path, header: str, delimiter: str) -> None:
    """With or without a header, under each delimiter, both spellings of an identifier and any other key are found."""
    lines = [
        "2434561X{}991",
        "0-306-40615-2{}992",
        "anchem{}993",
        '"https://example.org/?a=1,2;3"{}994',
        "",
        " 991 {}995",
    ]
    found = read(
        tmp_path / "map", header.format(delimiter) + "\n".join(line.format(delimiter) for line in lines)
    )
    for key, mms_id in (
        ("2434-561x", "991"),
        ("978-0-306-40615-7", "992"),
        ("anchem", "993"),
        ("https://example.org/?a=1,2;3", "994"),
        ("991", "995"),
    ):
        assert found.find([key]) == {mms_id}
    assert not found.find(["unknown", ""])


def test_contradiction(tmp_path: Path) -> None:
    """One identifier with two MMS ids stands for both and is told with its lines; a repeat is none; the rest of the map is good."""
    found = read(tmp_path / "map", "2434-561X\t991\n2434561X\t991\n")
    assert (found.find(["2434561X"]), found.warnings) == ({"991"}, ())
    found = read(tmp_path / "map", "issn\tmms_id\n2434-561X\t991\nother\t993\n2434561X\t992\n")
    assert (found.find(["2434561X"]), found.find(["other"])) == ({"991", "992"}, {"993"})
    (warning,) = found.warnings
    assert "several records for 2434561X (lines 2, 4)" in warning


@pytest.mark.parametrize("between", [";", "\u3001", " / ", " | ", "\n", " and "])
def test_several_identifiers_in_a_cell(tmp_path: Path, between: str) -> None:
    """A cell of several identifiers is a key for each of them, whatever stands between them; so is a cell with Excel's guard."""
    found = read(tmp_path / "map", f'"2434-561X{between}2049-3630"\t991\n="0306-4522"\t="992"\n')
    assert found.find(["2434561X"]) == found.find(["20493630"]) == {"991"}
    assert found.find(["03064522"]) == {"992"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("2434-561X,9.91E+17\n", "line 1: 9.91E.17 is a number that Excel rounded"),
        ("issn,mms_id\n2434-561X,none\n", "line 2: none is no id"),
        ("issn,mms_id\n2434-561X\n", "line 2: two cells were expected"),
        ("a,991\n" + "b" * 200_000 + ",992\n", "line 2: field larger than"),
    ],
)
def test_wrong_lines(tmp_path: Path, content: str, reason: str) -> None:
    """A map without one good line is rejected with the first; a damaged id in the first line is not taken for a header."""
    with pytest.raises(InputError, match=reason):
        read(tmp_path / "map", content)


def test_a_wrong_line_costs_its_title(tmp_path: Path) -> None:
    """A line that is damaged, or has no MMS id yet, is told by number and reason; the rest of the map is good."""
    lines = ["issn\tmms_id", "2434-561X\t991", "2049-3630\t", "0306-4522\t9.91E+17", "a\t992\tb", "c\t993"]
    found = read(tmp_path / "map", "\n".join(lines))
    assert (found.find(["2434561X"]), found.find(["c"])) == ({"991"}, {"993"})
    assert not found.find(["2049-3630", "0306-4522", "a"])
    assert [warning.split(":")[0] for warning in found.warnings] == [f"map, line {n}" for n in (3, 4, 5)]


@pytest.mark.parametrize(
    ("delimiter", "between"),
    [(one, other) for one in "\t,;|" for other in ("; ", ", ", " | ", ";") if one not in other],
)
@pytest.mark.parametrize("turned", [False, True])
def test_other_signs_than_the_delimiter(tmp_path: Path, delimiter: str, between: str, turned: bool) -> None:
    """What stands between the identifiers of a cell is not taken for what stands between the columns."""
    rows = [
        [f"2434-561X{between}2049-3630", "991000000000001"],
        [f"0028-0836{between}0306-4522", "991000000000002"],
    ]
    lines = [delimiter.join(reversed(row) if turned else row) for row in rows]
    found = read(tmp_path / "map", "\n".join(lines))
    assert found.find(["2049-3630"]) == {"991000000000001"}
    assert found.find(["0028-0836"]) == {"991000000000002"}


ROWS = [["2434-561X", "991000000000001"], ["2049-3630", "991000000000002"], ["title7", "991000000000003"]]


@pytest.mark.parametrize("header", [None, ["identifier", "mms_id"], ["ISSN", "MMS Id"]])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("book", [False, True])
def test_columns_in_either_order(tmp_path: Path, header: list[str] | None, turned: bool, book: bool) -> None:
    """The MMS ids may stand in either column, in a text or in a workbook, with a header or none."""
    rows = [list(reversed(row)) if turned else row for row in ([header] if header else []) + ROWS]
    if book:
        found = MmsMap.read(xlsx(tmp_path / "map.xlsx", {"Map": rows}))
    else:
        found = read(tmp_path / "map", "\n".join("\t".join(row) for row in rows))
    assert [found.find([row[0]]) for row in ROWS] == [{row[1]} for row in ROWS]
    assert not found.warnings


@pytest.mark.parametrize("book", [False, True])
def test_more_columns(tmp_path: Path, book: bool) -> None:
    """Of more than two columns, the header tells which are keys and which is the MMS id; other columns are none."""
    rows = [
        ["MMS Id", "Title", "ISSN", "ISBN"],
        ["991", "994", "2434-561X; 2049-3630", ""],
        ["992", "B", "", "978-0-306-40615-7"],
        ["", "C", "0028-0836", ""],
    ]
    if book:
        found = MmsMap.read(xlsx(tmp_path / "map.xlsx", {"Map": rows}))
    else:
        found = read(tmp_path / "map", "\n".join("\t".join(row) for row in rows))
    assert found.find(["2434561X"]) == found.find(["2049-3630"]) == {"991"}
    assert found.find(["0306406152"]) == {"992"}
    assert not found.find(["994", "B", "0028-0836"])
    (warning,) = found.warnings
    assert ", line 4: the MMS id is missing" in warning


def test_numbers_of_a_workbook(tmp_path: Path) -> None:
    """An ISSN that is a number gets its zeros back; an MMS id of more digits than a number keeps costs its line."""
    rows: list[list[object]] = [
        ["issn", "mms_id"],
        [280836, 991],
        [24345615, "992"],
        ["2049-3630", 991234567890123421],
    ]
    found = MmsMap.read(xlsx(tmp_path / "map.xlsx", {"Map": rows}))
    assert found.find(["0028-0836"]) == {"991"}
    assert not found.find(["2049-3630"])
    assert [warning for warning in found.warnings if "line 4" in warning and "has lost digits" in warning]
