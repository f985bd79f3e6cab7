"""Bugs to plant into the loader and what lies below it, to see that ``schedules`` finds each.

Each is what somebody might write in good faith. They replace real methods for as long as a block lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import attrs

from alma_async._core import pager, session
from alma_async._http import codec, json_text, outcome
from alma_async._http.outcome import OutcomeClass, Reason
from alma_async._storage import sqlite
from alma_async.alma import bibs, dialect, problems, resource
from alma_async.alma.models.common import Updatable
from alma_async.alma.resource import Resource
from alma_async.errors import BadAnswer
from alma_async.load import (
    after_create,
    entries,
    fields,
    group_commit,
    identifier_index,
    ingest,
    journal_file,
    kept,
    loader,
    lookup,
    owned_database,
    row_task,
    run,
    surplus,
)
from alma_async.load.entries import State
from alma_async.load.facts import BY_LIST, SERVICE_READ
from alma_async.load.fields import new_portfolio
from alma_async.load.journal import Held
from alma_async.load.row_task import RowTask

__all__ = ["MUTANTS", "Patches", "planted"]

Patches = Callable[[], list[Any]]
MUTANTS: Final[dict[str, Patches]] = {}

_REAL_SETTLE = RowTask.settle
_REAL_REST = run.LoadRun._rest_of


def _mutant(make: Patches) -> Patches:
    MUTANTS[make.__name__.strip("_").replace("_", " ")] = make
    return make


@contextmanager
def planted(name: str, *, of: Mapping[str, Patches] = MUTANTS) -> Iterator[None]:
    """The bug of this name is in the code until the block is left."""
    patches = of[name]()
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.stop()


# --- intents


@_mutant
def _no_intent() -> list[Any]:
    async def intend(self: RowTask, deadline: float) -> None:
        """Nothing is written before the send."""

    return [patch.object(RowTask, "intend", intend)]


@_mutant
def _intent_is_not_waited_for() -> list[Any]:
    async def record(self: group_commit.GroupedJournal, entry: entries.Entry) -> None:
        self.record_soon(entry)

    return [patch.object(group_commit.GroupedJournal, "record", record)]


@_mutant
def _outcome_before_the_send() -> list[Any]:
    async def intend(self: RowTask, deadline: float) -> None:
        self._note(state=State.DONE, action="created")

    return [patch.object(RowTask, "intend", intend)]


@_mutant
def _orphaned_intents_are_sent_again() -> list[Any]:
    def orphaned(self: journal_file.JournalFile, now: entries.Moment) -> int:
        for entry in self.entries():
            if entry.state is State.INTENT:
                self.write(attrs.evolve(entry, state=State.PENDING))
        return 0

    return [patch.object(journal_file.JournalFile, "orphaned", orphaned)]


@_mutant
def _outcomes_are_not_written() -> list[Any]:
    def record_soon(self: group_commit.GroupedJournal, entry: entries.Entry) -> None:
        """Only what is waited for is written."""

    return [patch.object(group_commit.GroupedJournal, "record_soon", record_soon)]


@_mutant
def _the_first_of_two_writes_stands() -> list[Any]:
    """What still waits to be written of a row is not overtaken by what came after it."""

    def row(self: group_commit.GroupedJournal, entry: entries.Entry) -> Any:
        return self._rows.get(entry.n) or real(self, entry)

    real = group_commit.GroupedJournal._row
    return [patch.object(group_commit.GroupedJournal, "_row", row)]


@_mutant
def _commits_are_not_synchronous() -> list[Any]:
    def connect(*args: Any, **kwargs: Any) -> Any:
        db = real(*args, **kwargs)
        db.execute("PRAGMA synchronous = NORMAL")
        return db

    real = sqlite.connect
    return [patch.object(owned_database, "connect", connect)]


# --- the quarantine


def _rest(change: Callable[[float], float]) -> list[Any]:
    def rest_of(self: run.LoadRun, entry: entries.Entry) -> float:
        known = self.context
        options = attrs.evolve(known.options, quarantine=change(known.options.quarantine))
        self.context = attrs.evolve(known, options=options)
        try:
            return _REAL_REST(self, entry)
        finally:
            self.context = known

    return [patch.object(run.LoadRun, "_rest_of", rest_of)]


@_mutant
def _no_quarantine() -> list[Any]:
    return _rest(lambda _: 0.0)


@_mutant
def _half_a_quarantine() -> list[Any]:
    return _rest(lambda seconds: seconds / 2)


@_mutant
def _a_quarantine_without_the_staleness_of_reads() -> list[Any]:
    return _rest(lambda seconds: seconds - 9.0)


@_mutant
def _a_quarantine_from_the_intent() -> list[Any]:
    """Which may have been durable long before the request was sent."""

    async def intend(self: RowTask, deadline: float) -> None:
        await real(self, deadline)
        begun[id(self)] = self.shared.moment()

    def settle(self: RowTask, result: Any) -> None:
        _REAL_SETTLE(self, result)
        if self.entry.state is State.UNKNOWN:
            self._note(sent_by=begun[id(self)])

    real = RowTask.intend
    begun: dict[int, entries.Moment] = {}
    return [patch.object(RowTask, "intend", intend), patch.object(RowTask, "settle", settle)]


@_mutant
def _the_civil_clock_counts_across_boots() -> list[Any]:
    def elapsed(self: entries.Moment, now: entries.Moment) -> float:
        same = self.boot == now.boot
        return max(now.mono - self.mono if same else now.wall - self.wall, 0.0)

    def orphaned(self: journal_file.JournalFile, now: entries.Moment) -> int:
        for entry in self.entries():
            if entry.state is State.INTENT:
                self.write(attrs.evolve(entry, state=State.UNKNOWN))
        return 0

    return [
        patch.object(entries.Moment, "elapsed", elapsed),
        patch.object(journal_file.JournalFile, "orphaned", orphaned),
    ]


@_mutant
def _unknown_without_a_moment() -> list[Any]:
    def settle(self: RowTask, result: Any) -> None:
        _REAL_SETTLE(self, result)
        if self.entry.state is State.UNKNOWN:
            self._note(sent_by=None)

    return [patch.object(RowTask, "settle", settle)]


# --- what an outcome means


def _settled(change: Callable[[RowTask], None]) -> list[Any]:
    def settle(self: RowTask, result: Any) -> None:
        _REAL_SETTLE(self, result)
        if self.entry.state is State.UNKNOWN:
            change(self)

    return [patch.object(RowTask, "settle", settle)]


@_mutant
def _unknown_is_sent_again() -> list[Any]:
    return _settled(lambda task: task._note(state=State.PENDING))


@_mutant
def _unknown_is_done() -> list[Any]:
    return _settled(lambda task: task._note(state=State.DONE, action="created"))


@_mutant
def _unknown_is_refused() -> list[Any]:
    return _settled(lambda task: task._note(state=State.REJECTED))


@_mutant
def _every_failure_is_harmless() -> list[Any]:
    """Writes are sent again after a lost answer or a fault of the server."""
    return [patch.object(outcome.Failed, "harmless", property(lambda _: True))]


@_mutant
def _a_lost_answer_is_not_sent() -> list[Any]:
    def unanswered(failure: Any) -> Any:
        return attrs.evolve(outcome.unanswered(failure), outcome=OutcomeClass.NOT_SENT, reason=Reason.NETWORK)

    return [patch.object(session, "unanswered", unanswered)]


@_mutant
def _a_fault_of_the_server_is_a_refusal() -> list[Any]:
    return [patch.object(dialect, "_by_status", lambda _status: (OutcomeClass.REJECTED, Reason.INVALID))]


@_mutant
def _a_fault_of_the_server_is_not_processed() -> list[Any]:
    return [patch.object(dialect, "_by_status", lambda _status: (OutcomeClass.NOT_PROCESSED, Reason.SERVER))]


@_mutant
def _a_failed_operation_is_a_refusal() -> list[Any]:
    codes = {**problems._CODES, "60163": (OutcomeClass.REJECTED, Reason.INVALID)}
    return [patch.object(problems, "_CODES", codes)]


@_mutant
def _no_answer_is_checked_for_its_id() -> list[Any]:
    def good(request: Any, response: Any, data: Any) -> Any:
        return real(attrs.evolve(request, expects=None), response, data)

    real = dialect._good
    return [patch.object(dialect, "_good", good)]


@_mutant
def _a_cancelled_send_was_not_sent() -> list[Any]:
    def settle(self: RowTask, result: Any) -> None:
        if isinstance(result, outcome.Failed) and result.reason is Reason.CANCELLED:
            result = attrs.evolve(result, outcome=OutcomeClass.NOT_SENT)
        _REAL_SETTLE(self, result)

    return [patch.object(RowTask, "settle", settle)]


@_mutant
def _attempts_are_not_bounded() -> list[Any]:
    return [patch.object(row_task, "MOST_LOST_ANSWERS", 10**9)]


# --- reading back, matching


@_mutant
def _sent_again_without_reading_back() -> list[Any]:
    async def reconcile(self: RowTask) -> None:
        self._note(state=State.PENDING, sent_by=None)

    return [patch.object(RowTask, "_read_back", reconcile)]


@_mutant
def _an_update_of_unknown_outcome_is_done() -> list[Any]:
    async def reconcile(self: RowTask) -> None:
        if self.entry.step is entries.Step.UPDATE:
            self._end(State.DONE, action=self.entry.action or "updated")
        else:
            await real(self)

    real = RowTask._read_back
    return [patch.object(RowTask, "_read_back", reconcile)]


@_mutant
def _what_others_mean_is_taken_for_ours() -> list[Any]:
    async def not_others(_self: lookup.Lookup, _row: Any, _n: int, found: Any) -> list[Any]:
        return list(found)

    return [patch.object(lookup.Lookup, "_not_others", not_others)]


@_mutant
def _what_is_there_is_not_looked_at() -> list[Any]:
    async def list_service(self: ingest.Ingest) -> None:
        await self.journal.note({SERVICE_READ: BY_LIST})

    return [patch.object(ingest.Ingest, "_list_service", list_service)]


@_mutant
def _repeated_rows_are_sent() -> list[Any]:
    def add(self: journal_file.JournalFile, entry: entries.Entry, *, repeats: bool) -> None:
        real(self, entry, repeats=True)

    real = journal_file.JournalFile._add
    return [patch.object(journal_file.JournalFile, "_add", add)]


@_mutant
def _the_url_is_no_part_of_the_key() -> list[Any]:
    def key_of(row: Any, *place: str) -> Any:
        return real(attrs.evolve(row, values={}), *place)

    real = fields.natural_key_of
    return [patch.object(ingest, "natural_key_of", key_of)]


@_mutant
def _another_file_is_not_noticed() -> list[Any]:
    async def require_same(_self: ingest.Ingest, _rows: Any) -> None:
        pass

    return [patch.object(ingest.Ingest, "_require_same", require_same)]


# --- a list that is complete


@_mutant
def _what_the_rest_of_a_moving_list_does_not_name_goes() -> list[Any]:
    """That the service was listed is enough, whether it held still or not."""

    async def why_kept(self: surplus.Surplus) -> str:
        meta = self.journal.meta

        async def as_if_still() -> dict[str, str]:
            return {**await meta(), SERVICE_READ: BY_LIST}

        with patch.object(type(self.journal), "meta", lambda _: as_if_still()):
            return await real(self)

    real = surplus.Surplus._why_kept
    return [patch.object(surplus.Surplus, "_why_kept", why_kept)]


@_mutant
def _what_is_left_over_goes_although_a_row_failed() -> list[Any]:
    async def why_kept(self: surplus.Surplus) -> str:
        return "" if (await self.journal.meta()).get(SERVICE_READ) == BY_LIST else "unseen"

    return [patch.object(surplus.Surplus, "_why_kept", why_kept)]


@_mutant
def _the_bound_is_compared_after_the_rows() -> list[Any]:
    async def check(_self: surplus.Surplus) -> None:
        """Once the rows are done is soon enough."""

    return [patch.object(surplus.Surplus, "check", check)]


@_mutant
def _what_the_load_made_is_left_over() -> list[Any]:
    """The service is listed again when the rows are done, and what is there besides what was there is left over."""

    def add_left(self: journal_file.JournalFile, make: Any, *, inactive: Any, most: Any) -> int:
        made = [entry for entry in self.entries() if entry.action == "created"]
        found = real(self, make, inactive=inactive, most=most)
        rows = enumerate(made, len(self.entries()) + 1)
        left = [make(n, Held(str(entry.portfolio_id), entry.mms_id)) for n, entry in rows]
        self.ingest(attrs.evolve(one, entry=attrs.evolve(one.entry, natural_key=None)) for one in left)
        return found + len(made)

    real = journal_file.JournalFile.add_left
    return [patch.object(journal_file.JournalFile, "add_left", add_left)]


@_mutant
def _what_is_left_over_is_known_before_the_rows_are_done() -> list[Any]:
    """What no row stands for yet is taken for what no row stands for."""

    async def check(self: surplus.Surplus) -> None:
        with patch.object(surplus, "OPEN", ()), patch.object(surplus, "_WELL", tuple(State)):
            await self.add()

    return [patch.object(surplus.Surplus, "check", check)]


# --- the object


@_mutant
def _the_second_step_is_left_out() -> list[Any]:
    async def put(self: RowTask, present: Any) -> None:
        if self.entry.action == "created":
            self._end(State.DONE)
        else:
            await real(self, present)

    real = RowTask._put
    return [patch.object(RowTask, "_put", put)]


@_mutant
def _only_what_the_row_names_is_sent() -> list[Any]:
    def merged(self: RowTask, present: Any) -> Any:
        bare = new_portfolio(self.row, *self.shared.context.place, self.shared.context.options.codes)
        bare.id = present.id
        return bare, real(self, present)[1]

    real = RowTask._merged
    return [patch.object(RowTask, "_merged", merged)]


@_mutant
def _stopped_rows_are_done() -> list[Any]:
    """The end of a run is taken for the end of its rows."""

    async def run(self: loader.Load, *args: Any, **more: Any) -> Any:
        return attrs.evolve(await real(self, *args, **more), pending=0)

    real = loader.Load.run
    return [patch.object(loader.Load, "run", run)]


@_mutant
def _a_later_look_is_taken_for_an_earlier() -> list[Any]:
    """A title is asked for by each of its rows, and what is there then is taken for what was there before the load."""

    def add(self: journal_file.JournalFile, portfolios: Any) -> None:
        with self.together():
            for one in (Held(*listed) for listed in portfolios):
                if self.unbound([one.portfolio_id], is_new=False):
                    self._put("existing", *one)

    return [patch.object(journal_file.JournalFile, "add_existing", add)]


@_mutant
def _a_strangers_404_means_absence() -> list[Any]:
    """Whoever says 404, the thing is taken not to be there."""
    known = {**dialect._STATUS, 404: (OutcomeClass.REJECTED, Reason.NOT_FOUND)}
    return [patch.object(dialect, "_STATUS", known)]


# --- the index of identifiers


def _batched(change: Callable[[Any, dict[str, Any]], dict[str, Any]]) -> list[Any]:
    """Batches of records are read otherwise: ``change`` gets the ids that were asked for, and what was found by them."""

    async def batch(self: identifier_index.IdentifierIndex, ids: Any) -> dict[str, Any]:
        return change(ids, await real(self, ids))

    real = identifier_index.IdentifierIndex._batch
    return [patch.object(identifier_index.IdentifierIndex, "_batch", batch)]


@_mutant
def _records_are_matched_by_position() -> list[Any]:
    async def get_batch(self: bibs.Bibs, mms_ids: Any, **how: Any) -> dict[str, Any]:
        found = await real(self, mms_ids, **how)
        return dict(zip(mms_ids, found.values(), strict=False))

    real = bibs.Bibs.get_batch
    return [patch.object(bibs.Bibs, "get_batch", get_batch)]


@_mutant
def _an_omission_is_no_record() -> list[Any]:
    """What an answer leaves out is held to carry nothing."""
    nothing = identifier_index.RecordIdentifiers(0.0, ())
    return _batched(lambda ids, found: {one: found.get(one, nothing) for one in ids})


@_mutant
def _fields_are_emptied_as_usual_whatever_is_known() -> list[Any]:
    return [patch.object(row_task, "as_known", lambda _before, wanted, _effects: wanted)]


@_mutant
def _a_kept_index_of_any_age_is_believed() -> list[Any]:
    def read(self: identifier_index.KeptIndex, now: float, age: float) -> Any:
        return real(self, now, float("inf"))

    real = identifier_index.KeptIndex.read
    return [patch.object(identifier_index.KeptIndex, "read", read)]


@_mutant
def _a_kept_index_is_not_proved() -> list[Any]:
    def believed(self: kept.KeptFile, text: bytes) -> Any:
        with patch.object(kept, "_seal", lambda _: text[:16]):
            return real(self, text)

    real = kept.KeptFile.believed
    return [patch.object(kept.KeptFile, "believed", believed)]


@_mutant
def _a_suggestion_is_a_match() -> list[Any]:
    def named(bib: Any, read_at: float) -> Any:
        found = real(bib, read_at)
        return attrs.evolve(found, own=(*found.own, *found.others))

    real = identifier_index.named
    return [patch.object(identifier_index, "named", named)]


# --- what Alma may answer


def _judged(change: Callable[[str, int], Any]) -> list[Any]:
    def verdict(code: str, status: int) -> Any:
        return change(code, status) or real(code, status)

    real = problems._verdict
    return [patch.object(problems, "_verdict", verdict)]


@_mutant
def _no_route_is_a_refusal() -> list[Any]:
    """The gateway's time-out is taken for its word that there is no such path."""
    spared = OutcomeClass.NOT_PROCESSED, Reason.INVALID
    return _judged(lambda code, _status: spared if code == "ROUTING_ERROR" else None)


