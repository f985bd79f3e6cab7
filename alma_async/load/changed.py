"""What becomes of a row's entry when the file it came from has changed: by its natural key, never by its line. Pure.

Nothing in Alma is taken back: a row that is gone from the file leaves what it made.
"""

from __future__ import annotations

import attrs

from alma_async.load.entries import Entry, State, Step

__all__ = ["gone", "resumed"]

_OVER = (State.DONE, State.REJECTED, State.REVIEW)


def resumed(old: Entry, new: Entry) -> Entry:
    """The entry of a row that is in the changed file too, as ``new``: it goes on where it stood, or begins again where it had
    ended and now asks for something else.
    """
    here = attrs.evolve(old, n=new.n, line=new.line, payload=new.payload, source=new.source)
    if old.state is State.UNDONE and old.payload != new.payload:  # it stands nowhere any more
        return new
    if old.state not in _OVER or old.payload == new.payload or old.step is Step.DELETE:
        return here
    if old.action == "unchanged":  # nothing was done, hence nothing was kept
        return new
    if old.state is State.REVIEW and old.step is Step.CREATE:  # it may be there, and is looked for first
        return attrs.evolve(here, state=State.UNKNOWN)
    step = Step.MATCH if old.portfolio_id is None else Step.UPDATE
    return attrs.evolve(
        here, state=State.PENDING, step=step, attempts=0, code=None, message=None, tracking_id=None
    )


def gone(old: Entry) -> Entry:
    """The end of a row that is in the file no more and was not finished."""
    if old.state is State.UNKNOWN:
        return attrs.evolve(
            old, state=State.REVIEW, since=None, message=f"{_GONE} Whether it was sent is unknown."
        )
    if old.action is not None:
        return attrs.evolve(
            old, state=State.REVIEW, message=f"{_GONE} It was {old.action}, but not finished."
        )
    return attrs.evolve(old, state=State.REJECTED, message=_GONE)


_GONE = "The row is in the file no more."
