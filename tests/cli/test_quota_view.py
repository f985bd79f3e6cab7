"""What a look at the quota says; pure but for the terminal."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import attrs

from alma_async._governance.budget import Machine, StoreUse
from alma_async._governance.governor import QuotaSnapshot
from alma_async.cli.quota import Drawn, as_json, line, lines
from alma_async.settings import Priority

AT = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
SEEN = QuotaSnapshot(
    per_second=24.75, limit=25.0, margin=0.01, foreign=0.5, remaining=50_000, remaining_seen_at=AT - timedelta(seconds=5),
    reserve=8000.0, at_full_pace=40000.0, floors={Priority.INTERACTIVE: 0.0, Priority.NORMAL: 2000.0, Priority.BULK: 8000.0},
    open=dict.fromkeys(Priority, True), waiting={**dict.fromkeys(Priority, 0), Priority.BULK: 1234},
    in_flight={**dict.fromkeys(Priority, 0), Priority.BULK: 7}, latency={}, retries_left=10.0, held_until=None,
    stopped_until=None, resets_at=AT + timedelta(hours=9), why="", shared=True,
)  # fmt: skip
HELD = attrs.evolve(
    SEEN, held_until=AT + timedelta(seconds=1), why="calls were rejected as too many a second"
)
UNKNOWN = attrs.evolve(
    SEEN, remaining=None, remaining_seen_at=None, foreign=None, floors=dict.fromkeys(Priority, -math.inf)
)


def test_all_that_is_promised_is_there() -> None:
    """Limit, margin, others, remaining; for each priority its floor, what is left above it, waiting and in flight."""
    assert [*lines(SEEN, at=AT, drawn=3.21)] == [
        "2026-09-21 14:13:20 UTC",
        "",
        "remaining today   50,000, seen at 14:13:15; reset in 9:00:00",
        "spent by all      3.2 a second",
        "in force          24.75 a second of 25, margin 1.0%, others 0.5 a second",
        "held              no",
        "",
        "               stops at       left  waiting  in flight",
        "interactive           0     50,000        0          0",
        "normal            2,000     48,000        0          0",
        "bulk              8,000     42,000    1,234          7",
        "",
        "at full pace      40,000 calls of bulk work; the rest is spread to the reset",
    ]


def test_what_holds_it_and_until_when() -> None:
    """A hold is told with its end and reason; so is a failed call, whose words cannot steer a terminal."""
    told = [*lines(HELD, at=AT, drawn=None, trouble="no\x1b[2J")]
    assert "held              until 14:13:21 UTC: calls were rejected as too many a second" in told
    assert told[-1] == "no\\u001b[2J"
    assert line(HELD, at=AT, drawn=None).endswith(
        "until 14:13:21 UTC: calls were rejected as too many a second"
    )
    stopped = attrs.evolve(HELD, stopped_until=AT + timedelta(hours=9), why="the day's calls are spent")
    assert line(stopped, at=AT, drawn=None).endswith("until 23:13:20 UTC: the day's calls are spent")


def test_what_is_not_known_is_not_guessed() -> None:
    """Before the first answer nothing is a number; a day that is spent leaves nothing to anybody."""
    told = "\n".join(lines(UNKNOWN, at=AT, drawn=None))
    assert "remaining today   unknown; reset" in told
    assert told.count("unknown") == 3
    spent = attrs.evolve(SEEN, remaining=10, floors=dict.fromkeys(Priority, math.inf))
    assert "bulk                all          0" in "\n".join(lines(spent, at=AT, drawn=None))


def test_one_line_for_a_pipe() -> None:
    """A look is one line."""
    assert line(SEEN, at=AT, drawn=None) == (
        "14:13:20  50,000 remaining  spent by all unknown  24.75 of 25 a second in force  others 0.5 a second  "
        "bulk stops at 8,000"
    )


def test_json_has_no_infinity() -> None:
    """What JSON cannot hold is null."""
    plain = as_json(attrs.evolve(SEEN, floors=dict.fromkeys(Priority, math.inf)))
    assert json.loads(json.dumps(plain, allow_nan=False))["floors"]["bulk"] is None


def told_at(second: float, remaining: int | None) -> QuotaSnapshot:
    """What the server told at that second."""
    return attrs.evolve(SEEN, remaining=remaining, remaining_seen_at=AT + timedelta(seconds=second))


def test_what_everybody_draws() -> None:
    """Between two answers the fall tells what all draw; between them our own falling count tells nothing of others."""
    drawn = Drawn()
    assert drawn.seen(told_at(0, 1000), now=0.0) is None
    assert drawn.seen(told_at(0, 990), now=5.0) is None
    assert drawn.seen(told_at(10, 900), now=10.0) == 10.0
    assert drawn.seen(told_at(10, 890), now=15.0) == 10.0


def test_what_is_drawn_is_of_late() -> None:
    """Answers older than a minute are forgotten, and a new day begins anew."""
    drawn = Drawn()
    for second, remaining in ((0, 9000), (100, 8000), (130, 7970), (165, 7935)):
        found = drawn.seen(told_at(second, remaining), now=float(second))
    assert found == 1.0
    assert drawn.seen(told_at(170, 100_000), now=170.0) is None
    assert drawn.seen(told_at(180, 99_980), now=180.0) == 2.0
    assert drawn.seen(attrs.evolve(UNKNOWN), now=190.0) is None


def test_machines_that_share_a_store() -> None:
    """Each machine that draws has a line; so has a store that is away, and a name cannot steer a terminal."""
    use = StoreUse(trips=9, slots=40, machines=2, rank=0, away_since=None, absences=0, seconds_away=0.0)
    machines = [
        Machine(name="db\x1b[2J", rank=0, silent=0.2, busy=True, processes=3, drawn=1234),
        Machine(name="other", rank=1, silent=65.0, busy=False, processes=1, drawn=5),
    ]
    shared = attrs.evolve(SEEN, store=use)
    assert [*lines(shared, at=AT, machines=machines)][-3:] == [
        "machine                  rank  processes      calls      last seen",
        "db\\u001b[2J                 0          3      1,234        0 s ago",
        "other                       1          1          5 65 s ago, idle",
    ]
    assert line(shared, at=AT, drawn=None).endswith("  2 machines")
    away = attrs.evolve(shared, store=attrs.evolve(use, away_since=AT - timedelta(seconds=65)))
    assert "store             away for 1:05: this machine takes one part of 2" in [*lines(away, at=AT)]
    assert line(away, at=AT, drawn=None).endswith("  store away")
    assert as_json(away)["store"]["away_since"] == "2026-09-21T14:12:15+00:00"