@_mutant
def _a_strange_code_of_a_fault_is_a_refusal() -> list[Any]:
    refused = OutcomeClass.REJECTED, Reason.INVALID
    return _judged(lambda code, status: refused if status >= 500 and code not in problems._CODES else None)


@_mutant
def _a_fault_with_a_code_is_a_refusal() -> list[Any]:
    """What Alma names is taken for its own word, whatever the status says."""
    return _judged(lambda code, status: problems._verdict(code, 400) if status >= 500 else None)


@_mutant
def _a_strange_refusal_is_unknown() -> list[Any]:
    unknown = OutcomeClass.UNKNOWN, Reason.UNLISTED
    return _judged(lambda code, status: unknown if status == 400 and code not in problems._CODES else None)


@_mutant
def _shortened_answers_are_taken_for_whole() -> list[Any]:
    return [patch.object(Updatable, "is_whole", property(lambda _: True))]


@_mutant
def _a_read_that_lags_is_the_end() -> list[Any]:
    """What a short answer did not show is read back at once, and not again."""

    async def read_back(self: RowTask, _present: Any) -> None:
        shown = await self.shared.lookup.get(self._portfolio_id)
        self._end(State.REVIEW if self._merged(shown)[1] else State.DONE)

    return [patch.object(RowTask, "_confirm", read_back)]


