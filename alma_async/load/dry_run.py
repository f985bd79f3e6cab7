"""What a dry run found (``Plan``, its rows read from the dry run's journal) and what the
load will cost (``Price``).

The dry run makes each read that the load will make (listing the service, matching, one for each
portfolio that would be changed), so its own calls are counted; the load makes them once more, but
for those that read records for the index of identifiers, which it finds kept, and the writes
besides. A create costs a POST, and a PUT where it names what a create does not take (coverage: seen
by other clients); every other write costs one call, and a read where its answer shows less than the
whole. Which of this an institution needs shows in the first answers of the load and is kept
(``institution``): until then there is a least and a most. Rows that one job carries out
(``via_job``) cost the calls of its set and its run, and one each where they are read after it. Not
counted: calls that are throttled or answered badly and repeated, reading back after a lost answer,
and rows of many kinds, each of which is learned apart (``after_create``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Self

import attrs

from alma_async._core.pager import PAGE, pages_of
from alma_async.load.after_create import reads_of
from alma_async.load.entries import OF_WHOLE, Entry, State
from alma_async.load.facts import BY_LIST, CALLS, INDEXED, JOB_CALLS, SERVICE_READ
from alma_async.load.fields import COVERAGE
from alma_async.load.institution import InstitutionFacts
from alma_async.load.journal import SLICE, Journal, Journals, slices
from alma_async.load.via_job import FEW, calls_of, is_listed, value_of

if TYPE_CHECKING:
    from alma_async.load.progress import Meter, Quote, Report

__all__ = ["Plan", "Price", "Writes", "note_calls", "plan_of", "scratch_path"]


@attrs.frozen(kw_only=True)
class Writes:
    """How many calls of each kind that change something; of the PUTs ``spared`` are not needed
    where a create takes coverage. ``reads_back`` counts the GETs that are needed besides where Alma
    answers writes with less than the whole object. ``job`` counts all calls of a job that carries
    out ``by_job`` rows in place of those.
    """

    posts: int = 0
    puts: int = 0
    deletes: int = 0
    spared: int = 0
    reads_back: int = 0
    job: int = 0
    by_job: int = 0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """What the rows of a dry run would send."""
        return sum((cls._of(entry) for entry in entries if entry.state is State.DONE), cls())

    def calls(self, known: InstitutionFacts) -> int:
        """All calls that carry them out, where all of this is known and rows are alike."""
        puts = self.puts - (self.spared if known.post_coverage else 0)
        read = self.posts if known.post_coverage else self.posts - self.spared + reads_of(self.spared)
        shown = 0 if known.put_answer == "whole" else puts
        shown += 0 if known.post_answer == "whole" else read
        return self.posts + puts + self.deletes + self.job + shown

    @property
    def most(self) -> int:
        """All calls, where a create does not take coverage and each write is read back."""
        return self.posts + self.puts + self.deletes + self.reads_back + self.job

    @classmethod
    def _of(cls, entry: Entry) -> Self:
        if entry.action == "created":
            covered = any(d.field in COVERAGE for d in entry.differences)
            return cls(posts=1, puts=covered, spared=covered, reads_back=1 + covered)
        if entry.action == "updated":
            return cls(puts=1, reads_back=1)
        return cls(deletes=entry.action == "deleted")

    def __add__(self, other: Writes) -> Self:
        pairs = zip(attrs.astuple(self), attrs.astuple(other), strict=True)
        names = (field.name for field in attrs.fields(Writes))
        return type(self)(**{name: one + two for name, (one, two) in zip(names, pairs, strict=True)})


@attrs.frozen(kw_only=True)
class Price:
    """The price of a load. ``planned`` is what the dry run itself has cost, and is spent; ``known``
    is of the institution, by which the price is exact where rows are alike, and a range where it is
    not known. ``reads_of_plan`` are the reads of a load that carries out the dry run (``load
    --plan``): the list of the service, and a read before each change. None: not known. ``of_job`` are
    all calls where a job does it for all rows (``via_job``); None where none can, or for few rows.
    """

    reads: int
    writes: Writes
    planned: int
    quote: Quote
    known: InstitutionFacts = attrs.field(factory=InstitutionFacts)
    reads_of_plan: int | None = None
    of_job: int | None = None

    @property
    def calls(self) -> int:
        """All calls of the load; where that is not known, a create does not take coverage and
        answers are whole (seen).
        """
        return self.reads + self.writes.calls(self.known.completions()[0])

    @property
    def of_plan(self) -> int | None:
        """All calls of a load that carries out the dry run: what was read is not read again. None
        where it is not known.
        """
        return None if self.reads_of_plan is None else self.reads_of_plan + self.calls - self.reads

    @property
    def least(self) -> int:
        """All calls in the best case that what is known leaves open."""
        return self.reads + min(map(self.writes.calls, self.known.completions()))

    @property
    def most(self) -> int:
        """All calls in the worst case that it leaves open; each write is read back then."""
        each = max(map(self.writes.calls, self.known.completions()))
        return self.reads + (each if self.known.post_answer else max(each, self.writes.most))

    @property
    def seconds(self) -> float:
        """At the pace in force, if nobody else draws more than now."""
        return self.quote.seconds(self.calls)

    @property
    def share(self) -> float | None:
        """Of the calls that remain today; None where that is unknown, above 1
        where they do not suffice.
        """
        left = self.quote.remaining
        return None if left is None else self.calls / left if left else float("inf") if self.calls else 0.0

    @property
    def above_reserve(self) -> bool | None:
        """True where it leaves the reserve to others; None where it is unknown what remains."""
        left = self.quote.remaining
        return None if left is None else left - self.calls >= self.quote.reserve

    @property
    def before_reset(self) -> bool:
        """True where it is done before the day's calls begin anew, at midnight UTC."""
        return self.seconds <= self.quote.resets_in + 1e-6

    def summary(self) -> dict[str, float | int | bool | None]:
        """All of it, flat."""
        share = self.share
        return {
            "calls": self.calls,
            "least": self.least,
            "most": self.most,
            "reads": self.reads,
            "posts": self.writes.posts,
            "puts": self.writes.puts,
            "deletes": self.writes.deletes,
            "job": self.writes.job,
            "planning_calls": self.planned,
            "calls_of_plan": self.of_plan,
            "calls_of_job": self.of_job,
            "seconds": round(self.seconds, 1),
            "per_second": round(self.quote.per_second, 2),
            "remaining": self.quote.remaining,
            "reserve": round(self.quote.reserve),
            "share": None if share is None else round(share, 4),
            "above_reserve": self.above_reserve,
            "before_reset": self.before_reset,
        }


