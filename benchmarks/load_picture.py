"""The picture of a load in the README: ``python -m benchmarks.load_picture docs/load.svg``.

A real load of the embedded simulator in virtual time, so it takes seconds and is the same each time. In its course another
integration draws on the limit for some seconds: Alma refuses, everything is held for a moment, and the load goes on beside the
other one until that is done. What is drawn is what the simulated Alma counted, and what the load said of its rows.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
import attrs

from alma_async import AlmaClient, LocalBudget, sim
from alma_async._clock import Clock
from alma_async.events import Event, Paused
from alma_async.load import Load

__all__ = ["Story", "drawing", "story"]

ROWS: Final = 1000
LIMIT: Final = 25
SEED: Final = 13
EPOCH: Final = 1_790_000_000.0  # 2026-09-21, 14:13:20 UTC
OTHERS: Final = (15.0, 23.0, 10.0)  # another integration: from, until (seconds of the run), calls a second
STEP: Final = 0.5  # seconds between two points of a curve

WIDTH: Final = 820
HEIGHT: Final = 330
LEFT: Final = 52
RIGHT: Final = 62
TOP: Final = 46
BOTTOM: Final = 44
TALLEST: Final = 30  # calls a second at the top

# Colours that stand out on white and on black; text and lines follow the reader's scheme.
STYLE: Final = """
text{font:12px system-ui,sans-serif;fill:#6e7781}.axis{stroke:#8c959f;stroke-width:1}
.limit{stroke:#8c959f;stroke-width:1.5;stroke-dasharray:5 4}.ours{fill:#2da44e;fill-opacity:.75}
.others{fill:#8c959f;fill-opacity:.18}.rows{fill:none;stroke:#388bfd;stroke-width:2.5}.refused{fill:#e5534b}
.rows-text{fill:#388bfd}.ours-text{fill:#2da44e}.refused-text{fill:#e5534b}
@media(prefers-color-scheme:dark){text{fill:#9da7b3}}
"""


@attrs.frozen(kw_only=True)
class Story:
    """What a load did, in seconds since it began."""

    accepted: Sequence[float]
    refused: Sequence[float]
    done: Sequence[tuple[float, int]]
    holds: Sequence[tuple[float, float]]
    seconds: float
    calls: int
    most_in_a_second: int


async def story(rows: int = ROWS) -> Story:
    """Load so many titles, and say how it went."""
    random.seed(SEED)  # the governor's jitter
    since, until, rate = OTHERS
    config = sim.Config(
        rate=LIMIT,
        window="sliding",
        epoch=EPOCH,
        latency=sim.Latency(base=0.25, jitter=0.2),
        foreign=lambda wall: rate if since <= wall - EPOCH < until else 0.0,
        seed=SEED,
    )
    world, clock, events = sim.World.demo(config), Clock(epoch=EPOCH), list[Event]()
    refused, done = list[float](), [(0.0, 0)]
    with TemporaryDirectory(prefix="alma-async-picture-") as directory:
        os.environ["ALMA_STATE_DIR"] = directory
        async with (
            sim.serve(world) as server,
            AlmaClient(
                "sim-picture",
                base_url=server.base_url,
                budget=LocalBudget(),
                clock=clock,
                hooks=[events.append],
            ) as alma,
            anyio.create_task_group() as group,
        ):
            load = Load(
                alma,
                collection_id=sim.DEMO_COLLECTION,
                service_id=sim.DEMO_SERVICE,
                journal=Path(directory) / "picture.load",
            )

            async def look() -> None:
                while True:
                    await anyio.sleep(STEP)
                    if (progress := load.progress()) is not None:
                        done.append((clock.now(), progress.done))

            group.start_soon(look)
            titles = (
                {"mms_id": f"99{n:010}", "url": f"https://journals.example.org/{n}"} for n in range(rows)
            )
            report = await load.run(titles)
            group.cancel_scope.cancel()
            done.append((clock.now(), report.created))
            accepted = list(world.tally.accepted)
            refused = sorted(at - EPOCH for at in set(world.tally.received) - set(accepted))
    return Story(
        accepted=accepted,
        refused=refused,
        done=done,
        holds=[(event.at, event.until) for event in events if isinstance(event, Paused)],
        seconds=report.seconds,
        calls=report.calls,
        most_in_a_second=sim.busiest_second(accepted),
    )


def drawing(told: Story) -> str:
    """The picture, as SVG that reads well on light and on dark."""
    rows = told.done[-1][1]
    last = max(10.0, told.seconds)

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * at / last, 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    steps = [STEP * n for n in range(int(last / STEP) + 1)]
    counts = [_in_the_second_before(told.accepted, at) for at in steps]
    hill = " ".join(f"{x(at)},{y(count / TALLEST)}" for at, count in zip(steps, counts, strict=True))
    way = " ".join(f"{x(min(at, last))},{y(done / rows)}" for at, done in told.done)
    since, until, rate = OTHERS
    title = (
        f"A load of {rows:,} rows in {told.seconds:.0f} seconds: {told.calls:,} calls, never more than "
        f"{told.most_in_a_second} in a second, {len(told.refused)} rejected by the threshold"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f"<title>{title}</title><style>{STYLE.strip()}</style>",
        f'<rect class="others" x="{x(since)}" y="{y(1)}" width="{x(until) - x(since):.1f}" height="{y(0) - y(1):.1f}"/>',
        _text(x((since + until) / 2), y(1) - 8, f"others draw {rate:.0f} a second", anchor="middle"),
        f'<polygon class="ours" points="{x(0)},{y(0)} {hill} {x(steps[-1])},{y(0)}"/>',
        f'<line class="limit" x1="{x(0)}" x2="{x(last)}" y1="{y(LIMIT / TALLEST)}" y2="{y(LIMIT / TALLEST)}"/>',
        _text(x(0.6 * last), y(LIMIT / TALLEST) - 6, f"limit: {LIMIT} a second", anchor="middle"),
        f'<polyline class="rows" points="{way}"/>',
        *(f'<circle class="refused" cx="{x(at)}" cy="{y(1.5 / TALLEST)}" r="4"/>' for at in told.refused),
        f'<path class="axis" fill="none" d="M{x(0)} {y(1)}V{y(0)}H{x(last)}V{y(1)}"/>',
        *(_text(LEFT - 8, y(n / TALLEST) + 4, str(n), anchor="end") for n in range(0, TALLEST + 1, 10)),
        *(_text(WIDTH - RIGHT + 8, y(n / 4) + 4, f"{rows * n // 4:,}") for n in range(5)),
        *(_text(x(at), y(0) + 18, f"{at} s", anchor="middle") for at in range(0, int(last) + 1, 10)),
        _text(LEFT, 18, "calls in the last second", kind="ours-text"),
        _text(WIDTH - RIGHT, 18, "rows done", kind="rows-text", anchor="end"),
        _text(
            LEFT,
            HEIGHT - 6,
            "● rejected by the threshold: everything is held for a moment",
            kind="refused-text",
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _in_the_second_before(stamps: Sequence[float], at: float) -> int:
    return sum(1 for stamp in stamps if at - 1.0 < stamp - EPOCH <= at)


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def main(path: Path) -> None:
    """Draw it."""
    told = anyio.run(story, backend_options={"loop_factory": sim.VirtualTimeLoop})
    path.write_text(drawing(told), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
