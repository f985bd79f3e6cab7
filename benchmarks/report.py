"""What a measurement hands over, and how it is written: JSON for machines, Markdown for people, one table of all goals.

Decides nothing about figures. ``goals.md`` is made from the newest result of every piece, so pieces may be run one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
import orjson

__all__ = ["PIECES", "Goal", "Plan", "Section", "Table", "percent", "read", "write", "write_goals"]

PIECES: Final = ("pacing", "clients", "sharing", "day", "cost", "processes", "machines", "calls")


@attrs.frozen(kw_only=True)
class Plan:
    """How much is measured: runs of each client, runs behind a goal's figure, trials side by side, and everything short."""

    runs: int = 3
    goal_runs: int = 5
    lanes: int = 6
    quick: bool = False

    def long(self, normal: float, *, quick: float) -> float:
        """A length that ``quick`` shortens."""
        return quick if self.quick else normal


@attrs.frozen(kw_only=True)
class Table:
    """Rows of text under a head."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""

    def markdown(self) -> str:
        lines = [self.head, ("---", *["---:"] * (len(self.head) - 1)), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return (
            f"### {self.title}\n\n{self.note}\n\n{table}\n" if self.note else f"### {self.title}\n\n{table}\n"
        )


@attrs.frozen(kw_only=True)
class Goal:
    """One row of what governing must reach, and what was reached."""

    what: str
    goal: str
    reached: str
    met: bool


@attrs.frozen(kw_only=True)
class Section:
    """All that one piece measured. ``curves`` is what its pictures are drawn from; ``place`` is when and on what."""

    piece: str
    about: str
    tables: list[Table]
    goals: list[Goal]
    curves: dict[str, Any] = attrs.field(factory=dict)
    place: dict[str, str] = attrs.field(factory=dict)

    def markdown(self) -> str:
        place = "\n".join(f"* {name}: {value}" for name, value in self.place.items())
        tables = "\n".join(table.markdown() for table in self.tables)
        return f"# {self.piece.capitalize()}\n\n{self.about}\n\n{tables}\n{place}\n"


def percent(share: float, *, digits: int = 1) -> str:
    """A share as people read it."""
    return f"{100 * share:.{digits}f} %"


def write(section: Section, *, into: Path) -> None:
    """The section's JSON and Markdown."""
    into.mkdir(parents=True, exist_ok=True)
    json = orjson.dumps(cattrs.unstructure(section), option=orjson.OPT_INDENT_2)
    (into / f"{section.piece}.json").write_bytes(json + b"\n")
    (into / f"{section.piece}.md").write_text(section.markdown(), encoding="utf-8")


def read(piece: str, *, from_: Path) -> Section | None:
    """The newest result of a piece, if there is one."""
    file = from_ / f"{piece}.json"
    return cattrs.structure(orjson.loads(file.read_bytes()), Section) if file.exists() else None


def write_goals(into: Path) -> None:
    """Every goal beside its figure, missed or not."""
    rows = [
        (
            goal.what,
            goal.goal,
            goal.reached,
            "met" if goal.met else "**missed**",
            section.place.get("date", ""),
        )
        for piece in PIECES
        if (section := read(piece, from_=into)) is not None
        for goal in section.goals
    ]
    head = ("what", "goal", "reached", "", "measured")
    table = Table(title="What governing must reach", head=head, rows=rows)
    (into / "goals.md").write_text(table.markdown(), encoding="utf-8")
