"""Counts and lengths of time as people read them, and the words that the package does not use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._text import counted, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"), (0.04, "0 seconds"), (0.5, "0.5 seconds"), (1, "1 second"), (3.44, "3.4 seconds"),
        (9.99, "10 seconds"),
        (10, "10 seconds"), (59.4, "59 seconds"), (59.6, "1 minute"), (60, "1 minute"), (90, "1 minute 30 seconds"),
        (3599.7, "1 hour"), (3600, "1 hour"), (327 * 60, "5 hours 27 minutes"), (14_400, "4 hours"), (86_399, "1 day"),
        (86_400, "1 day"), (100_000, "1 day 4 hours"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    """A length of time has the units that a person would use, each in the singular where it is one."""
    assert duration(seconds) == text


@given(st.floats(0, 10**7))
def test_durations_are_short(seconds: float) -> None:
    """No length has more than two units, nor 60 of a smaller one."""
    told = duration(seconds).split()
    assert len(told) in (2, 4)
    assert not any(
        f"{number} {unit}" in duration(seconds)
        for number, unit in ((60, "second"), (60, "minute"), (24, "hour"))
    )


def test_counts() -> None:
    """One is one, all else are several, and thousands are grouped."""
    assert [counted(count, "row") for count in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]


# --- the words of the package

PACKAGE = Path(__file__).resolve().parents[1] / "alma_async"
PROSE = [
    PACKAGE.parent / "README.md",
    *(p for p in sorted((PACKAGE.parent / "docs").rglob("*.md")) if p.parent.name != "reference"),
]
RETIRED = re.compile(
    r"\b(told|tells?|telling|looks?(?! up)|looking|looked(?! up)|takes? up|took up|taken up|gives? up on|gave up on|given up on"
    r"|let go|lets go|sent home|last word|one's own|refus(e|es|ed|ing|als?)|seats?|seated|pok(e|es|ed|ing)|low tide|brisk"
    r"|patien(t|ce)|until[ _-]done|circuit(?![_ -]breaker)|lookout|glances?|up for review|manner)\b",
    re.IGNORECASE,
)
# Two options of the shell that have these names too.
KEPT = re.compile(r"\buntil_done\b|\bpatience\b|`(--until-done|--patience)`")


def held() -> list[Path]:
    """The files and pages that are held to the words: all."""
    return [*sorted(PACKAGE.rglob("*.py")), *PROSE]


def words_of(text: str) -> str:
    """A text, names split at underscores and capitals."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " "))


@pytest.mark.parametrize("path", held(), ids=lambda path: path.relative_to(PACKAGE.parent).as_posix())
def test_retired_words_are_gone(path: Path) -> None:
    """No name, docstring, comment, message or page has a word that says in house dialect what has a plain name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if RETIRED.search(words_of(KEPT.sub("", line)))
    ]
    assert found == []