def _written(change: Callable[[Any, dict[str, Any]], dict[str, Any]]) -> list[Any]:
    """Updates are written otherwise."""

    def encoded(_self: Any, model: Any) -> bytes:
        whole = codec.unstructure(model)
        return json_text.dumps(change(model, whole) if model.id else whole)

    return [patch.object(Resource, "_encoded", encoded)]


@_mutant
def _what_is_cleared_is_left_out() -> list[Any]:
    return _written(lambda _, whole: {name: value for name, value in whole.items() if value != ""})


@_mutant
def _what_is_cleared_is_null() -> list[Any]:
    return _written(lambda _, whole: {name: value if value != "" else None for name, value in whole.items()})


@_mutant
def _only_what_came_is_written() -> list[Any]:
    """A member that the answer left out, since it said nothing, cannot be set."""
    return _written(lambda model, whole: {name: whole[name] for name in whole if name in model._source})


@_mutant
def _an_odd_field_fails_its_object() -> list[Any]:
    def cannot_read(where: str, _raw: Any, why: str) -> None:
        raise BadAnswer(f"{where}: {why}")

    return [patch.object(codec, "_cannot_read", cannot_read)]


@_mutant
def _a_list_that_moves_is_read_once() -> list[Any]:
    """Page after page to the end that was told last, by the pager and by the load, whether they follow or not."""

    async def listed(*of: Any, **how: Any) -> Any:
        with patch.object(lookup, "_LISTINGS", 1):
            ids, _ = await real_listing(*of, **how)
        return ids, True

    def took(self: pager.Cursor[Any], pages: Any) -> Any:
        new = real_took(self, pages)
        self._least = 0
        return new

    real_listing, real_took = lookup.listed, pager.Cursor.took
    return [
        patch.object(ingest, "listed", listed),
        patch.object(pager.Cursor, "took", took),
        patch.object(pager.Cursor, "_follows", lambda *_: True),
    ]


