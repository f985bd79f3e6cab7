"""Which portfolio a row means: one, none, or nobody can say. Pure.

By portfolio id, then by MMS id with the URL deciding between several; never by title. On ambiguity nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

__all__ = ["Alike", "Ambiguous", "Candidate", "Match", "NoMatch", "One", "alike", "decide"]


@attrs.frozen
class Candidate:
    """A portfolio of the row's title in the row's service."""

    portfolio_id: str
    url: str


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


Match: TypeAlias = One | NoMatch | Ambiguous | Alike


def decide(url: str, candidates: Sequence[Candidate], *, rows_of_title: int) -> Match:
    """Choose among the portfolios of one title. ``rows_of_title`` is how many rows of the file name the same title.

    A single portfolio and a single row mean each other, whatever their URLs. Otherwise the URL must be the same.
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
