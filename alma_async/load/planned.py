"""Carrying out a plan: a dry run's journal as the rows of a load, each with what
the dry run decided and saw.

Decides whether a journal is a plan that this load may carry out now, which rows of a list are not
the plan's, and whether what a row concerns is still as the plan saw it: the portfolios of its title
in the list of the service, and the portfolio that it changes, read right before the write. What is
not goes to review and names what differs. What a row then needs is left to ``row_task``.

A plan is carried out once: the first load that takes it says so in the plan's
journal, before it takes a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import loads
from alma_async._text import duration, masked
from alma_async.alma.models.electronic import Portfolio
from alma_async.load.before_image import WARNED, differences, digest
from alma_async.load.entries import Entry, Planned
from alma_async.load.facts import (
    BEGUN_AT,
    BY_TITLE,
    CARRIED_OUT,
    INGESTED,
    PLAN_SERVICE_READ,
    SERVICE_READ,
    WARNINGS,
    OtherLoad,
    compared,
)
from alma_async.load.journal import Held, Journal, slices
from alma_async.load.row import InputError, Row

__all__ = ["Others", "PlanRows", "as_of", "drift", "of_row", "require_plan", "strayed"]


async def require_plan(
    plan: Journal, facts: Mapping[str, str], *, by: str, now: float, age: float
) -> dict[str, str]:
    """See that this journal is a plan of a load with these facts, which the load of the
    journal ``by`` may carry out.

    :param now: civil seconds
    :param age: seconds for which a plan may be carried out
    :return: its own facts
    :raises JournalError: where it is not what was written.
    :raises InputError: where it is no plan, did not end, or is too old.
    :raises OtherLoad: where it is of another load, or another load carries it out.
    """
    await plan.check()
    known = await plan.meta()
    if not known.get("dry"):
        raise InputError(_NO_PLAN.format(plan.name), advice=_DRY_RUN)
    compared(known, facts, journal=plan.name, advice=_ANOTHER)
    if not known.get(INGESTED) or not known.get(SERVICE_READ) or await plan.open_entries(after=0, limit=1):
        raise InputError(_NOT_ENDED.format(plan.name), advice=_END_IT.format(plan.name))
    if (other := known.get(CARRIED_OUT)) and other != by:
        raise OtherLoad(_CARRIED_OUT.format(plan.name, other), advice=_GO_ON)
    made = float(known[BEGUN_AT])
    if abs(now - made) > age:  # a clock that was set back a little is no reason to begin anew
        old = f"{duration(now - made)} ago" if now > made else "later than this machine's clock says it is"
        raise InputError(_TOO_OLD.format(plan.name, as_of(made), old, duration(age)), advice=_ANEW)
    return known


def as_of(at: float) -> str:
    """A time, as people are shown it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


@attrs.frozen
class PlanRows:
    """The rows of a plan, in its open journal, of which ``known`` are the facts. What was rejected
    as it was read is an entry.
    """

    plan: Journal
    known: Mapping[str, str]

    @property
    def about_file(self) -> tuple[str, ...]:
        """What was said of the list as a whole."""
        return tuple(loads(self.known[WARNINGS].encode(), lone_surrogates=True))

    @property
    def facts(self) -> dict[str, str]:
        """What the load's own journal says of it."""
        return {PLAN_SERVICE_READ: self.known[SERVICE_READ]}

    async def __aiter__(self) -> AsyncIterator[Row | Entry]:
        at, by_title = float(self.known[BEGUN_AT]), self.known[SERVICE_READ] == BY_TITLE
        async for entries in slices(self.plan.entries):
            rows = {entry.n: row for entry, row in await self.plan.rows(entries)}
            bodies = await self.plan.kept(list(rows))
            named = {one for row in rows.values() if row.is_nameless for one in row.identifiers}
            carriers = await self.plan.carriers(named)
            mms_ids = {entry.mms_id for entry in entries if entry.mms_id}
            held = await self.plan.existing(
                mms_ids, {row.portfolio_id for row in rows.values() if row.portfolio_id}
            )
            by_name = _by_name(held)
            for entry in entries:
                if (row := rows.get(entry.n)) is None:
                    yield entry
                    continue
                its = (*by_name.get(entry.mms_id or "", ()), *by_name.get(row.portfolio_id or "", ()))
                carried = {it.portfolio_id for one in row.identifiers for it in carriers.get(one, ())}
                planned = Planned(
                    at=at,
                    ended=entry,
                    seen=of_row(its, row, entry.mms_id, by_title=by_title),
                    carriers=tuple(sorted(carried)) if row.is_nameless else (),
                    before=bodies.get(entry.n),
                )
                yield attrs.evolve(row, planned=planned)