Scratch = TemporaryDirectory[str]


@attrs.frozen(kw_only=True)
class Plan:
    """The dry run of a load: what it would do, and its price.

    ``async for`` gives its rows, in their order: ``action`` is what would be done, ``differences``
    say it field by field. ``report`` counts them as ``Load.run`` would. Close it, or use it in a
    ``with``, where it was made without a journal of its own.
    """

    report: Report
    price: Price
    journal: Path
    _journals: Journals
    _scratch: Scratch | None = None

    async def __aiter__(self) -> AsyncIterator[Entry]:
        after = 0
        while True:
            async with self._journals.opened(self.journal, reading=True) as journal:
                entries = await journal.entries(after=after, limit=SLICE)
            if not entries:
                return
            for entry in entries:
                yield entry
            after = entries[-1].n

    def close(self) -> None:
        """Remove the dry run's journal, where it was made for this plan."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def plan_of(
    journals: Journals,
    journal: Path,
    report: Report,
    quote: Quote,
    known: InstitutionFacts,
    *,
    scratch: Scratch | None = None,
) -> Plan:
    """The plan in the journal of a dry run that has ended; ``known`` is of the institution."""
    writes, changed = Writes(), 0
    async with journals.opened(journal, reading=True) as found:
        facts, held = await found.meta(), await found.held()
        async for entries in slices(found.entries):
            writes += Writes.of(entries)
            changed += sum(map(_is_change, entries))
        job, before = await _of_job(found, facts["action"]) if _may_be_a_job(facts) else (Writes(), None)
    calls, indexed = int(facts.get(CALLS, "0")), int(facts.get(INDEXED, "0"))
    listed = (2 + pages_of(held, PAGE) if held else 1) if facts.get(SERVICE_READ) == BY_LIST else None
    price = Price(
        reads=calls - indexed,
        writes=job if facts.get("via_job") else writes,
        planned=calls,
        quote=quote,
        known=known,
        reads_of_plan=None if listed is None or not _may_be_a_plan(facts) else listed + changed,
        of_job=None
        if listed is None or before is None or job.by_job < FEW
        else pages_of(held, PAGE) + before + job.job,
    )
    return Plan(report=report, price=price, journal=journal, journals=journals, scratch=scratch)


def _is_change(entry: Entry) -> bool:
    """Whether a load reads its portfolio right before it writes."""
    return entry.state is State.DONE and entry.action in ("updated", "deleted")


def _may_be_a_plan(facts: Mapping[str, str]) -> bool:
    """Whether a load may carry out the dry run with these facts."""
    return not (facts["action"] == "undo" or facts["missing"] or facts.get("via_job"))


def _may_be_a_job(facts: Mapping[str, str]) -> bool:
    """Whether a job may do what the rows ask, or does it."""
    without = (
        facts["since"]
        or facts["missing"]
        or facts["duplicates"] == "allowed"
        or facts["bib"] != "retain"
        or facts.get("notes", "replace") != "replace"
    )
    return bool(facts.get("via_job")) or (facts["action"] in ("update", *OF_WHOLE) and not without)


async def _of_job(plan: Journal, action: str) -> tuple[Writes, int | None]:
    """What the job costs that changes or deletes what the rows of a dry run would, and how many of
    their portfolios are read before it. None for these where the rows do not ask all for the same.
    """
    rows, read, values = 0, 0, set[Hashable]()
    async for entries in slices(plan.entries):
        done = await plan.rows(list(filter(_is_change, entries)))
        rows += len(done)
        read += sum(not is_listed(row, action) for _, row in done)
        values |= {value_of(row, action) for _, row in done}
    job = Writes(job=calls_of(rows, await plan.held(), read=read), by_job=rows)
    return job, read if len(values) == 1 and None not in values else None


def scratch_path() -> tuple[Path, Scratch]:
    """Where a dry run without a journal of its own is written down."""
    scratch = TemporaryDirectory(prefix="alma-async-plan-")
    return Path(scratch.name) / "plan.load", scratch


async def note_calls(journal: Journal, meter: Meter) -> None:
    """Add what this run of a dry run has cost, where what was throttled is not asked again by the
    load; and what its job would take, if it has one.
    """
    facts = await journal.meta()
    found = {CALLS: str(int(facts.get(CALLS, "0")) + meter.calls - meter.throttled)}
    if facts.get("via_job"):
        found[JOB_CALLS] = str((await _of_job(journal, facts["action"]))[0].job)
    await journal.note(found)
