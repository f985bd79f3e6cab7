"""When a set that fills by itself is full, and when to look again.

Decides by the number of members seen so far; asking and waiting are done in ``alma_async.alma.sets``. Alma fills sets made
from logical ones, by combining or by filtering after its answer (seen). Where it does not name the job that does it, it never says
when that is done, so all of this is inferred: full is a number that stays the same, and no members at all are believed only after
much longer.
"""

from __future__ import annotations

from typing import Final, Self

import attrs

__all__ = ["Filling", "pause"]

# Ours, in seconds. One client's tests wait 5 s for small sets (seen); nothing is known of large ones.
STEADY: Final = 15.0
EMPTY: Final = 300.0
PAUSES: Final = (2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0)


def pause(looks: int) -> float:
    """Seconds to wait after so many looks: soon at first, then each minute."""
    return PAUSES[min(looks, len(PAUSES)) - 1]


@attrs.frozen
class Filling:
    """How many members there are, and since when."""

    members: int
    since: float

    def seen(self, members: int, *, now: float) -> Self:
        """The state after another look."""
        return self if members == self.members else type(self)(members, now)

    def is_full(self, *, now: float, expected: int | None = None) -> bool:
        """Whether nothing more is to come; with ``expected``, whether so many are there."""
        if expected is not None:
            return self.members >= expected
        return now - self.since >= (STEADY if self.members else EMPTY)
