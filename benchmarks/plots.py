"""The pictures of a section, as PNG and SVG. Drawn from the section's own curves, so they can be made again from its JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Section
from benchmarks.scene import LIMIT

__all__ = ["draw"]

_OURS, _REFUSED, _PEERS = "#0b6e4f", "#c1121f", "#4a6fa5"
_MARKERS: Final = {"fixed": "o", "sliding": "s", "bucket": "^"}


def draw(section: Section, *, into: Path) -> None:
    """All pictures of the section; a section without curves has none."""
    import matplotlib as mpl  # type: ignore[import-not-found]

    mpl.use("Agg")
    # Text as text and fixed ids: small files that change only where a figure changed.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "alma_async", "font.size": 9})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True})
    for name, picture in _PICTURES.get(section.piece, {}).items():
        figure = picture(section.curves)
        figure.savefig(into / f"{name}.png", dpi=110)
        figure.savefig(into / f"{name}.svg", metadata={"Date": None})


def _axes(rows: int, columns: int, *, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    import matplotlib.pyplot as plt  # type: ignore[import-not-found]

    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    return figure, list(axes.flat)


def _colour(name: str) -> str:
    return _OURS if name.startswith("alma_async") else _PEERS


def _pace(curves: dict[str, Any]) -> Any:
    """Calls a second over time, client by client."""
    shown = curves["pace"]
    columns = 2
    rows = -(-len(shown) // columns)
    figure, axes = _axes(rows, columns, size=(9, 1.5 * rows))
    for axis, (name, lines) in zip(axes, shown.items(), strict=False):
        at = [0.5 * (step + 1) for step in range(len(lines["accepted"]))]
        axis.axhline(LIMIT, color="grey", linestyle=":", linewidth=1)
        axis.fill_between(
            at, lines["accepted"], color=_colour(name), alpha=0.75, linewidth=0, label="accepted"
        )
        axis.plot(at, lines["refused"], color=_REFUSED, linewidth=1.2, label="refused")
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_xlim(0, 60)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    axes[0].legend(loc="upper right", frameon=False, fontsize=8)
    figure.supxlabel("seconds (the slowest go on)")
    figure.supylabel("calls in the last second")
    return figure


def _points(curves: dict[str, Any]) -> Any:
    """How much of the limit was used, against how much was refused."""
    import matplotlib.pyplot as plt

    figure, (axis,) = _axes(1, 1, size=(8, 4.5))
    names = list(dict.fromkeys(point["name"] for point in curves["points"]))
    peers = [name for name in names if not name.startswith("alma_async")]
    colours = {name: plt.get_cmap("tab10")(number % 10) for number, name in enumerate(peers)}
    for point in curves["points"]:
        name, window = point["name"], point["window"]
        label = name if window == "fixed" else None
        colour = colours.get(name, _OURS)
        axis.scatter(
            100 * point["use"],
            100 * point["refused"],
            marker=_MARKERS[window],
            s=45,
            color=colour,
            label=label,
        )
    axis.set_yscale("symlog", linthresh=0.1)
    axis.set_ylim(-0.03, 100)
    axis.set_xlim(0, 110)
    axis.set(xlabel="of the limit used, %", ylabel="refused, % (0 is the bottom)")
    axis.set_title("● fixed seconds   ■ sliding seconds   ▲ 1.5 tokens", loc="left", fontsize=9)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _beside(curves: dict[str, Any]) -> Any:
    """Each client over time, and what others leave."""
    others, phase = curves["others"]
    figure, axes = _axes(len(curves["beside"]), 1, size=(8, 5))
    edges = [phase * step for step in range(len(others) + 1)]
    for axis, (name, line) in zip(axes, curves["beside"].items(), strict=True):
        axis.stairs(
            [LIMIT - one for one in others], edges, fill=True, color="#dddddd", label="left by others"
        )
        axis.plot(range(1, len(line) + 1), line, color=_colour(name), linewidth=1.2, label="accepted")
        axis.set_title(name, loc="left", fontsize=9)
        axis.set_ylim(0, 30)
    axes[0].legend(loc="upper right", frameon=False, fontsize=8, ncols=2)
    figure.supxlabel("seconds")
    figure.supylabel("calls in the last second")
    return figure


def _day(curves: dict[str, Any]) -> Any:
    """Calls by the hour, and what remains of the day."""
    figure, axes = _axes(len(curves), 1, size=(8, 1.8 * len(curves)))
    for axis, (name, hours) in zip(axes, curves.items(), strict=True):
        bulk, others, left = zip(*hours, strict=True)
        at = range(len(hours))
        axis.bar(at, _steps(bulk), color=_OURS, width=0.9, label="bulk, an hour")
        axis.bar(
            at, _steps(others), bottom=_steps(bulk), color="#bbbbbb", width=0.9, label="others ask, an hour"
        )
        axis.plot(at, left, color=_REFUSED, linewidth=1.2, label="remaining")
        axis.set_title(name, loc="left", fontsize=9)
    axes[0].legend(loc="upper right", frameon=False, fontsize=8, ncols=3)
    figure.supxlabel("hour of the day, UTC")
    figure.supylabel("calls")
    return figure


def _steps(totals: tuple[int, ...]) -> list[int]:
    return [later - earlier for earlier, later in zip((0, *totals), totals, strict=False)]


_PICTURES: Final[dict[str, dict[str, Callable[[dict[str, Any]], Any]]]] = {
    "clients": {"pace": _pace, "use": _points},
    "sharing": {"sharing": _beside},
    "day": {"day": _day},
}
