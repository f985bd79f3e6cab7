"""The rows that take a load back, read from its journal: ``undo_rows``.

Decides what is taken back: what was created is deleted, what was updated is put back, what was
deleted is created anew. ``before_image`` decides how, and when a person must decide instead. They
are rows like any others: the load that carries them out has a journal of its own and all that this
brings.

The journal is opened for a slice of rows at a time, so nobody is kept from it. While it is being
taken back it says so, and its load does not go on; nor do the loads that know its rows (``since``),
which are taken back from them too.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import count
from pathlib import Path
from typing import Any, Final

import attrs

from alma_async.alma.fields import url_of
from alma_async.errors import AlmaError
from alma_async.load.before_image import anew
from alma_async.load.entries import KNOWN, OPEN, BeforeImage, Entry, Source, State, Step
from alma_async.load.facts import (
    BEING_UNDONE,
    HALFWAY,
    IN_TURN,
    INGESTED,
    NOT_BEGUN,
    OVERTAKEN,
    STANDING,
    SUPERSEDED,
    TAKES_BACK,
)
from alma_async.load.journal import SLICE, Held, Journal, Journals, address_of, slices
from alma_async.load.row import BadRow, InputError, Row, RowProblem

__all__ = ["UndoRows", "begin", "begun_load", "beside", "end", "note_overtaken", "undo_rows", "vouched"]

# where a row stands that can be, and was
_TAKEN_BACK: Final = (State.PENDING, State.DONE, State.UNDONE)


@attrs.define
class UndoRows:
    """The way back from one load. ``warnings``, for the whole of it, are known
    once its rows are being read.
    """

    path: Path
    warnings: tuple[str, ...] = ()
    order: dict[str, str] = attrs.field(factory=dict, init=False)  # a fact, where rows go in turn

    @property
    def about_file(self) -> tuple[str, ...]:
        """The warnings, as a report asks any source for them."""
        return self.warnings

    @property
    def facts(self) -> dict[str, str]:
        """What the journal of the undo says of it."""
        return {TAKES_BACK: address_of(self.path), **self.order}

    def __aiter__(self) -> AsyncIterator[Row | BadRow]:
        return self.read(Journals.from_env())

    async def read(self, journals: Journals) -> AsyncIterator[Row | BadRow]:
        """The rows.

        :raises: what ``begun_load`` raises
        """
        meta = await begun_load(journals, self.path)
        missing = [
            str(one) for one in await _concerned(journals, self.path) if not await journals.exists(one)
        ]
        self.warnings = tuple(map(_MISSING.format, missing))
        place = meta["collection"], meta["service"]
        if STANDING in meta:
            self.order = {IN_TURN: "1"}
        async with journals.opened(self.path, reading=True) as journal:
            firsts = range(0, await journal.last(), SLICE)
        # Of rows of one title the last is taken back first.
        for after in reversed(firsts) if self.order else firsts:
            async with journals.opened(self.path, reading=True) as journal:
                found = await journal.entries(after=after, limit=SLICE)
                entries = [one for one in found if one.n <= after + SLICE]
                bodies = await journal.kept([entry.n for entry in entries])
            for entry in reversed(entries) if self.order else entries:
                if (row := _row(entry, bodies.get(entry.n), place)) is not None:
                    yield row


async def beside(journals: Journals, load: Path) -> Path:
    """Where the undo of a load is written down, beside the load's journal: an undo that
    did not end, or whose end the load's journal does not know yet, or a new one.
    """
    async with journals.opened(load, reading=True) as taken:
        being_undone = (await taken.meta()).get(BEING_UNDONE)
    for n in count(1):
        path = load.with_name(f"{load.stem}-undo{f'-{n}' if n > 1 else ''}{load.suffix}")
        if not await journals.exists(path):
            return path
        async with journals.opened(path, reading=True) as undo:
            if undo.address == being_undone or not await _has_ended(undo):
                return path
    raise AssertionError("unreachable")


async def _has_ended(undo: Journal) -> bool:
    return bool((await undo.meta()).get(INGESTED)) and not await undo.open_entries(after=0, limit=1)


async def begin(journals: Journals, load: Path, journal: Journal) -> None:
    """Write into the journals of the load, and of all that say something of its rows, that it is
    being taken back, by the undo of this journal.
    """
    for path in await _concerned(journals, load):
        if await journals.exists(path):
            async with journals.opened(path) as concerned:
                await concerned.note({BEING_UNDONE: journal.address})


async def _concerned(journals: Journals, load: Path) -> list[Path]:
    """The load's journal, those of the later loads that know it, and the same of the load that it
    takes back; there or not.
    """
    found, ahead = list[Path](), [load]
    while ahead:
        path = ahead.pop()
        if path in found:
            continue
        found.append(path)
        if not await journals.exists(path):
            continue
        async with journals.opened(path, reading=True) as concerned:
            meta = await concerned.meta()
        ahead += [Path(name) for fact in (TAKES_BACK, SUPERSEDED) if (name := meta.get(fact))]
    return found


async def end(journals: Journals, load: Path, by: Journal) -> None:
    """Write there which rows were taken back, as the journal of the undo says, once all were;
    or that nothing was sent.
    """
    if not await by.is_untouched():
        if not await _has_ended(by):
            return
        async for entries in slices(by.entries):
            done = await by.rows([entry for entry in entries if entry.state is State.DONE])
            taken = {row.before_image.n: entry for entry, row in done if row.before_image is not None}
            await _say(journals, State.UNDONE, load, taken)
    # The load's own last: until then the undo is found again, and ends here.
    for path in reversed(await _concerned(journals, load)):
        if await journals.exists(path):
            async with journals.opened(path) as concerned:
                if (await concerned.meta()).get(BEING_UNDONE) == by.address:
                    await concerned.note({BEING_UNDONE: ""})


async def _say(journals: Journals, state: State, path: Path, taken: Mapping[int, Entry]) -> None:
    """Write down where these rows stand now, each by the row that took it back; first, in the
    journal of the load that this one had taken back, the opposite: where its undo is undone, it
    stands again. Last, in those of the later loads that know its rows.
    """
    async with journals.opened(path, reading=True) as load:
        meta = await load.meta()
        known = await load.entries_of(taken)
        rows = await load.rows(known)
    below, later = (meta.get(fact, "") for fact in (TAKES_BACK, SUPERSEDED))
    if below and await journals.exists(below):
        other = State.DONE if state is State.UNDONE else State.UNDONE
        under = {row.before_image.n: taken[entry.n] for entry, row in rows if row.before_image is not None}
        await _say(journals, other, Path(below), under)
    halfway = set(meta.get(HALFWAY, "").split())
    written, touched, remade = list[Entry](), dict[str, Entry](), list[Held]()
    for entry in known:
        if entry.state in _TAKEN_BACK:
            now = taken[entry.n]
            written.append(stands := _standing(entry, state, now, halfway))
            if entry.portfolio_id is not None:
                touched[entry.portfolio_id] = attrs.evolve(now, portfolio_id=stands.portfolio_id)
            # Made anew under another id, it is none of the load's own.
            if now.portfolio_id and now.portfolio_id != stands.portfolio_id:
                remade.append(Held(now.portfolio_id, now.mms_id))
    async with journals.opened(path) as load:
        await load.amend(written, existing=remade, facts={HALFWAY: " ".join(sorted(halfway))})
    await _say_later(journals, state, Path(later), touched, {path})


async def _say_later(
    journals: Journals, state: State, path: Path, touched: Mapping[str, Entry], written: AbstractSet[Path]
) -> None:
    """Write into the journal of a later load where its rows of these portfolios stand
    now; and of those after it.
    """
    if path in written or not await journals.exists(path):
        return
    async with journals.opened(path) as load:
        entries = await load.of_portfolios(touched)
        vouched = [_vouched(one, state, touched[str(one.portfolio_id)]) for one in entries]
        await load.amend(vouched, facts={})
        later = (await load.meta()).get(SUPERSEDED, "")
    await _say_later(journals, state, Path(later), touched, {*written, path})


def _vouched(entry: Entry, state: State, now: Entry) -> Entry:
    """A row of a later load, whose portfolio was taken back from under it; what it only knew
    stands again with what it knew.
    """
    stands = attrs.evolve(entry, state=state, portfolio_id=now.portfolio_id)
    if state is State.UNDONE:
        gone = entry.action == KNOWN or now.action != "unchanged"
        return stands if gone and entry.state is State.DONE else entry
    return stands if entry.action == KNOWN and entry.state is State.UNDONE else entry


async def note_overtaken(journals: Journals, undos: Iterable[Path], by: Path) -> None:
    """Write into the journals of undos that did not end that a load into the same service begins:
    what it finds as it should be is not theirs to take back any more. Other journals among them are
    passed over.
    """
    name = address_of(by)
    for path in undos:
        try:
            async with journals.opened(path) as journal:
                meta = await journal.meta()
                known = meta.get(OVERTAKEN, "").splitlines()
                if meta.get(TAKES_BACK) and name not in (*known, meta[TAKES_BACK]):
                    await journal.note({OVERTAKEN: "\n".join([*known, name])})
        except AlmaError:  # in use, or damaged: it is named when it is resumed
            continue


async def vouched(journals: Journals, undo: Journal) -> dict[str, str]:
    """The portfolios that loads since then have as they should be, each with the name of the
    last such load's journal.
    """
    found = dict[str, str]()
    for name in (await undo.meta()).get(OVERTAKEN, "").splitlines():
        if not await journals.exists(name):
            continue
        async with journals.opened(Path(name), reading=True) as later:
            async for entries in slices(later.entries):
                stand = [one for one in entries if one.state is State.DONE and one.action != "deleted"]
                found |= {one.portfolio_id: name for one in stand if one.portfolio_id}
    return found


def undo_rows(journal: str | os.PathLike[str]) -> UndoRows:
    """Give the rows that take a load back, for a load with ``action="undo"`` into the same service.

    The journal is read when the rows are (``async for``), which raises ``InputError`` where there
    is none or its load was never begun, ``JournalError`` where it is not what was written, and
    ``JournalInUse`` where another process works on it.
    """
    return UndoRows(Path(journal))


async def begun_load(journals: Journals, path: Path) -> dict[str, str]:
    """What a journal says of its load, which can be taken back.

    :raises InputError: where there is no such journal, or its load was never begun.
    :raises JournalError: where the journal is not what was written.
    :raises JournalInUse: where another process works on it.
    """
    async with journals.opened(path, reading=True) as load:
        await load.check()
        meta = await load.meta()
    if INGESTED not in meta:
        raise InputError(
            f"The load of {path.name} was never begun; there is nothing to take back.", advice=NOT_BEGUN
        )
    if meta.get("dry"):
        raise InputError(f"{path.name} is of a dry run; there is nothing to take back.", advice=NOT_BEGUN)
    return meta


_MISSING: Final = (
    "the journal {!r} has the same rows and is not there: what is taken back stays done in it. Put it back before the undo, "
    "or do not name it with --since (since=) any more"
)


def _standing(entry: Entry, state: State, now: Entry, halfway: set[str]) -> Entry:
    """A row that was taken back, or stands again as ``now`` made it: under the id of what is there,
    and not at its end if it was among those ``halfway`` when it was taken back.
    """
    if state is State.UNDONE:
        halfway.update({str(entry.n)} if entry.state is State.PENDING else ())
        return attrs.evolve(entry, state=state)
    if entry.state is not State.UNDONE:
        return entry
    ends = State.PENDING if str(entry.n) in halfway else state
    halfway.discard(str(entry.n))
    if entry.action != "created":
        return attrs.evolve(entry, state=ends)
    return attrs.evolve(entry, state=ends, portfolio_id=now.portfolio_id, left=now.left)


def _row(entry: Entry, body: bytes | None, place: tuple[str, str]) -> Row | BadRow | None:
    """What takes one row back; None where it did nothing."""
    if entry.state in OPEN and entry.state is not State.PENDING:
        return _unknown(entry, "It is unknown what became of this row; resume the load, then undo again")
    # An update that stayed unknown is put back like one that was made: where it
    # was not, nothing differs.
    updates = entry.step is Step.UPDATE and entry.action in ("updated", None)
    if entry.state is State.REVIEW and entry.action is None and entry.differences and not updates:
        return _unknown(entry, "It stayed unknown what became of this row; check its portfolios in Alma")
    if entry.portfolio_id is None:
        return None
    changed = entry.step in (Step.UPDATE, Step.DELETE) and entry.action != "created" and entry.differences
    if changed and body is None and entry.state in (State.DONE, State.REVIEW):
        return _unknown(entry, "It was loaded with --no-undo (no_undo=): what it was before is not known")
    row = Row(
        line=entry.line,
        **_known_by(entry),
        mms_id=entry.mms_id,
        portfolio_id=entry.portfolio_id,
        collection_id=place[0],
        service_id=place[1],
    )
    is_undone = entry.state is State.UNDONE
    before_image = BeforeImage(n=entry.n, portfolio_id=entry.portfolio_id, is_undone=is_undone)
    if entry.action == "created":
        url = tuple(one for one in entry.differences if one.field == "url")
        before_image = attrs.evolve(before_image, left=entry.left, differences=url)
        return attrs.evolve(row, action="delete", before_image=before_image)
    if updates and body is not None and entry.differences:
        before_image = attrs.evolve(before_image, left=entry.left, body=body, differences=entry.differences)
        return attrs.evolve(row, action="update", before_image=before_image)
    if entry.action == "deleted" and body is not None and entry.state in (State.DONE, State.UNDONE):
        return _anew(row, attrs.evolve(before_image, body=body))
    return None


def _unknown(entry: Entry, reason: str) -> BadRow:
    return BadRow(line=entry.line, **_known_by(entry), problems=(RowProblem(entry.line, "", reason),))


def _known_by(entry: Entry) -> dict[str, Any]:
    """What a person knows the row by; what was doubtful in it is of the load, not of its undo."""
    source = entry.source or Source(lines=(entry.line,))
    return {"lines": source.lines, "title": source.title, "identifiers": source.identifiers}


def _anew(row: Row, before_image: BeforeImage) -> Row:
    portfolio = anew(before_image)
    return attrs.evolve(
        row,
        action="create",
        before_image=before_image,
        portfolio_id=None,
        mms_id=portfolio.resource_metadata.mms_id.value,
        values={"url": url_of(portfolio)},
    )
