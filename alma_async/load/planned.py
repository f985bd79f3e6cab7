"""What a dry run found: ``Plan``, its rows read from the dry run's journal as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import attrs

from alma_async.load.journal import Journal
from alma_async.load.price import Price, Quote, Writes

if TYPE_CHECKING:
    from alma_async.load.entries import Entry
    from alma_async.load.progress import Meter, Report

__all__ = ["Plan", "note_calls", "scratch_path"]

_CALLS: Final = "calls"  # the fact that holds what a dry run has cost so far, over all its runs
_SLICE: Final = 200  # rows in memory at once

Scratch = TemporaryDirectory[str]


@attrs.frozen(kw_only=True)
class Plan:
    """What a load would do, and its price.

    Iterate over it for its rows, in the order of the file: ``action`` is what would be done, ``differences`` say it field by field.
    ``report`` counts them as ``Load.run`` would. Close it, or use it in a ``with``, where it was made without a journal of its own.
    """

    report: Report
    price: Price
    journal: Path
    _scratch: Scratch | None = None

    @classmethod
    def read(cls, journal: Path, report: Report, quote: Quote, *, scratch: Scratch | None = None) -> Self:
        """From the journal of a dry run that has ended."""
        writes, after = Writes(), 0
        with Journal(journal, reading=True) as opened:
            calls = int(opened.meta().get(_CALLS, "0"))
            while entries := opened.entries(after=after, limit=_SLICE):
                writes, after = writes + Writes.of(entries), entries[-1].n
        price = Price(reads=calls, writes=writes, planned=calls, quote=quote)
        return cls(report=report, price=price, journal=journal, scratch=scratch)

    def __iter__(self) -> Iterator[Entry]:
        after = 0
        while True:
            with Journal(self.journal, reading=True) as opened:
                entries = opened.entries(after=after, limit=_SLICE)
            if not entries:
                return
            yield from entries
            after = entries[-1].n

    def close(self) -> None:
        """Let go of the dry run's journal, where nobody else wants it."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def scratch_path() -> tuple[Path, Scratch]:
    """Where a dry run without a journal of its own is written down."""
    scratch = TemporaryDirectory(prefix="alma-async-plan-")
    return Path(scratch.name) / "plan.load", scratch


def note_calls(journal: Journal, meter: Meter) -> None:
    """Add what this run of a dry run has cost; what was throttled is not asked again by the load."""
    before = int(journal.meta().get(_CALLS, "0"))
    journal.note({_CALLS: str(before + meter.calls - meter.throttled)})
