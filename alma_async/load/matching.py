"""Which portfolio a row means, and what a create of unknown outcome has left. Pure.

A row is matched by portfolio id, then by MMS id, with the URL deciding between several; never by
title. A row that has neither id gets the MMS id of the portfolios that carry its ISSN or ISBN. What
a record names as another form of its title (776) is a suggestion, and never a match. On ambiguity
nothing is written.

After the quarantine, only portfolios that were not there before the load and stand for no other row
are candidates for a lost create. One that carries the row's URL is ours. One that does not may be a
colleague's, or ours as Alma rewrote it: a person must decide. None means that the send was never
applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, TypeAlias

import attrs

__all__ = [
    "Adopt",
    "Alike",
    "Ambiguous",
    "Candidate",
    "Carrier",
    "Match",
    "NamedByAnother",
    "NoMatch",
    "OnUnknown",
    "One",
    "Suggested",
    "Title",
    "Verdict",
    "alike",
    "decide",
    "record_of",
    "verdict",
]


@attrs.frozen
class Candidate:
    """A portfolio of the row's title in the row's service."""

    portfolio_id: str
    url: str


@attrs.frozen
class Carrier:
    """A portfolio of the service that carries an ISSN or ISBN, which it has from its record
    (``mms_id``, "" where it has none).

    ``url`` is None where only the record was read. ``suggested``: the record names the number as
    another form's of its title.
    """

    portfolio_id: str
    mms_id: str
    url: str | None
    suggested: bool = False


@attrs.frozen(kw_only=True)
class Title:
    """How many rows of the file name a title (repeats not counted), and which portfolios of it were
    in the service before the load and stand for no other row (``existing``), or for one
    (``taken``).
    """

    rows: int
    existing: tuple[str, ...]
    taken: tuple[str, ...] = ()


@attrs.frozen
class One:
    """Exactly one portfolio is meant."""

    portfolio_id: str


@attrs.frozen
class NoMatch:
    """No portfolio of this title is there."""


@attrs.frozen
class Ambiguous:
    """Several could be meant; nothing may be written."""

    portfolio_ids: tuple[str, ...]


@attrs.frozen
class Alike:
    """One that was deleted is to be made anew, but one like it is there; nothing may be written."""

    portfolio_ids: tuple[str, ...]


@attrs.frozen
class NamedByAnother:
    """All that are there of the title are named by other rows, by their
    ids; nothing may be written.
    """

    portfolio_ids: tuple[str, ...]


@attrs.frozen
class Suggested:
    """Only records that name it as another form of their title carry it; a person must decide."""

    mms_ids: tuple[str, ...]
    portfolio_ids: tuple[str, ...]


Match: TypeAlias = One | NoMatch | Ambiguous | Alike | NamedByAnother


def decide(url: str, candidates: Sequence[Candidate], *, rows_of_title: int) -> Match:
    """Choose among the portfolios of one title. ``rows_of_title`` is how many rows of the
    file name the same title.

    A single portfolio and a single row mean each other, whatever their URLs. Otherwise
    the URL must be the same.
    """
    if not candidates:
        return NoMatch()
    if len(candidates) == 1 and rows_of_title == 1:
        return One(candidates[0].portfolio_id)
    same = [candidate for candidate in candidates if candidate.url == url]
    if len(same) == 1:
        return One(same[0].portfolio_id)
    return Ambiguous(tuple(candidate.portfolio_id for candidate in same or candidates))


def alike(url: str, candidates: Sequence[Candidate]) -> Alike | NoMatch:
    """Whether one that is to be made anew has come back already."""
    same = tuple(candidate.portfolio_id for candidate in candidates if candidate.url == url)
    return Alike(same) if same else NoMatch()


def record_of(url: str, carriers: Sequence[Carrier]) -> str | Ambiguous | Suggested | None:
    """The MMS id of the record that identifiers mean. Where portfolios of several carry them,
    the URL must be the same.
    """
    own = [carrier for carrier in carriers if not carrier.suggested]
    for found in (own, [carrier for carrier in own if carrier.url == url != ""]):
        mms_ids = {carrier.mms_id for carrier in found}
        if len(mms_ids) == 1:
            return mms_ids.pop()
    if own:
        return Ambiguous(tuple(carrier.portfolio_id for carrier in own))
    if not carriers:
        return None
    titles = dict.fromkeys(carrier.mms_id for carrier in carriers)
    return Suggested(tuple(titles), tuple(carrier.portfolio_id for carrier in carriers))


OnUnknown: TypeAlias = Literal["resend", "review", "never"]


@attrs.frozen
class Adopt:
    """It was applied: this is the portfolio."""

    portfolio_id: str


class Verdict(Enum):
    """Where nothing can be adopted."""

    RESEND = "it was never applied and may be sent again"
    REVIEW = "a person must decide"
    REJECT = "it was never applied and is not sent again"


def verdict(
    url: str, candidates: Sequence[Candidate], *, lost_answers: int, most: int, policy: OnUnknown
) -> Adopt | Verdict:
    """Decide one row. One that has had ``most`` lost answers is not sent again but goes to review."""
    ours = [candidate for candidate in candidates if candidate.url == url]
    if len(ours) == 1:
        return Adopt(ours[0].portfolio_id)
    if candidates or policy == "review" or (policy == "resend" and lost_answers >= most):
        return Verdict.REVIEW
    return Verdict.RESEND if policy == "resend" else Verdict.REJECT
