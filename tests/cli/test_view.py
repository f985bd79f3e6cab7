"""What the live view says, and that it says it to terminals only."""

from __future__ import annotations

import io
import sys
from typing import Any

import attrs
import pytest

from alma_async.cli.console import clock_time
from alma_async.cli.view import View, lines
from alma_async.load.progress import Progress

HALF = Progress(
    rows=1000, created=400, updated=50, unchanged=20, rejected=20, duplicates=6, review=4, pending=500,
    calls=2000, throttled=3, seconds=80.0, rate=24.6, remaining=98_000, eta=3725.0,
)  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3725, "1:02:05")])
def test_times(seconds: float, text: str) -> None:
    """Minutes and seconds, and hours where there are any."""
    assert clock_time(seconds) == text


def test_all_that_is_promised_is_there() -> None:
    """Rows by end, those begun apart from those pending, rate now and mean, throttled, remaining, elapsed and to go."""
    assert lines(attrs.evolve(HALF, begun=12)) == [
        "400 created · 50 updated · 20 unchanged · 20 rejected · 6 duplicate · 4 for review · 500 pending (12 of them begun)",
        "24.6 calls/s (mean 25.0) · 3 throttled · 98,000 remaining today · 1:20 so far · 1:02:05 to go",
    ]


def test_why_it_waits() -> None:
    """A wait is told with its length and reason, in which nothing can steer the terminal."""
    told = lines(attrs.evolve(HALF, waiting="of \x1b[2J", waited=10.0))
    assert told[-1] == "held back, 0:10 so far: of \\u001b[2J"


def test_reading_is_no_hold() -> None:
    """While the file is read, that is said, and not that something holds the load back."""
    reading = attrs.evolve(HALF, reading=True, waiting="the file is being read (12 rows so far)", waited=3.0)
    assert lines(reading)[-1] == "the file is being read (12 rows so far)"


def test_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Redirected, the view writes not one byte while rows are done."""
    now = HALF
    with View("titles", fresh=lambda: attrs.evolve(now, waiting="something")) as view:
        for done in range(200):
            now = attrs.evolve(HALF, pending=500 - done)
            view(now)
            view.tick()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"waiting": "no\x1b answer"}, "no\\u001b answer"),
        ({"reading": True}, "the file is being read (1,000 rows so far)"),
        ({"rate": 3.0}, "the rows in progress need further calls (3.0 a second)"),
        ({"rate": 0.0}, "Alma has not answered the calls in flight; each ends at its timeout"),
    ],
)
def test_a_standstill_is_told_in_a_log(
    held: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Redirected, a minute without a row done is one line, always with a reason; the next standstill is another."""
    now = attrs.evolve(HALF, **held)
    with View("titles", fresh=lambda: now) as view:
        for _ in range(500):
            view.tick()
        first = f"Held back: {told}\n" if "waiting" in held else ""
        assert capsys.readouterr() == ("", f"{first}No row has ended for 1 minute: {told}\n")
        now = attrs.evolve(now, pending=499)
        for _ in range(500):
            view.tick()
    assert capsys.readouterr() == ("", f"No row has ended for 1 minute: {told}\n")


def test_drawn_on_a_terminal_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal title, rows and reason are drawn as they are at each tick, though nobody tells; markup in names stays text."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    now = None
    with View("[red]titles\x07.csv", fresh=lambda: now) as view:
        view.tick()  # nothing is known yet
        now = HALF
        view.tick()
        now = attrs.evolve(HALF, seconds=140.0, waiting="the day's calls are spent", waited=60.0)
        view.tick()
    drawn = terminal.getvalue()
    assert "[red]titles\\u0007.csv" in drawn
    assert "500 of 1,000 rows" in drawn
    assert "1:20 so far" in drawn
    assert "2:20 so far" in drawn
    assert "held back, 1:00 so far: the day's calls are spent" in drawn
