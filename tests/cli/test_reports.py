"""What a report and the shell tell a person of each row: title, identifiers, lines and every warning, in each format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.cli.conftest import TO, Served, Shell

COLUMNS = (
    "publication_title", "print_identifier", "title_id", "title_url", "date_first_issue_online", "date_last_issue_online",
    "embargo_info", "our_own_remark",
)  # fmt: skip


def issn(number: int) -> str:
    """A valid ISSN."""
    digits = f"{number:07}"
    check = -sum(int(digit) * weight for digit, weight in zip(digits, range(8, 1, -1), strict=True)) % 11
    return f"{digits[:4]}-{digits[4:]}{'X' if check == 10 else check}"


@pytest.fixture
def kbart(tmp_path: Path) -> tuple[Path, Path]:
    """A KBART list and its map of MMS ids: two lines of one title, one line that is wrong, 60 with a doubtful embargo."""
    list_, mms_map = tmp_path / "list.txt", tmp_path / "map.tsv"
    url = "https://titles.example.org/"
    rows = [
        ("Annals of Tests", issn(1), "a", f"{url}a", "2001", "2003", "", "ignored"),
        ("Annals of Tests", issn(1), "a", f"{url}a", "2005", "2009", "", ""),
        ("Wrong Dates", issn(2), "w", "ftp://no", "2010", "2001", "", ""),
        *(
            (f"Doubtful {n}", issn(n), f"d{n}", f"{url}{n}", "2001", "", f"about {n} moons", "")
            for n in range(3, 63)
        ),
    ]
    lines = ["\t".join(COLUMNS), *map("\t".join, rows)]
    list_.write_text("\n".join(lines) + "\n", encoding="utf-8")
    mms_map.write_text("".join(f"{issn(n)}\t99{n:06}0421\n" for n in range(1, 63)), encoding="utf-8")
    return list_, mms_map


def read_csv(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a report in CSV."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def read_xlsx(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a report as a workbook, an empty cell as ""."""
    header, *rows = openpyxl.load_workbook(path)["rows"].iter_rows(values_only=True)
    return [
        {str(name): "" if cell is None else cell for name, cell in zip(header, row, strict=True)}
        for row in rows
    ]


def read_jsonl(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a report in JSONL, with lists as the other formats write them."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in found:
        for name in ("lines", "identifiers", "warnings"):
            row[name] = "; ".join(map(str, row[name] or ()))
    return found


READERS: dict[str, Callable[[Path], list[Mapping[str, Any]]]] = {
    "csv": read_csv,
    "xlsx": read_xlsx,
    "jsonl": read_jsonl,
}


@pytest.mark.parametrize("kind", list(READERS))
def test_a_report_says_which_title_and_all_that_is_doubtful(
    shell: Shell, served: Served, kbart: tuple[Path, Path], tmp_path: Path, kind: str
) -> None:
    """Every row has its title, identifiers and lines, also where it was rejected; every warning is there, those of the file too."""
    path, (list_, mms_map) = tmp_path / f"report.{kind}", kbart
    with served():
        shell("load", list_, *TO, "--ignore-embargo", "--mms-map", mms_map, "--report", path)
    rows = READERS[kind](path)
    joined, wrong, *doubtful = [row for row in rows if row["state"] != "warning"]
    assert (joined["title"], joined["identifiers"], joined["lines"]) == ("Annals of Tests", issn(1), "2; 3")
    assert (wrong["state"], wrong["title"], wrong["identifiers"]) == ("rejected", "Wrong Dates", issn(2))
    assert (wrong["lines"], int(wrong["line"])) == ("4", 4)
    assert [row["title"] for row in doubtful] == [f"Doubtful {n}" for n in range(3, 63)]
    assert all(f"about {n} moons" in row["warnings"] for n, row in enumerate(doubtful, 3))
    of_file = [row["message"] for row in rows if row["state"] == "warning"]
    assert any("our_own_remark" in message for message in of_file)
    assert any("joined" in message for message in of_file)
    assert not any("about" in message for message in of_file)  # what rows say already


def test_a_duplicate_says_its_title(shell: Shell, served: Served, tmp_path: Path) -> None:
    """A row that repeats another says its own title and line, also in the report that a resume writes."""
    path, list_ = tmp_path / "report.csv", tmp_path / "twice.csv"
    list_.write_text("mms_id,title,url\n" + "9910000000000421,Twice,https://a.example.org/\n" * 2)
    with served():
        ran = shell("load", list_, *TO, "--journal", tmp_path / "j.load")
        shell("resume", tmp_path / "j.load", "--report", path)
    told = [(row["line"], row["state"], row["title"]) for row in read_csv(path)]
    assert told == [("2", "done", "Twice"), ("3", "duplicate", "Twice")]
    assert "2 rows: 1 created, 1 duplicate." in ran.out


def test_undo_reports_titles(shell: Shell, served: Served, kbart: tuple[Path, Path], tmp_path: Path) -> None:
    """What is taken back is named as what was loaded."""
    path, (list_, mms_map) = tmp_path / "undone.csv", kbart
    with served():
        shell("load", list_, *TO, "--ignore-embargo", "--mms-map", mms_map, "--journal", tmp_path / "j.load")
        shell("undo", tmp_path / "j.load", "--report", path)
    first = read_csv(path)[0]
    assert (first["title"], first["lines"], first["action"]) == ("Annals of Tests", "2; 3", "deleted")


def test_rows_and_lines(shell: Shell, served: Served, kbart: tuple[Path, Path]) -> None:
    """Where lines were joined, the summary says how many lines its rows stand on."""
    list_, mms_map = kbart
    with served():
        told = shell("load", list_, *TO, "--ignore-embargo", "--mms-map", mms_map)
        dry = shell("load", list_, *TO, "--ignore-embargo", "--mms-map", mms_map, "--dry-run")
    assert "\n62 rows on 63 lines: " in f"\n{told.out}"
    assert "62 rows on 63 lines: " in dry.out


def test_all_warnings_in_the_shell(shell: Shell, served: Served, kbart: tuple[Path, Path]) -> None:
    """The first fifty by default, with the option that shows all; and all of them with it."""
    list_, mms_map = kbart
    with served():
        first = shell("load", list_, *TO, "--ignore-embargo", "--mms-map", mms_map, "--dry-run").err
        everything = shell(
            "load", list_, *TO, "--ignore-embargo", "--mms-map", mms_map, "--dry-run", "--warnings", "1000"
        ).err
    assert first.count("warning: ") == 50
    assert "--warnings " in first
    assert all(f"about {n} moons" in everything for n in range(3, 63))
    assert "more warnings" not in everything


def test_a_page_for_people(shell: Shell, served: Served, kbart: tuple[Path, Path], tmp_path: Path) -> None:
    """``--report page.html`` names the list, its titles and what is wrong, for the load and for its journal again."""
    list_, mms_map = kbart
    page, again = tmp_path / "page.html", tmp_path / "again.html"
    with served():
        ran = shell(
            "load", list_, *TO, "--mms-map", mms_map, "--journal", tmp_path / "a.load", "--report", page
        )
        assert ran.code == 1
        assert shell("resume", tmp_path / "a.load", "--report", again).code == 1
    for path in (page, again):
        text = path.read_text(encoding="utf-8")
        for said in (
            "Load of list.txt",
            "Annals of Tests",
            "Wrong Dates",
            "POST portfolio",
            "Calls a second",
            "a.load",
        ):
            assert said in text, said
        assert str(tmp_path) not in text
        assert path.stat().st_mode & 0o077 == 0
