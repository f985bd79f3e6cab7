"""Counts and lengths of time as people read them, said by one function each wherever a sentence needs them. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["counted", "duration"]

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_FINE: Final = 10  # seconds below which a tenth of one is worth saying


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """``0.5 seconds``, ``1 minute 30 seconds`` or ``5 hours 27 minutes``: the two largest units, rounded."""
    if seconds < _FINE:
        few = f"{seconds:.1f}".removesuffix(".0")
        return f"{few} second{'' if few == '1' else 's'}"
    smallest = next(size for limit, size in ((86_400, 3600), (3600, 60), (0, 1)) if seconds >= limit)
    rest, told = round(seconds / smallest) * smallest, []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            told.append(counted(count, unit))
    return " ".join(told)