def _by_name(held: Iterable[Held]) -> dict[str, list[Held]]:
    """Portfolios by their titles and by their ids."""
    found = dict[str, list[Held]]()
    for one in held:
        for name in filter(None, one[:2]):
            found.setdefault(name, []).append(one)
    return found


def of_row(
    held: Iterable[Held], row: Row, mms_id: str | None, *, by_title: bool
) -> tuple[tuple[str, str], ...]:
    """The portfolios that a row concerns, each with its availability: its title's, and the one that
    it names. Where each title is asked for, a row that names a portfolio concerns none: that one is
    read.
    """
    if by_title and row.portfolio_id is not None:
        return ()
    its = {
        (one.portfolio_id, one.availability or "")
        for one in held
        if (mms_id and one.mms_id == mms_id) or one.portfolio_id == row.portfolio_id
    }
    return tuple(sorted(its))


def drift(then: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]) -> str | None:
    """How the portfolios that a row concerns changed since the plan; None where they did not."""
    old, new = dict(then), dict(now)
    said = [
        *(f"portfolio {one} is not there any more" for one in old if one not in new),
        *(f"portfolio {one} has come since" for one in new if one not in old),
        *(
            f"the availability of portfolio {one} was {old[one]!r} and is {new[one]!r}"
            for one in old
            if one in new and old[one] != new[one]
        ),
    ]
    return f"{'; '.join(said)}." if said else None


def strayed(before: bytes | None, present: Portfolio) -> str | None:
    """How a portfolio changed since the plan read it; None where it did not."""
    saw: dict[str, Any] = loads(before or b"{}", lone_surrogates=True)
    if digest(saw) == digest(unstructure(present)):
        return None
    fields = differences(structure(saw, Portfolio, warned=WARNED), present)
    said = [f"{one.field} was {one.old!r} and is {one.new!r}" for one in fields]
    return masked(f"{'; '.join(said) or 'what no row names was changed'}.")


@attrs.define
class Others:
    """The lines of rows that only the list has, and of those that only the plan
    has, by what they ask for.
    """

    added: dict[bytes, list[int]] = attrs.field(factory=dict)
    missing: dict[bytes, list[int]] = attrs.field(factory=dict)

    def compare(self, given: Entry | None, planned: Entry | None) -> None:
        """The two in one place; None where there is none."""
        if given and planned and (given.line, _asks(given)) == (planned.line, _asks(planned)):
            return
        for one, found in ((given, self.added), (planned, self.missing)):
            if one is not None:
                found.setdefault(_asks(one), []).append(one.line)

    @property
    def said(self) -> str | None:
        """What is not the same, line by line; None where all is."""
        if not self.added and not self.missing:
            return None
        added, missing = _beyond(self.added, self.missing), _beyond(self.missing, self.added)
        changed = added & missing
        said = (
            (sorted(changed.elements()), "says something else than in the plan"),
            (sorted((added - changed).elements()), "is not in the plan"),
            (sorted((missing - changed).elements()), "of the plan is not in the list"),
        )
        return "; ".join(f"{_lines(lines)}: {what}" for lines, what in said if lines) or _OTHER_ORDER


def _asks(entry: Entry) -> bytes:
    return entry.payload or (entry.message or "").encode(errors="backslashreplace")


def _beyond(these: Mapping[bytes, list[int]], those: Mapping[bytes, list[int]]) -> Counter[int]:
    """The lines of the rows that are more often here than there."""
    return Counter(line for asked, lines in these.items() for line in lines[len(those.get(asked, ())) :])


def _lines(lines: Sequence[int]) -> str:
    more = f" and {len(lines) - _MOST} more" if len(lines) > _MOST else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines[:_MOST]))}{more}"


_MOST: Final = 10  # chosen: lines that are named
_DRY_RUN: Final = "Nothing was sent. Make a plan: --dry-run --journal PLAN."
_ANEW: Final = (
    "Nothing was sent. Make the plan anew (--dry-run), or allow its age: --plan-age SECONDS (plan_age=)."
)
_ANOTHER: Final = "Nothing was sent. Name the plan of this load, or make one: --dry-run --journal PLAN."
_GO_ON: Final = "Nothing was sent. Go on with that load, or make a new plan (--dry-run)."
_NO_PLAN: Final = "{}, given as plan, is not the journal of a dry run."
_NOT_ENDED: Final = "The dry run of the plan {} did not end."
_END_IT: Final = "Nothing was sent. End it first: alma-async resume {}, or the command that began it."
_CARRIED_OUT: Final = "The plan {} is carried out already, by the load with the journal {!r}."
_TOO_OLD: Final = "The plan {} was made at {}, {}; a plan may be carried out for {}."
_OTHER_ORDER: Final = "the same rows stand in another order or in other lines"
