"""``Load``: many rows into portfolios, bounded in memory, resumable after any end."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Final, Self

import anyio
import attrs

from alma_async._clock import Clock, ended, shielded, started
from alma_async._http.routes import NUMERIC_ID
from alma_async._secret import secretive
from alma_async._storage.files import are_one
from alma_async.alma.client import AlmaClient
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load import undo
from alma_async.load.announced import Ending, announced
from alma_async.load.bulk import reporting
from alma_async.load.compare import Comparing, Comparison
from alma_async.load.dry_run import Plan, note_calls, plan_of, scratch_path
from alma_async.load.entries import Moment
from alma_async.load.facts import ROWS, STANDING, TAKES_BACK
from alma_async.load.ingest import Given, Rows
from alma_async.load.institution import FactsFile
from alma_async.load.job_template import JobTemplate
from alma_async.load.journal import Journal, JournalError, Journals
from alma_async.load.options import DEFAULTS, PATH, LoadContext, LoadOptions, options_of
from alma_async.load.progress import Ended, Meter, Progress, Report, quote
from alma_async.load.register import Registered, require_none_cut_off, unfinished
from alma_async.load.row import InputError
from alma_async.load.run import LoadRun
from alma_async.load.standing import StandingRun
from alma_async.load.surplus import BeyondBound
from alma_async.load.verify import Audit, Verification
from alma_async.settings import Check, Priority, check_all, instance_of

__all__ = ["Load"]

_ID: Final = Check(
    "an id of digits", lambda value: re.fullmatch(NUMERIC_ID, str(value), re.ASCII) is not None
)
_ARGUMENTS: Final = {
    "alma": instance_of(AlmaClient, "an AlmaClient"),
    "collection_id": _ID,
    "service_id": _ID,
    "journal": PATH,
    "options": instance_of(LoadOptions, "LoadOptions(...)"),
}


class Load:
    """Loads rows into one electronic service, with every row accounted for in a journal.

    :param alma: the client
    :param collection_id: id of the electronic collection
    :param service_id: id of its service
    :param journal: a path, or ``store:NAME`` in the client's store: a new one begins a load, one that
        exists is resumed. It keeps the rows, which are read once.
    :param options: what is done, and how; see ``LoadOptions``
    :raises ConfigurationError: naming the argument that cannot be what was given.
    """

    @secretive
    def __init__(
        self,
        alma: AlmaClient,
        *,
        collection_id: str | int,
        service_id: str | int,
        journal: str | os.PathLike[str],
        options: LoadOptions = DEFAULTS,
    ) -> None:
        check_all(_ARGUMENTS, locals())
        if options.since is not None and are_one(options.since, Path(journal)):
            raise ConfigurationError("since names the load's own journal; name that of an earlier load.")
        if options.plan is not None and are_one(options.plan, Path(journal)):
            raise ConfigurationError("plan names the load's own journal; name that of a dry run.")
        self._set(alma, journal, options, (str(collection_id), str(service_id)))

    def _set(
        self,
        alma: AlmaClient,
        journal: str | os.PathLike[str],
        options: LoadOptions,
        place: tuple[str, str] | None,
    ) -> None:
        """``place`` is None where the journal says it."""
        self._client, self._owned, self._spent = alma, False, False
        self._alma = alma.with_options(priority=Priority.BULK, wait_for_quota=options.wait_for_quota)
        self._journal_path, self._options, self._place = Path(journal), options, place
        self._run: LoadRun | Comparing | Verification | None = None
        self.report: Report | None = None
        self._stop = False

    @classmethod
    @secretive
    def open(
        cls,
        journal: str | os.PathLike[str],
        alma: AlmaClient | None = None,
        *,
        options: LoadOptions = DEFAULTS,
    ) -> Self:
        """The load of a journal that is there, which says all but how to go on.

        The journal is read when the load is used, which raises ``InputError`` where there is none,
        or nothing was written into it.

        :param alma: the client; without one, each call makes its own from the
            environment, and closes it.
        :param options: those that may differ from one run to the next; the others are the journal's
        """
        checks = {**_ARGUMENTS, "alma": _ARGUMENTS["alma"].or_none()}
        check_all({name: checks[name] for name in ("alma", "journal", "options")}, locals())
        load = cls.__new__(cls)
        load._set(AlmaClient.from_env() if alma is None else alma, journal, options, None)
        load._owned = alma is None
        return load

    @property
    def _journals(self) -> Journals:
        return Journals(self._alma.clock, self._alma.store)

    def stop(self) -> None:
        """Take no further row, and let those under way end their present call; what
        runs then returns, resumable.

        Where nothing runs yet, what is run next returns so before it sends anything.
        """
        self._stop = True
        if self._run is not None:
            self._run.stop()

    def progress(self) -> Progress | None:
        """Say how far the present run is, at any time; None before anything is known."""
        return None if self._run is None else self._run.progress()

    async def ingest(self, rows: Rows, *, on_progress: Callable[[Progress], None] | None = None) -> Report:
        """Write the rows into the journal, and send nothing: a later ``run``, in this process or
        another one, carries them out.

        :param rows: as in ``run``
        :raises: what ``run`` raises
        """
        context = attrs.evolve(await self._context(), only_ingest=True)
        return await self._carry_out(context, self._journal_path, rows, on_progress)

    async def run(
        self,
        rows: Rows | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        rest: bool = True,
    ) -> Report:
        """Carry every row to its end, or as far as it goes.

        :param rows: a path, what ``read_rows`` gives, or any (async) iterable of rows or mappings;
            it is read once. Without it, those that the journal has. Rows that are given again must
            be the same.
        :param rest: whether to wait here until rows of unknown outcome have rested; else the report
            says when to go on (``resume_at``)
        :raises JournalError: where the journal cannot be written; nothing more is sent then.
        :raises JournalInUse: where another process works on it.
        :raises ServiceInUse, UnfinishedLoad: where another load of the service is under way, or
            was cut off a moment ago.
        :raises InputError: where the rows cannot be read, or the journal has others.
        :raises Unauthorized, ConfigurationError: where going on makes no
            sense; the load can be resumed.
        """
        context = attrs.evolve(await self._context(), rests=rest)
        return await self._carry_out(context, self._journal_path, rows, on_progress)

    async def stream(
        self,
        rows: Rows | None = None,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        rest: bool = True,
        by_title: bool = False,
    ) -> AsyncGenerator[Ended, None]:
        """Carry every row to its end as ``run`` does, and give each row's end as it
        comes, once the journal has it.

        Rows of an **async iterable** are begun as they come, so it may wait for ends and need not
        end itself; the journal then stands for as long as you use it. Each is taken when there is
        room for it. Each row that comes is given an end: one whose ``key`` the journal has, that of
        the first with it. Rows of one title are carried out in the order in which they came, each
        as a load of its own: two calls where the title has no portfolio yet. A row needs ``mms_id`` or
        ``portfolio_id``. With ``since``, ``missing``, ``plan``, ``via_job`` or ``allow_duplicates``,
        which need the whole list, all rows are read first.

        Rows of a **path, a list or an iterable** are one list, read to its end first. Begins with
        the ends of rows that the journal has already, so that a program that acknowledges messages
        misses none.

        A row is given again, in review, where it turned out that its update should not have gone
        without a read (``unread``). Rows are begun as ends are consumed: at most 100 ends wait to
        be consumed, and the rows that are under way then end too. Leaving the loop early stops
        the load, resumable (``contextlib.aclosing`` waits for that). ``report`` says afterwards
        how the run ended.

        :param by_title: read the portfolios of each row's title, and not the service's list: one call a
            row, which is less for a few rows
        :raises: what ``run`` raises
        """
        send, receive = anyio.create_memory_object_stream[Ended](_ENDS)

        async def work() -> None:
            async with send:
                context = attrs.evolve(await self._context(), rests=rest, by_title=by_title)
                await self._carry_out(context, self._journal_path, rows, on_progress, give)

        async def give(end: Ended) -> None:
            with suppress(anyio.BrokenResourceError):  # nobody consumes them any more
                await send.send(end)

        task = started(work())
        try:
            async for one in receive:
                yield one
        except GeneratorExit:
            self.stop()
            raise
        except BaseException:
            task.cancel()
            raise
        finally:
            receive.close()
            await ended(task)
        task.result()

    async def plan(
        self,
        rows: Rows | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Plan:
        """Find out what ``run`` would do now, and its price: the same code, but nothing is
        sent that changes anything.

        :param journal: where the dry run is written down, and resumed after an interruption; the
            load's own stays as it is. Without one, a file that goes away with the plan.
        :raises: what ``run`` raises
        """
        context = await self._context()
        if context.options.plan is not None:
            raise ConfigurationError("plan is carried out by run; a dry run makes one.")
        return await self._plan(context, rows, journal, on_progress)

    async def _plan(
        self,
        context: LoadContext,
        rows: Rows | None,
        journal: str | os.PathLike[str] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> Plan:
        path, scratch = (Path(journal), None) if journal is not None else scratch_path()
        try:
            report = await self._carry_out(attrs.evolve(context, dry=True), path, rows, on_progress)
            now = quote(self._alma.quota(), self._alma.clock.wall())
            known = await self._alma.clock.aside(FactsFile.of(self._alma.scope).read)
            return await plan_of(self._journals, path, report, now, known, scratch=scratch)
        except BaseException:
            if scratch is not None:
                scratch.cleanup()
            raise

    async def compare(
        self, rows: Rows | None = None, *, on_progress: Callable[[Progress], None] | None = None
    ) -> Comparison:
        """Compare the rows with the service, field by field; nothing is sent that changes anything.

        Costs what ``plan`` costs, and the list of the service for what no row names. Each row is
        compared, whatever an earlier load (``since``) knows of it.

        :raises ConfigurationError: for another action than upsert, and for a ``plan``.
        :raises: what ``run`` raises
        """
        context = await self._context()
        if context.options.action != "upsert":
            raise ConfigurationError(
                "A comparison is of what a list says, and knows the action upsert alone."
            )
        if context.options.plan is not None:
            raise ConfigurationError("plan is carried out by run; a comparison is of rows.")
        options = attrs.evolve(context.options, missing=None, since=None)
        context = attrs.evolve(context, options=options)
        plan = await self._plan(context, rows, None, on_progress)
        try:
            context = await self._context()
            async with self._running():
                comparing = self._run = Comparing(
                    context=context,
                    plan=plan,
                    meter=Meter(self._alma.clock.now()),
                    on_progress=on_progress,
                )
                if self._stop:
                    comparing.stop()
                return await reporting(comparing.compare, comparing.report_progress if on_progress else None)
        except BaseException:
            plan.close()
            raise

    async def verify(
        self, *, ids_only: bool = False, on_progress: Callable[[Progress], None] | None = None
    ) -> Audit:
        """Compare what the load's journal says with what Alma holds now, or as
        much of it as can be read.

        Waits for what passes by itself as ``run`` does; what stops it then is in
        ``stopped`` beside what was found.

        :param ids_only: do not compare fields, which costs a call for each row
        :raises JournalError: where the journal is not what was written.
        :raises InputError: where there is no journal, or it is of another load
        """
        context = await self._context()
        async with self._running(), self._journals.opened(self._journal_path, reading=True) as journal:
            self._run = Verification(
                context=context,
                journal=journal,
                fields=not ids_only,
                meter=Meter(self._alma.clock.now()),
                on_progress=on_progress,
            )
            if self._stop:
                self._run.stop()
            return await reporting(self._run.audit, self._run.report_progress if on_progress else None)

    async def undo(
        self,
        *,
        journal: str | os.PathLike[str] | None = None,
        via_job: JobTemplate | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        rest: bool = True,
    ) -> Report:
        """Take back what the load did: delete what it created, put back what it changed,
        create anew what it deleted.

        What somebody else changed since is left alone and ends in review. What is
        created anew gets a new id.

        :param journal: where the undo is written down; by default beside the load's own. One
            that did not end is resumed.
        :param via_job: a job that puts back, at once, what a load did to all of its portfolios
            alike: the opposite of its own
        :param rest: as of ``run``
        :raises: what ``run`` raises
        """
        context, journals = await self._context(), self._journals
        if journal is not None and are_one(Path(journal), self._journal_path):
            raise ConfigurationError(
                f"{os.fspath(journal)!r} is the journal of the load itself; its undo needs another one."
            )
        await undo.begun_load(journals, self._journal_path)
        path = Path(journal) if journal else await undo.beside(journals, self._journal_path)
        options = attrs.evolve(
            context.options,
            action="undo",
            bib="retain",
            notes="replace",
            allow_duplicates=False,
            since=None,
            missing=None,
            plan=None,
            via_job=via_job,
            no_undo=False,
            facts={},
        )
        context = attrs.evolve(context, options=options, rests=rest)
        return await self._carry_out(context, path, undo.undo_rows(self._journal_path), on_progress)

    async def _carry_out(
        self,
        context: LoadContext,
        path: Path,
        rows: Rows | None,
        on_progress: Callable[[Progress], None] | None,
        on_end: Callable[[Ended], Awaitable[None]] | None = None,
    ) -> Report:
        if not context.dry:
            self._alma.require_writable()
        with announced(context) as ending:
            return await self._work(context, path, rows, on_progress, on_end, ending)

    async def _work(  # noqa: PLR0917 - as _carry_out
        self,
        context: LoadContext,
        path: Path,
        rows: Rows | None,
        on_progress: Callable[[Progress], None] | None,
        on_end: Callable[[Ended], Awaitable[None]] | None,
        ending: Ending,
    ) -> Report:
        async with (
            self._running(),
            self._registered(context, path, rows) as registered,
            self._journals.opened(path) as journal,
        ):
            undoes = await self._undoes(context, journal, rows)
            await self._enter(context, journal, registered, undoes)
            make: Callable[..., LoadRun] = LoadRun
            if on_end is not None and (coming := await _coming(context, journal, rows)) is not None:
                make, rows = partial(StandingRun, coming=coming), None
            run = self._run = ending.run = make(
                context=context,
                name=ending.name,
                journal=journal,
                rows=rows,
                meter=Meter(self._alma.clock.now()),
                on_progress=on_progress,
                on_end=on_end,
            )
            if self._stop:
                run.stop()
            self.report = None
            try:
                try:
                    if undoes is not None:
                        await shielded(undo.begin(self._journals, undoes, journal))
                    await reporting(run.work, run.report_progress if on_progress else None)
                finally:
                    run.report_progress(force=True)
                    await shielded(_wind_up(run))
            except AlmaError as error:
                run.halt(error)
            if undoes is not None and not isinstance(run.stopped, JournalError):
                await shielded(undo.end(self._journals, undoes, journal))
            if isinstance(run.stopped, BeyondBound) and await journal.is_untouched():
                await self._leave(registered, journal)  # a resumed one has the same bound
            if run.stopped is not None and not run.ends_in_report:
                for line in run.unwritten():
                    run.stopped.add_note(line)
                raise run.stopped
            report = self.report = ending.report = await run.report()
            if report.is_finished:
                await self._leave(registered, journal)
            return report

    async def _enter(
        self, context: LoadContext, journal: Journal, registered: Registered | None, undoes: Path | None
    ) -> None:
        """Register the load in the store too, where that keeps its journal. A journal of another service is not
        registered at all.
        """
        known, place = await journal.meta(), (self._alma.origin, *context.place)
        if any(known.get(name, its) != its for name, its in zip(_PLACE, place, strict=True)):
            if registered is not None:
                await self._alma.clock.aside(registered.remove)
            return  # the run says so
        if not (context.dry or context.only_ingest):
            options, alone = context.options, not context.options.beside
            rests, takes_back = options.quarantine if alone else None, str(undoes) if undoes else None
            await journal.enter(place, alone=alone, rests=rests, takes_back=takes_back)

    async def _leave(self, registered: Registered | None, journal: Journal) -> None:
        """Nothing is left to do."""
        await journal.leave()
        if registered is not None:
            await self._alma.clock.aside(registered.remove)

    async def _undoes(self, context: LoadContext, journal: Journal, rows: Rows | None) -> Path | None:
        """The journal of the load that this one takes back."""
        if context.options.action != "undo" or context.dry:
            return None
        found = (await journal.meta()).get(TAKES_BACK) or _taken_back(rows)
        return Path(found) if found else None

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """What a stop is for: it ends with it, and so does a client of our own."""
        try:
            async with AsyncExitStack() as stack:
                if self._owned:
                    await stack.enter_async_context(self._client)
                yield
        finally:
            self._stop = False
            self._spent = self._owned

    async def _context(self) -> LoadContext:
        """What the parts of the next run share. A client of our own serves one run; a load of a
        journal is what that says.
        """
        if self._spent:
            self._spent, self._client = False, AlmaClient.from_env()
            waits = self._alma.options.wait_for_quota
            self._alma = self._client.with_options(priority=Priority.BULK, wait_for_quota=waits)
        if self._place is None:
            async with self._journals.opened(self._journal_path, reading=True) as journal:
                known = await journal.meta()
            if "collection" not in known:
                name = self._journal_path.name
                raise InputError(f"Nothing was written into {name} yet.", advice="Begin the load again.")
            self._place, self._options = (
                (known["collection"], known["service"]),
                options_of(known, self._options),
            )
        return LoadContext(
            alma=self._alma,
            place=self._place,
            options=self._options,
            workers=self._options.workers or _workers(self._alma.quota().limit),
        )

    @asynccontextmanager
    async def _registered(
        self, context: LoadContext, path: Path, rows: Rows | None
    ) -> AsyncIterator[Registered | None]:
        """Have the load known as one of its service's, unless it sends
        nothing that changes anything.
        """
        if context.dry or context.only_ingest:
            yield None
            return
        found = list[Registered | None]()
        service, clock, options = (self._alma.origin, *context.place), self._alma.clock, context.options
        enter = partial(Registered.enter, service, path, beside=options.beside, now=_moment(clock))
        try:
            if not options.beside:
                await require_none_cut_off(
                    self._journals,
                    service,
                    path,
                    now=_moment(clock),
                    rests=options.quarantine,
                    takes_back=_taken_back(rows),
                )
            await clock.aside(lambda: found.append(enter()))
            if options.action != "undo":
                others = await clock.aside(partial(unfinished, service))
                others += await self._journals.unfinished(service)
                await undo.note_overtaken(self._journals, others, path)
            yield found[0]
        finally:
            if found and found[0] is not None:
                found[0].close()


def _taken_back(rows: Rows | None) -> str | None:
    """The journal of the load that these rows take back."""
    found: str | None = getattr(rows, "facts", {}).get(TAKES_BACK)
    return found


async def _coming(context: LoadContext, journal: Journal, rows: Rows | None) -> AsyncIterable[Given] | None:
    """The rows, where they are begun as they come: they come by themselves, and nothing needs all of them."""
    options = context.options
    if not isinstance(rows, AsyncIterable) or any(
        (options.since, options.missing, options.plan, options.via_job, options.allow_duplicates)
    ):
        return None
    known = await journal.meta()
    return rows if STANDING in known or not known.get(ROWS) else None


async def _wind_up(run: LoadRun) -> None:
    """Have written what a run knows, however it ended."""
    await run.journal.flush()
    with suppress(JournalError):  # all that matters is written
        await run.note_measured()
    if run.context.dry:
        await note_calls(run.journal, run.meter)
    else:
        await run.keep_observed()


def _moment(clock: Clock) -> Moment:
    return Moment(wall=clock.wall(), mono=clock.now(), boot=clock.boot() or "")


def _workers(per_second: float) -> int:
    """Rows under way at once that keep the pace full: a second's calls for each second of the
    longest latency recorded (a POST took 11.1 s), and as many again that stand ready, so that it is
    full to the end.
    """
    return min(ceil(per_second * 2 * 12.0), _MOST_WORKERS)


_PLACE: Final = ("origin", "collection", "service")
_ENDS: Final = 100  # chosen: ends of rows that wait to be consumed
_MOST_WORKERS: Final = 1000  # chosen: a row under way takes some 10 KB
