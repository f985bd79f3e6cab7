"""How a load begins: its rows go into the journal, and beside them what the service holds already.

Rows are read once, from a file or any iterable, as they come; from then on the journal alone is
read. As nothing is sent before all are in, a reading that was cut off is simply done again. Also
decides whether the service is listed or asked title by title, and which record a row means that
names none: that of the portfolios which carry its ISSN or ISBN. So such a row has a natural key
like any other. Sends nothing that changes anything.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from alma_async._clock import Clock, Task, ended, started
from alma_async._core.pager import PAGE, pages_of
from alma_async._http.json_text import dumps, loads
from alma_async._text import logger
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import BadAnswer, NotFound
from alma_async.load import matching
from alma_async.load.entries import KNOWN, OPEN, Entry, Moment, Source, State, Step
from alma_async.load.facts import (
    BEGUN_AT,
    BY_LIST,
    BY_TITLE,
    CARRIED_OUT,
    INGESTED,
    JOB_BEGUN,
    LINES,
    PLAN_SERVICE_READ,
    ROWS,
    SERVICE_READ,
    STANDING,
    SUPERSEDED,
    UNREAD,
    WARNINGS,
    compared,
    require_its_turn,
    undecided,
)
from alma_async.load.fields import natural_key_of, payload_of, rejected, wanted_url
from alma_async.load.identifier_index import AS_NEW, IdentifierIndex
from alma_async.load.journal import SLICE, Held, Ingested, Journal
from alma_async.load.lookup import listed
from alma_async.load.options import LoadContext
from alma_async.load.planned import Others, PlanRows, require_plan
from alma_async.load.readers import read_rows
from alma_async.load.reasons import EndReason
from alma_async.load.row import BadRow, InputError, Row, RowProblem, checked
from alma_async.load.undo import UndoRows

__all__ = ["Given", "Ingest", "Rows", "continued"]

_log = logger("alma_async.load")

Given: TypeAlias = Row | BadRow | Mapping[str, Any]
_Source: TypeAlias = Given | Entry  # of a plan: where a row stands that was rejected as it was read
Rows: TypeAlias = str | os.PathLike[str] | Iterable[Given] | AsyncIterable[Given]
"""What a load takes: a path, what ``read_rows`` gives, or rows and mappings
(``Row.from_mapping``) as they come.
"""

_Record: TypeAlias = str | matching.Ambiguous | matching.Suggested | None


@attrs.define(eq=False)
class _Slices:
    """Slices of an iterator, read in a thread, since a long file would hold up the event loop; one
    thread at a time advances it.
    """

    clock: Clock
    items: Iterator[_Source]

    async def next(self) -> list[_Source]:
        return await self.clock.aside(lambda: list(islice(self.items, SLICE)))


@attrs.define(eq=False)
class _Coming:
    """Slices of what comes by itself."""

    items: AsyncIterator[_Source]

    async def next(self) -> list[_Source]:
        part: list[_Source] = []
        while len(part) < SLICE:
            try:
                part.append(await anext(self.items))
            except StopAsyncIteration:
                break
        return part


@attrs.frozen(kw_only=True)
class Ingest:
    """The beginning of one run. ``reading`` gets how many rows were read so far, and
    says whether to continue.
    """

    context: LoadContext
    journal: Journal
    rows: Rows | None
    reading: Callable[[int], bool]

    async def compare(self) -> None:
        """See that the journal is whole, and that it is this load's.

        :raises JournalError: where it is not what was written.
        :raises OtherLoad: where it is another load's, or an undo of this
            one has begun and not ended.
        """
        await self.journal.check()
        known = await self.journal.meta()
        is_open = await self.journal.open_entries(after=0, limit=1)
        require_its_turn(known, ended=bool(known.get(SERVICE_READ)) and not is_open and not undecided(known))
        facts = self.context.known_by()
        if known.get(ROWS):
            compared(known, facts)
        else:  # nothing was begun, nor any earlier load known
            compared(known, {name: fact for name, fact in facts.items() if name not in ("since", "plan")})
            await self.journal.note({**self.context.options.facts, **facts})

    async def read(self, now: Moment) -> None:
        """Have all rows in the journal, unless it is to stop before. Rows that are given to a
        journal which has its own must be the same.

        :raises InputError: where none are given and the journal lacks some, or
            others than its own are given.
        """
        await self.journal.orphaned(now)
        known = await self.journal.meta()
        if self.context.options.plan is not None and not known.get(ROWS):
            async with self._earlier(now) as earlier, self._plan(self.context.options.plan) as plan:
                if plan is None or not await self._take_in(plan, earlier):
                    return
        elif self.rows is None:
            if not known.get(ROWS):
                raise InputError(_NO_ROWS.format(self.journal.name), advice=_GIVE_ROWS)
        elif known.get(ROWS):
            await self._require_same(self.rows)
        else:
            async with self._earlier(now) as earlier:
                if not await self._take_in(self.rows, earlier):
                    return
        if not known.get(INGESTED) and not await self.journal.nameless(limit=1):
            await self._end()

    async def stand(self, now: Moment) -> None:
        """Have a journal whose rows come one by one (``one``), and each title read when its row comes."""
        await self.journal.orphaned(now)
        if not (await self.journal.meta()).get(ROWS):
            begun_at = str(self.context.alma.clock.wall())
            facts = {ROWS: "0", LINES: "0", WARNINGS: "[]", UNREAD: "", BEGUN_AT: begun_at}
            await self.journal.note({**facts, SERVICE_READ: BY_TITLE, INGESTED: "1", STANDING: "1"})

    def row(self, n: int, given: object) -> Given:
        """What came as a row, which ends as a bad one where it is none."""
        if isinstance(given, (Row, BadRow, Mapping)):
            return given
        wrong = RowProblem(n, "", f"The row is {_NO_ROW.format(type(given).__name__)}")
        return BadRow(line=n, lines=(n,), problems=(wrong,))

    async def one(self, n: int, given: Given) -> tuple[Entry, Row | None]:
        """Ingest the row that came, in the place of those of its title that have ended; where it stands.

        A row that names neither its record nor its portfolio is rejected: for its ISSN or ISBN the
        records of the whole service would have to be read.

        """
        entry, row = self.entry(n, given)
        if row is not None and row.is_nameless:
            why = EndReason.INPUT
            entry = attrs.evolve(entry, state=State.REJECTED, reason=why.code, message=why.says(_NAMELESS))
            row = None
        await self.journal.ingest([Ingested(entry, row)], repeats=False, replacing=True)
        (stands,) = await self.journal.entries_of([n])
        return attrs.evolve(stands, key=entry.key), row  # a store may spell a key otherwise

    async def _end(self) -> None:
        """All rows are in. The earlier load, which this one knows, goes on here from now on."""
        if self.context.options.since is not None and not self.context.dry:
            async with self.context.journals.opened(self.context.options.since) as earlier:
                await self._warn_of_left(earlier)
                await earlier.note({SUPERSEDED: self.journal.address})
        await self.journal.note({INGESTED: "1"})

    async def _warn_of_left(self, earlier: Journal) -> None:
        """Note which rows of the earlier load, of unknown outcome, are not in this list."""
        after, left = 0, list[Entry]()
        while part := await earlier.open_entries(after=after, limit=SLICE):
            after = part[-1].n
            begun = {one.natural_key: one for one in part if one.is_begun and one.natural_key}
            here = await self.journal.of_natural_keys(begun)
            left += [one for key, one in begun.items() if key not in here]
        if left:
            warnings = loads((await self.journal.meta()).get(WARNINGS, "[]").encode(), lone_surrogates=True)
            said = [_LEFT.format(one.line, earlier.name, one.portfolio_id or one.mms_id) for one in left]
            for one in said:
                _log.warning(one)
            both = list(dict.fromkeys([*warnings, *said]))
            await self.journal.note({WARNINGS: dumps(both, lone_surrogates=True).decode()})

    @asynccontextmanager
    async def _earlier(self, now: Moment) -> AsyncIterator[Journal | None]:
        """The journal of the earlier load that this one knows.

        :raises InputError: where there is none.
        :raises OtherLoad: where it is of a load of another kind, or is being taken back.
        """
        if self.context.options.since is None:
            yield None
            return
        if not await self.context.journals.exists(self.context.options.since):
            raise InputError(f"There is no journal {str(self.context.options.since)!r}.", advice=_BEGUN)
        async with self.context.journals.opened(self.context.options.since) as earlier:
            await earlier.check()
            known = await earlier.meta()
            if known.get(SUPERSEDED) != self.journal.address:
                require_its_turn(known, earlier=True)
            facts = self.context.known_by()
            compared(known, {name: facts[name] for name in _ALIKE}, journal=self.context.options.since.name)
            if known.get("dry") or not known.get(INGESTED):
                what = (
                    "a dry run"
                    if known.get("dry")
                    else "a load that was never begun: it has not all its rows"
                )
                raise InputError(_NOT_BEGUN.format(self.context.options.since.name, what), advice=_BEGUN)
            if known.get(JOB_BEGUN) and await earlier.open_entries(after=0, limit=1):
                raise InputError(_JOB_RUNS.format(self.context.options.since.name), advice=_END_JOB)
            await earlier.orphaned(now)
            yield earlier

    @asynccontextmanager
    async def _plan(self, path: Path) -> AsyncIterator[PlanRows | None]:
        """The rows of the plan, which is carried out by this load from now on; None where the
        reading of a list that is given with it, whose rows must be the plan's, was to stop.

        :raises InputError: where there is none, or it cannot be carried out;
            ``require_plan`` says when.
        """
        clock, address = self.context.alma.clock, self.journal.address
        if not await self.context.journals.exists(path):
            raise InputError(f"There is no journal {str(path)!r}.", advice=_DRY_RUN)
        facts = self.context.known_by()
        alike = {name: facts[name] for name in (*_ALIKE, "duplicates", "since", "missing", "via_job")}
        async with self.context.journals.opened(path) as plan:
            known = await require_plan(
                plan, alike, by=address, now=clock.wall(), age=self.context.options.plan_age
            )
            if self.rows is not None and not await self._compare_with_plan(self.rows, plan):
                yield None
                return
            await plan.note({CARRIED_OUT: address})
            after = ""
            while found := await plan.identifiers(after=after, limit=SLICE):
                await self.journal.add_carriers([(carrier, (value,)) for _, carrier, value in found])
                after = found[-1][0]
            yield PlanRows(plan, known)

    async def _compare_with_plan(self, rows: Rows, plan: Journal) -> bool:
        """Compare a list with the plan's; whether it was read to its end.

        :raises InputError: where its rows are not the plan's, naming them.
        """
        _, slices = self._slices(rows)
        n, others = 0, Others()
        while self.reading(n):
            part = await slices.next()
            known = await plan.entries(after=n, limit=max(len(part), SLICE if not part else 1))
            for at, (given, planned) in enumerate(zip_longest(part, known), n + 1):
                others.compare(None if given is None else self.entry(at, given)[0], planned)
            if not part and not known:
                if others.said is not None:
                    raise InputError(_NOT_PLANNED.format(plan.name, others.said), advice=_GIVE_PLANNED)
                return True
            n += max(len(part), len(known))
        return False

    def _slices(self, rows: Rows | PlanRows) -> tuple[Any, _Slices | _Coming]:
        """The source as a whole, and its rows."""
        source = read_rows(rows) if isinstance(rows, (str, os.PathLike)) else rows
        if isinstance(source, UndoRows):
            return source, _Coming(source.read(self.context.journals))
        if isinstance(source, AsyncIterable):
            return source, _Coming(aiter(source))
        if isinstance(source, (Mapping, bytes, bytearray)):
            raise InputError(
                f"This is one {type(source).__name__}; rows are a path, or a list of rows or mappings."
            )
        if not isinstance(source, Iterable):
            raise InputError(f"Rows are a path, or come from an iterable; this is {type(source).__name__}.")
        return source, _Slices(self.context.alma.clock, iter(source))

    async def _take_in(self, rows: Rows | PlanRows, earlier: Journal | None) -> bool:
        """Ingest all rows; whether they were read to their end."""
        await self.journal.clear()
        source, slices = self._slices(rows)
        begun_at, n, lines = self.context.alma.clock.wall(), 0, 0
        writing = started(self._add([], earlier))
        try:
            while self.reading(n):
                if not (part := await slices.next()):
                    await _written(writing)
                    about = dumps(getattr(source, "about_file", ()), lone_surrogates=True).decode()
                    facts = {ROWS: str(n), LINES: str(lines), WARNINGS: about, BEGUN_AT: str(begun_at)}
                    facts[UNREAD] = ", ".join(getattr(source, "unread", ()))
                    await self.journal.note(facts | getattr(source, "facts", {}))
                    return True
                entries = await self.context.alma.clock.aside(partial(self._entries, part, n))
                await _written(writing)
                writing = started(self._add(entries, earlier))  # while the next ones are read
                lines += sum(len(entry.source.lines) if entry.source else 1 for entry, _ in entries)
                n += len(part)
        finally:
            await ended(writing)
        return False

    async def _require_same(self, given: Rows) -> None:
        """Rows are given again: nothing is taken from them, and they must
        say what the journal's say.
        """
        if STANDING in await self.journal.meta():
            raise InputError(_STANDS.format(self.journal.name), advice=_STREAM)
        _, slices = self._slices(given)
        # what the service holds beyond them comes after
        rows = int((await self.journal.meta())[ROWS])
        n = 0
        while self.reading(n):
            part = await slices.next()
            known = await self.journal.entries(after=n, limit=max(len(part), 1))
            known = [entry for entry in known if entry.n <= rows]
            line = await self.context.alma.clock.aside(partial(self._other, part, known, n))
            if line is not None:
                raise InputError(_OTHERS.format(line), advice=_SINCE)
            if not part:
                return
            n += len(part)

    def _other(self, part: list[_Source], known: list[Entry], after: int) -> int | None:
        """The line of the first row that is another than the journal's, or that
        is missing on either side.
        """
        for n, (given, old) in enumerate(zip_longest(part, known), after + 1):
            entry = old if given is None else self.entry(n, given)[0]
            if given is None or old is None or (old.line, old.payload) != (entry.line, entry.payload):
                return int(entry.line)
        return None

    async def _add(self, rows: list[tuple[Entry, Row | None]], earlier: Journal | None) -> None:
        """Ingest these rows, which the earlier load may know by their natural keys."""
        found = [Ingested(entry, row) for entry, row in rows]
        if earlier is not None:
            olds = await earlier.of_natural_keys(
                {entry.natural_key for entry, _ in rows if entry.natural_key}
            )
            before = await earlier.kept([old.n for old in olds.values() if old.is_begun])
            # by a row of this list: the others repeat it
            taken = set(await self.journal.of_natural_keys(olds))
            for n, (entry, row) in enumerate(rows):
                if (
                    entry.natural_key
                    and entry.natural_key not in taken
                    and (old := olds.get(entry.natural_key))
                ):
                    taken.add(entry.natural_key)
                    stands = continued(old, entry)
                    # it goes on as it stood, whatever a plan says
                    if row is not None and stands.is_begun:
                        asked: Row | None = attrs.evolve(row, planned=None)
                    else:
                        asked = row
                    found[n] = Ingested(stands, asked, before.get(old.n))
            # what is there of their titles besides what they may have made
            begun = [one.entry for one in found if one.entry.is_begun]
            making = {one.mms_id for one in begun if one.mms_id and one.step is Step.CREATE}
            await self.journal.add_existing(await earlier.held_of(making))
        await self.journal.ingest(found, repeats=self.context.options.allow_duplicates)

    def _entries(self, part: list[_Source], after: int) -> list[tuple[Entry, Row | None]]:
        """These rows, whose numbers follow."""
        return [self.entry(n, given) for n, given in enumerate(part, after + 1)]

    def entry(self, n: int, given: _Source) -> tuple[Entry, Row | None]:
        """Where a row stands at first; and the row, where it can be carried out."""
        if isinstance(given, Entry):
            return given, None
        if not isinstance(given, (Row, BadRow, Mapping)):
            raise InputError(f"Row {n} is {_NO_ROW.format(type(given).__name__)}")
        row = checked(Row.from_mapping(given, line=n) if isinstance(given, Mapping) else given)
        stands = partial(Entry, n=n, line=row.line, key=row.key, source=_source(row))
        if isinstance(row, BadRow):
            return stands(state=State.REJECTED, reason=EndReason.INPUT.code, message=row.reason), None
        if wrong := rejected(row, action=self.context.options.action, place=self.context.place):
            reason, *said = wrong
            message = reason.says(*said)
            return stands(state=State.REJECTED, mms_id=row.mms_id, reason=reason.code, message=message), None
        entry = stands(
            state=State.PENDING,
            mms_id=row.mms_id,
            portfolio_id=row.portfolio_id,
            natural_key=None if row.is_nameless else natural_key_of(row, *self.context.place),
            payload=payload_of(row),
        )
        return entry, row

    async def _is_ingested(self) -> bool:
        return bool((await self.journal.meta()).get(INGESTED))

    async def _list_service(self) -> bool:
        """List the service, where that costs fewer calls than asking title by title; for a job always,
        since it is read again after it. Whether it was seen whole, or each title is asked for.
        """
        if self.context.options.via_job is not None:
            await self.journal.forget_existing()
            async for page in self.context.alma.electronic.portfolios.list(*self.context.place).pages():
                await self._add_held([one for one in page if one.id])
            await self.journal.note({SERVICE_READ: BY_LIST})
            return True
        counts, planned = await self.journal.counts(), (await self.journal.meta()).get(PLAN_SERVICE_READ)
        rows = sum(count for (state, _), count in counts.items() if state in OPEN)
        known = (State.PENDING, KNOWN) in counts
        nameless = await self.journal.nameless(limit=1)
        may_ask = self.context.options.missing is None and not nameless and not known
        if self.context.by_title and may_ask and not planned:
            await self.journal.note({SERVICE_READ: BY_TITLE})
            return True
        total = await self.context.alma.electronic.portfolios.list(*self.context.place).total()
        await self.journal.forget_existing()
        by_title = planned == BY_TITLE if planned else may_ask and pages_of(total, PAGE) > rows
        is_steady = True
        if total and not by_title:
            _, is_steady = await listed(self.context.alma, self.context.place, self._add_held, total=total)
            by_title = not is_steady and not planned
        await self.journal.note({SERVICE_READ: BY_TITLE if by_title else BY_LIST})
        return is_steady or by_title

    async def see_service(self) -> bool:
        """List the service, also again, where it may have changed since and that costs fewer calls than
        asking for the title of each row that may make a portfolio; whether the list is one of now. Of a
        complete list the first one stands: what came meanwhile is not to be taken for surplus.
        """
        if read := (await self.journal.meta()).get(SERVICE_READ):
            if read != BY_LIST or self.context.dry:
                return True
            waiting, options = await self.journal.unmatched(), self.context.options
            may_list = options.missing is None and options.via_job is None and await self._is_ingested()
            if not waiting or not may_list or pages_of(await self.journal.held(), PAGE) > waiting:
                return False
            await self.journal.note({SERVICE_READ: ""})
        return await self._list_service()

    async def _settle_known(self) -> None:
        """What an earlier load had done is done, unless the list of the service shows
        that it is not so any more.
        """
        if (State.PENDING, KNOWN) in await self.journal.counts():
            await self.journal.settle_known(gone=self.context.options.action == "delete")

    async def _add_held(self, page: list[Portfolio]) -> None:
        shown = [await self._with_record(one) for one in page]
        await self.journal.add_existing([self._held(one) for one in shown if one is not None])

    async def _with_record(self, listed: Portfolio) -> Portfolio | None:
        """The portfolio, read where the list does not say of which record it is; None where it is not there
        any more.
        """
        if listed.resource_metadata.mms_id.value:
            return listed
        try:
            return await self.context.alma.electronic.portfolios.get(*self.context.place, listed.id)
        except NotFound:
            return None

    def _held(self, portfolio: Portfolio) -> Held:
        """What is kept of one: its title only where a person may want to know which it is."""
        record = portfolio.resource_metadata
        title = record.title if self.context.options.missing is not None else None
        return Held(portfolio.id, record.mms_id.value, portfolio.availability.value, title)

    # --- rows that name no record

    async def find_records(self, now: Moment, index: IdentifierIndex) -> None:
        """Have a record for each row that names none, and so the last rows in the journal; then
        what is known is settled.
        """
        is_planned = await self._is_ingested()
        if not is_planned:
            await index.read()
            async with self._earlier(now) as earlier:
                while await self._name_slice(index, earlier):
                    pass
        await self._settle_known()
        if not is_planned:
            await self._end()

    async def _name_slice(self, index: IdentifierIndex, earlier: Journal | None) -> bool:
        """Find records for the next rows; whether there were any."""
        rows = await self.journal.rows(await self.journal.nameless(limit=SLICE))
        if self.context.options.plan is not None:
            named = await self._named_by_plan(rows)
            asked = [row if earlier is not None else None for _, row in rows]
            await self._add(list(zip(named, asked, strict=True)), earlier)
            return bool(rows)
        found = await self._found(index, rows)
        ends = any(self._ends(row) for _, row in rows)  # what goes is decided by what records name now
        anew = ends or not all(isinstance(one, str) for one in found)
        if anew and await index.renew(as_new=0.0 if ends else AS_NEW):
            found = await self._found(index, rows)
        named = [self._named(entry, row, one) for (entry, row), one in zip(rows, found, strict=True)]
        await self._add([(entry, None) for entry in named], earlier)
        return bool(rows)

    def _ends(self, row: Row) -> bool:
        """Whether its portfolio is not to be available any more."""
        return row.values.get("availability") not in (None, self.context.options.codes.active)

    async def _named_by_plan(self, rows: list[tuple[Entry, Row]]) -> list[Entry]:
        """The entries of these, as the plan found their records, unless other portfolios
        carry their identifiers since.
        """
        carriers = await self.journal.carriers({one for _, row in rows for one in row.identifiers})
        named = list[Entry]()
        for entry, row in rows:
            if row.planned is None:
                raise BadAnswer("The journal does not say what the plan decided for this row.")
            ended, its = (
                row.planned.ended,
                {it.portfolio_id for one in row.identifiers for it in carriers[one]},
            )
            if came := sorted(its - set(row.planned.carriers)):
                why = EndReason.CHANGED_SINCE_PLAN
                said = why.says(_CARRIES.format(", ".join(came[:5]), ", ".join(row.identifiers)))
                named.append(attrs.evolve(entry, state=State.REVIEW, reason=why.code, message=said))
            elif ended.mms_id is None:
                named.append(
                    attrs.evolve(entry, state=ended.state, reason=ended.reason, message=ended.message)
                )
            else:
                key = natural_key_of(attrs.evolve(row, mms_id=ended.mms_id), *self.context.place)
                named.append(attrs.evolve(entry, mms_id=ended.mms_id, natural_key=key))
        return named

    async def _found(self, index: IdentifierIndex, rows: list[tuple[Entry, Row]]) -> list[_Record]:
        """The record that each of these means."""
        carriers = await self.journal.carriers({one for _, row in rows for one in row.identifiers})
        found = list[_Record]()
        for _, row in rows:
            its, url = (
                list(dict.fromkeys(it for one in row.identifiers for it in carriers[one])),
                wanted_url(row),
            )
            means = matching.record_of(url, its)
            if url and isinstance(means, matching.Ambiguous):  # the URL decides
                means = matching.record_of(url, await index.placed(it for it in its if not it.suggested))
            found.append(means)
        return found

    def _named(self, entry: Entry, row: Row, found: _Record) -> Entry:
        """The entry of a row that names no record."""
        names = ", ".join(row.identifiers)
        if isinstance(found, str):
            key = natural_key_of(attrs.evolve(row, mms_id=found), *self.context.place)
            return attrs.evolve(entry, mms_id=found, natural_key=key)
        if found is None:
            why = EndReason.NO_RECORD
            return attrs.evolve(entry, state=State.REJECTED, reason=why.code, message=why.says(names))
        ids = ", ".join(found.portfolio_ids[:5])
        if isinstance(found, matching.Suggested):
            why, message = (
                EndReason.SUGGESTED,
                EndReason.SUGGESTED.says(names, ", ".join(found.mms_ids[:5]), ids),
            )
        else:
            why, message = EndReason.SEVERAL_RECORDS, EndReason.SEVERAL_RECORDS.says(names, ids)
        return attrs.evolve(entry, state=State.REVIEW, reason=why.code, message=message)


def continued(old: Entry, new: Entry) -> Entry:
    """Where a row stands at first, whose natural key an earlier load had too.

    What that load did and the row still asks for is known, and not sent once the list of the
    service shows that it is so still. What it had begun continues here from where it stood, so that
    what it sent without an answer is read back before anything is sent again. All else is a row
    like any other.
    """
    if old.state is State.DONE and old.payload == new.payload:
        why = EndReason.KNOWN.code
        known = attrs.evolve(new, action=KNOWN, reason=why)
        return attrs.evolve(known, portfolio_id=old.portfolio_id, availability=old.availability)
    sent = old.state in (State.INTENT, State.UNKNOWN) or (
        old.state is State.REVIEW and old.step is Step.CREATE and old.action is None and bool(old.differences)
    )
    if sent or old.is_begun:
        state = State.UNKNOWN if sent else old.state
        return attrs.evolve(
            old,
            n=new.n,
            line=new.line,
            key=new.key,
            payload=new.payload,
            source=new.source,
            state=state,
            lost_answers=0,
            may_resend=True,
        )
    return new


async def _written(writing: Task[None]) -> None:
    """Wait until these rows are in the journal, which being cancelled does not interrupt."""
    await ended(writing)
    writing.result()


def _source(row: Row | BadRow) -> Source | None:
    """What the report says of it beside its line; None where that is nothing."""
    if len(row.lines) < 2 and not (row.title or row.identifiers or row.warnings):
        return None
    return Source(row.lines, row.title, row.identifiers, row.warnings)


_LEFT: Final = (
    "Line {} of the earlier load {} was sent, its outcome is not known, and this list does not have it: "
    "see in Alma what became of {}."
)
_NO_ROWS: Final = (
    "Not all rows of this load are in the journal {}: none were given yet, or their reading did not end."
)
_GIVE_ROWS: Final = "Nothing was sent. Give the rows: run(rows), or the command that began it."
_NOT_BEGUN: Final = "{}, given as since, is the journal of {}."
_JOB_RUNS: Final = "The job of the load {} may still run."
_END_JOB: Final = "Nothing was sent. Resume that load first: it waits for the job, and sees what it has done."
_OTHERS: Final = "The journal has its rows already, and line {} is not among them as it is now."
# what a load and the earlier one have in common
_ALIKE: Final = (
    "notes",
    "origin",
    "collection",
    "service",
    "action",
    "bib",
)
_BEGUN: Final = "Nothing was sent. Name the journal of a load that was begun, or leave out --since (since=)."
_SINCE: Final = (
    "Nothing was sent. Go on with the rows of then, which the journal keeps: resume, or run() without rows. "
    "Corrected rows are a load of their own, which can know this one: --since JOURNAL (since=)."
)
_NOT_PLANNED: Final = "The list is not that of the plan {}: {}."
_GIVE_PLANNED: Final = (
    "Nothing was sent. Leave the list out (the plan keeps its rows), or make a new plan (--dry-run)."
)
_STANDS: Final = "The rows of the journal {} came one by one, and it is no list's."
_STREAM: Final = (
    "Nothing was sent. Give it rows as they come: stream(async iterable); load a list with another journal."
)
_NO_ROW: Final = "{}, neither a Row nor a mapping of names and values."
_NAMELESS: Final = "a row that comes by itself names its record or portfolio (mms_id, portfolio_id)."
_DRY_RUN: Final = "Nothing was sent. Make a plan: --dry-run --journal PLAN."
_CARRIES: Final = "portfolio {} carries {} too."
