"""Lists of many publishers' habits, judged by what they were made to say."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from alma_async.load.readers import read_rows
from alma_async.load.row import BadRow, Coverage, Row
from tests.load.readers.publishers import Date, Habits, Said, titles, written

LISTS = 60
TITLES = 12


def held_against(row: Row, lines: list[Said], *, kbart: bool) -> list[str]:
    """What a row says otherwise than its lines; a date may be less exact where the row has a warning."""
    first, found = lines[0], []
    url = str(row.values.get("url", "")).replace("HTTPS", "https").removesuffix("/a%20b")
    if (row.mms_id, url) != (first.mms_id, first.url):
        found.append(f"record or URL: {row.mms_id} {row.values.get('url')} for {first.mms_id} {first.url}")
    if (str(row.embargo or "")) != first.embargo:
        found.append(f"embargo: {row.embargo} for {first.embargo!r}")
    if (row.values.get("internal_description") or "") != first.notes:
        found.append(f"notes: {row.values.get('internal_description')!r} for {first.notes!r}")
    if kbart and row.values.get("material_type") != ("BOOK" if first.monograph else "JOURNAL"):
        found.append("material type")
    wanted = [line for line in lines if line.begins]
    coverage = row.coverage if isinstance(row.coverage, tuple) else ()
    if len(coverage) != len(wanted):
        found.append(f"{len(coverage)} ranges for {len(wanted)}")
    warned = bool(row.warnings)
    left = [line for line in wanted if not any(is_of(one, line, warned=warned) for one in coverage)]
    return found + [f"coverage: {coverage} for {line.begins} to {line.ends} {line.numbers}" for line in left]


def is_of(one: Coverage, line: Said, *, warned: bool) -> bool:
    """Whether a statement is that of a line."""
    numbers = (one.from_volume, one.until_volume, one.from_issue, one.until_issue)
    return (
        numbers == tuple(text or None for text in line.numbers)
        and fits(one.begins, line.begins, warned=warned)
        and fits(one.ends, line.ends, warned=warned)
    )


def fits(found: tuple[int, ...], wanted: Date, *, warned: bool) -> bool:
    """Whether a date is the one that is wanted, or, with a warning, less of it."""
    whole = tuple(map(int, wanted))
    return found == whole or (warned and bool(found) and whole[: len(found)] == found)


def faults(seed: int, folder: Path) -> list[str]:
    """What is wrong with the reading of one list: rows that say something else, and rows that are rejected."""
    draw = random.Random(seed)
    habits = Habits.drawn(draw)
    lines = titles(draw, TITLES)
    draw.shuffle(lines)
    path = written(folder / f"{seed}.txt", lines, habits, draw)
    by_record: dict[str | None, list[Said]] = defaultdict(list)
    for line in lines:
        by_record[line.mms_id].append(line)
    found, seen = [], set()
    source = read_rows(path)
    if source.format != habits.format:
        found.append(f"read as {source.format}")
    for row in source:
        if isinstance(row, BadRow):
            found.append(f"rejected: {row.reason}")
        elif row.mms_id not in by_record or row.mms_id in seen:
            found.append(f"a row of {row.mms_id}, which is none or another's")
        else:
            seen.add(row.mms_id)
            found += held_against(row, by_record[row.mms_id], kbart=habits.format == "kbart")
    return found + [f"no row of {record}" for record in by_record if record not in seen]


@pytest.mark.parametrize("first", range(0, LISTS, 20))
def test_lists_say_what_they_were_made_to_say(tmp_path: Path, first: int) -> None:
    """Whatever a publisher's habits, every title is one row that says what it was made to say, and none is rejected."""
    found = {seed: faults(seed, tmp_path) for seed in range(first, first + 20)}
    assert not {seed: told for seed, told in found.items() if told}