@_mutant
def _pages_do_not_overlap() -> list[Any]:
    """A list that moves is known by its totals alone, by the pager and by the load."""

    def upcoming(self: pager.Cursor[Any]) -> list[int]:
        self._overlap = 0
        return real(self)

    real = pager.Cursor.upcoming
    return [
        patch.object(pager.Cursor, "upcoming", upcoming),
        patch.object(pager.Cursor, "_follows", lambda *_: True),
    ]


@_mutant
def _months_that_are_objects_are_none() -> list[Any]:
    """Alma answers months as text, or so it was seen last."""
    return [patch.object(fields, "code_of", lambda value: value if isinstance(value, str) else None)]


@_mutant
def _a_pause_that_is_asked_for_is_not_kept() -> list[Any]:
    return [patch.object(dialect, "retry_after", lambda _response: None)]


@_mutant
def _a_list_without_its_items_is_empty() -> list[Any]:
    """Whatever total it tells, or none."""

    def listed(data: Any, member: str, **_: Any) -> Any:
        items = data.get(member) or []
        return items if isinstance(items, list) else [items]

    return [patch.object(resource, "listed", listed), patch.object(resource, "_total", lambda _data: None)]


# --- what Alma makes of a create


@_mutant
def _what_one_row_shows_is_trusted() -> list[Any]:
    return [
        patch.object(after_create._Kind, "is_learned", property(lambda self: self.read >= 1)),
        patch.object(after_create._Kind, "is_due", property(lambda self: self.trusted >= 5)),
    ]


@_mutant
def _what_alma_has_added_is_not_sent() -> list[Any]:
    """What was sent and ignored is known, but a PUT has only what rows say."""

    def corrected(sent: Any, answer: Any, corrections: Any) -> Any:
        return real(sent, answer, {path: value for path, value in corrections.items() if value is None})

    real = after_create._corrected
    return [patch.object(after_create, "_corrected", corrected)]
