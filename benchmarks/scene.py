"""The scene of one measurement: how the gateway counts, how far away it is, who else calls, what changes.

Decides nothing. 25 calls a second are documented (slides of 2016); the three ways to count them are those that the gateway's
maker offers; 250 ms is a usual latency of a single read.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

from alma_async import sim

__all__ = ["KEY", "LIMIT", "PATHS", "PORTFOLIOS", "WINDOWS", "Scene", "Window", "Work"]

Window = Literal["fixed", "sliding", "bucket"]

WINDOWS: Final[tuple[Window, ...]] = ("fixed", "sliding", "bucket")
LIMIT: Final = 25.0
KEY: Final = "sim-bench"
PORTFOLIOS: Final = tuple(f"53{number:013d}" for number in range(400))
PATHS: Final = tuple(
    f"/almaws/v1/electronic/e-collections/{sim.DEMO_COLLECTION}/e-services/{sim.DEMO_SERVICE}/portfolios/{one}"
    for one in PORTFOLIOS
)


@attrs.frozen(kw_only=True)
class Scene:
    """One gateway. Times run from the first call that it receives.

    ``uniform`` and ``spread`` are jitter on the way to it: at most so many seconds, evenly; or so many in the mean,
    exponentially. ``others`` are calls a second that others make (Poisson), phase by phase. The limit becomes ``new_rate``
    at ``change_at``.
    """

    window: Window = "sliding"
    rate: float | None = LIMIT
    latency: float = 0.25
    uniform: float = 0.0
    spread: float = 0.0
    others: tuple[float, ...] = ()
    phase: float = 60.0
    new_rate: float | None = None
    change_at: float = 0.0
    seed: int = 0

    def drawn(self, at: float) -> float:
        """Calls a second that others make at ``at``."""
        return self.others[min(int(at // self.phase), len(self.others) - 1)] if self.others else 0.0


@attrs.frozen(kw_only=True)
class Work:
    """What a client is to do: so many calls, or as many as it can in so many seconds."""

    calls: int | None = None
    seconds: float = 600.0
