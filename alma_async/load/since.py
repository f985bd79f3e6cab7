"""What an earlier load of the same service means for a row that comes again: by its natural key, never by its line. Pure.

What the earlier load did and the row still asks for is known, and not sent. What it had begun goes on here from where it stood, so
that what it sent without an answer is read back before anything is sent again. All else is a row like any other.
"""

from __future__ import annotations

import attrs

from alma_async.load.entries import Entry, State, Step
from alma_async.load.reasons import EndReason

__all__ = ["KNOWN", "after"]

KNOWN = "known"
"""The action of a row that an earlier load has done."""


def after(old: Entry, new: Entry) -> Entry:
    """Where a row stands at first, whose natural key an earlier load had too."""
    if old.state is State.DONE and old.payload == new.payload:
        why = EndReason.KNOWN.code
        return attrs.evolve(new, state=State.DONE, action=KNOWN, reason=why, portfolio_id=old.portfolio_id)
    sent = old.state in (State.INTENT, State.UNKNOWN) or (
        old.state is State.REVIEW and old.step is Step.CREATE and old.action is None and bool(old.differences)
    )
    if sent or old.is_begun:
        state = State.UNKNOWN if sent else old.state
        return attrs.evolve(
            old, n=new.n, line=new.line, payload=new.payload, source=new.source, state=state, attempts=0
        )
    return new
