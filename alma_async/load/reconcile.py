"""What a create of unknown outcome turned out to be, from what Alma holds after the quarantine. Pure.

Only portfolios that were not there before the load and stand for no other row are looked at. One that carries the
row's URL is ours. One that does not may be a colleague's, or ours as Alma rewrote it: a person must look. None means
that the send was never applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, TypeAlias

import attrs

from alma_async.load.match import Candidate

__all__ = ["Adopt", "OnUnknown", "Verdict", "verdict"]

OnUnknown: TypeAlias = Literal["resend", "review", "never"]


@attrs.frozen
class Adopt:
    """It was applied: this is the portfolio."""

    portfolio_id: str


class Verdict(Enum):
    """Where nothing can be adopted."""

    RESEND = "it was never applied and may be sent again"
    REVIEW = "a person must decide"
    REFUSE = "it was never applied and is not sent again"


def verdict(
    url: str, candidates: Sequence[Candidate], *, attempts: int, most: int, policy: OnUnknown
) -> Adopt | Verdict:
    """Decide one row. ``attempts`` counts lost answers so far; a row that would need more than ``most`` goes to review."""
    ours = [candidate for candidate in candidates if candidate.url == url]
    if len(ours) == 1:
        return Adopt(ours[0].portfolio_id)
    if candidates or policy == "review" or (policy == "resend" and attempts >= most):
        return Verdict.REVIEW
    return Verdict.RESEND if policy == "resend" else Verdict.REFUSE
