"""``load``, ``sync``, ``resume``, ``undo`` and ``loads``: rows into one service, the same again from its journal, and the way back.

Decides how a load begins and what is printed at its end. The options of a load, and what it is about, are in ``load_options``.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, Literal, Self, cast

import anyio
import attrs
from cyclopts import Group, Parameter

from alma_async._clock import Clock
from alma_async._storage.files import are_one
from alma_async._text import counted, duration
from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import BibHandling
from alma_async.alma.fields import NoteStrategy
from alma_async.cli import journals
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import agreed, json_line, say, show
from alma_async.cli.load_options import AS_IT_IS, AS_USUAL, Input, ListOptions, ShellOptions, option
from alma_async.cli.signals import GRACE, Attended, attend
from alma_async.cli.view import View, closing, few, not_loaded, show_part, show_plan, show_surplus
from alma_async.errors import AlmaError, ConfigurationError, InvalidRequest
from alma_async.load.dry_run import Plan
from alma_async.load.entries import Action, State
from alma_async.load.facts import LINES
from alma_async.load.job_template import JobTemplate
from alma_async.load.journal import JournalDamaged, JournalInUse, address_of, stored
from alma_async.load.options import DEFAULTS, LoadOptions, Missing, options_of
from alma_async.load.progress import Meter, Progress, Report
from alma_async.load.readers import RowSource
from alma_async.load.register import ServiceInUse, UnfinishedLoad, unfinished
from alma_async.load.report import check_path, write_report
from alma_async.load.row import InputError
from alma_async.load.surplus import BeyondBound
from alma_async.load.undo import UndoRows, begun_load, undo_rows
from alma_async.load.via_job import FEW
from alma_async.store import translated

__all__ = ["load", "loads", "resume", "sync", "undo"]

Source = RowSource | UndoRows | None  # of a load that has its rows
_NAMED: Final = "(a path, or a name as listed by resume)"
_SINCE: Final = f"{LoadOptions.help('since')} {_NAMED}"
_PLAN: Final = f"{LoadOptions.help('plan')} {_NAMED}. Its list, its service and what it was made with need not be given again"


def _planned(name: str, default: Any) -> Parameter:
    """An option that a plan knows, where it is not given."""
    return option(name, show_default=lambda _: default)


_OF_JOB: Final = Group("By a job", sort_key=3)
ViaJob = Annotated[
    Path | None,
    Parameter(
        metavar="TEMPLATE",
        group=_OF_JOB,
        help=f"a file with {LoadOptions.help('via_job')}. It holds what Alma shows under Run a Job, API Information: the URL and, "
        "below it, the body in XML or JSON; set_id and job_name are replaced, all else goes as it is",
    ),
]
JobId = Annotated[
    str | None,
    Parameter(
        metavar="ID", group=_OF_JOB, help="the id of that job, where its file has no URL (M and digits)"
    ),
]
InStore = Annotated[
    bool,
    Parameter(
        name="--store",
        help="keep the load in the store, where other machines can go on with it; --journal store:NAME names it",
    ),
]
Defer = Annotated[
    bool,
    Parameter(
        help="keep the load in the store and queue it, when all rows are read: a worker (alma-async worker) carries it out",
    ),
]
DryRun = Annotated[bool, Parameter(help="show what would be done and what it costs; change nothing")]


def load(
    file: Path | None = None,
    /,
    *,
    collection: str | None = None,
    service: str | None = None,
    from_analytics: str | None = None,
    journal: Path | None = None,
    store: InStore = False,
    defer: Defer = False,
    action: Annotated[
        Literal["upsert", "create", "update", "delete", "activate", "deactivate"] | None,
        _planned("action", DEFAULTS.action),
    ] = None,
    bib: Annotated[BibHandling | None, _planned("bib", DEFAULTS.bib)] = None,
    allow_duplicates: Annotated[bool | None, _planned("allow_duplicates", DEFAULTS.allow_duplicates)] = None,
    notes: Annotated[NoteStrategy | None, _planned("notes", DEFAULTS.notes)] = None,
    since: Annotated[str | None, Parameter(help=_SINCE)] = None,
    plan: Annotated[str | None, Parameter(help=_PLAN)] = None,
    via_job: ViaJob = None,
    job: JobId = None,
    no_undo: Annotated[bool, option("no_undo", group=_OF_JOB, negative="")] = DEFAULTS.no_undo,
    dry_run: DryRun = False,
    reading: ListOptions = AS_IT_IS,
    options: ShellOptions = AS_USUAL,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Load a file of rows into the portfolios of one service.

    :param file: native CSV, KBART, a file of Alma's portfolio loader or an Analytics export; text
        or workbook
    :param collection: id of the electronic collection
    :param service: id of its service
    :param from_analytics: in place of a file: the path of an Analytics report, such as
        /shared/Our Library/Reports/Portfolios; a call for 1,000 rows
    :param journal: the file that keeps the load, or store:NAME; by default in the state directory
    """
    journals.reach(connection.store())
    if file is not None and from_analytics is not None:
        raise ConfigurationError("Name a file of rows, or a report with --from-analytics, not both.")
    if dry_run and plan:
        raise ConfigurationError("--plan carries out what a --dry-run has shown; name one of the two.")
    asked = {
        "file": str(file.absolute()) if file else from_analytics,
        "collection": collection,
        "service": service,
        "action": action,
        "bib": bib,
        "duplicates": None if allow_duplicates is None else "allowed" if allow_duplicates else "rejected",
        "notes": notes,
        "since": address_of(journals.find(since)) if since else None,
    }
    given = Input.asked(asked, Path(address_of(journals.find(plan))) if plan else None, dry=dry_run)
    given = _by_job(given, _template(via_job, job), no_undo=no_undo)
    if file is None and from_analytics is None:  # the plan has its rows
        return _load(
            given, None, journal, options, connection, reads=(via_job,), in_store=store or defer, defer=defer
        )
    if file is not None:
        rows = reading.rows(file, cast("Action", given.action))
        reads = (file, reading.mms_map, via_job)
        return _load(
            given, rows, journal, options, connection, reads=reads, in_store=store or defer, defer=defer
        )
    with TemporaryDirectory(prefix="alma-async-report-") as folder:
        downloaded = Path(folder) / "report.csv"
        if interrupted := connection.run(partial(_download, report=given.file, to=downloaded)):
            return interrupted
        rows = reading.rows(downloaded, cast("Action", given.action))
        others = (reading.mms_map, via_job)
        return _load(
            given, rows, journal, options, connection, reads=others, in_store=store or defer, defer=defer
        )


def _template(via_job: Path | None, job: str | None) -> JobTemplate | None:
    if via_job is None and job is not None:
        raise ConfigurationError("--job names the job of a template; name that with --via-job.")
    return None if via_job is None else JobTemplate.read(via_job, job_id=job)


def _by_job(given: Input, template: JobTemplate | None, *, no_undo: bool) -> Input:
    """The same by this job, if there is one; what cannot be is said before anything is read."""
    found = attrs.evolve(given, via_job=template.written if template else "", no_undo="1" if no_undo else "")
    if template is not None or no_undo:
        options_of(attrs.asdict(found), LoadOptions())
    return found


def sync(
    file: Path,
    /,
    *,
    collection: str,
    service: str,
    missing: Annotated[
        Missing,
        Parameter(
            help="what becomes of a portfolio that the list does not name, once all rows have ended well: it is reported, "
            "deactivated or deleted"
        ),
    ] = "report",
    max_delete: Annotated[str, option("max_delete", metavar="N or P%")] = str(DEFAULTS.max_delete),
    yes: Annotated[
        bool, Parameter(help="do not ask on a terminal before anything is deactivated or deleted")
    ] = False,
    journal: Path | None = None,
    store: InStore = False,
    defer: Defer = False,
    bib: Annotated[BibHandling, option("bib")] = DEFAULTS.bib,
    notes: Annotated[NoteStrategy, option("notes")] = DEFAULTS.notes,
    since: Annotated[str | None, Parameter(help=_SINCE)] = None,
    dry_run: DryRun = False,
    reading: ListOptions = AS_IT_IS,
    options: ShellOptions = AS_USUAL,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Load a list that is complete, and report, deactivate or delete what the service holds beyond it.

    Nothing is deactivated or deleted where any row was rejected or is for review, where a part of the file or of the service's
    list could not be read. Where more would go than --max-delete allows, nothing is sent at all. Ends with 1 where portfolios
    are only reported, or were not touched for such a reason; undo brings back what a sync did, but not bib
    records that --bib delete took with it, nor their portfolios.

    :param file: all titles of the service: what load takes
    :param collection: id of the electronic collection
    :param service: id of its service
    :param journal: the file that keeps the load, or store:NAME; by default in the state directory
    """
    journals.reach(connection.store())
    given = Input(
        file=str(file.absolute()),
        collection=collection,
        service=service,
        action="upsert",
        bib=bib,
        duplicates="rejected",
        notes=notes,
        since=address_of(journals.find(since)) if since else "",
        dry="1" if dry_run else "",
        missing=missing,
        max_delete=max_delete,
    )
    rows = reading.rows(file)
    # wrong use is said before a person is asked
    LoadOptions(missing=missing, max_delete=max_delete, beside=options.beside)
    if missing != "report" and not (dry_run or yes):
        _require_agreed(
            f"{missing.capitalize()} what service {service} holds beyond {file.name}, {max_delete} at most?"
        )
    return _load(
        given,
        rows,
        journal,
        options,
        connection,
        reads=(file, reading.mms_map),
        in_store=store or defer,
        defer=defer,
    )


def _require_agreed(question: str) -> None:
    if not agreed(question):
        raise ConfigurationError(
            "Nothing was sent.", advice="--dry-run shows what would be done, --yes does not ask."
        )


async def _download(alma: AlmaClient, *, report: str, to: Path) -> int:
    """Have the report as a file; its exit code."""
    rows = await alma.analytics.download(report, to)
    say(f"{counted(rows, 'row')} of the report {report}")
    return 0


def resume(
    journal: str | None = None,
    /,
    *,
    options: ShellOptions = AS_USUAL,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Continue an interrupted load; without a name, list the journals of the state directory.

    :param journal: its journal: a path, a name as listed, or store:NAME
    """
    if journal is None:
        return _list(as_json=options.json)
    journals.reach(connection.store())
    path = journals.find(journal)
    return _load(Input.of(path), None, path, options, connection, resumed=True)


def undo(
    of: Annotated[str, Parameter(name="LOAD-JOURNAL")],
    /,
    *,
    journal: Path | None = None,
    via_job: ViaJob = None,
    job: JobId = None,
    dry_run: DryRun = False,
    options: ShellOptions = AS_USUAL,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Undo a load: delete what it created, restore what it changed, create again what it deleted.

    What somebody else has changed since is not touched, and is for review. What is created again gets a new id.

    :param of: the load's journal: a path, a name as listed by resume, or store:NAME
    :param journal: the file that keeps the undo, or store:NAME; by default in the state directory, or in the store with its load
    """
    journals.reach(connection.store())
    path = journals.find(of)
    if journal is not None and are_one(journal, path):
        raise ConfigurationError(
            f"{str(journal)!r} is the journal of the load itself; its undo needs another one."
        )
    meta = anyio.run(begun_load, journals.reachable(), path)
    return _load(
        Input.undoing(path, meta, via_job=_template(via_job, job), dry=dry_run),
        undo_rows(path),
        journal,
        options,
        connection,
        reads=(path, via_job),
        origin=meta["origin"],
        in_store=journal is None and stored(path) is not None,
    )


def loads(
    *,
    json: Annotated[bool, Parameter(help="each load as one JSON object")] = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """List the loads in the store, with their state, who works on each, and how far it is.

    resume, verify and undo take the name that is listed, on any machine.
    """
    journals.reach(connection.store())
    if journals.reachable().store is None:
        raise ConfigurationError("There is no store: set ALMA_STORE, or give --store-file.")
    found = list(journals.in_store())
    if not found:
        say("There are no loads in the store.")
    for one in found:
        if json:
            json_line(attrs.asdict(one))
        else:
            rows = f"{one.rows - one.pending:>7,} of {one.rows:>7,} rows"
            owner = f"  {one.owner}, seen {one.seen:.0f} s ago" if one.seen is not None else ""
            show(f"{one.journal:<48} {one.state:<10} {rows}  {one.kind:<8}  {one.file}{owner}")
    return 0


def _list(*, as_json: bool) -> int:
    listed = list(journals.standings())
    if not listed:
        say(f"There are no journals in {str(journals.directory())!r}.")
    for one in listed:
        if as_json:
            json_line(attrs.asdict(one))
        else:
            rows = f"{one.rows - one.pending:>7,} of {one.rows:>7,} rows"
            show(f"{one.journal:<48} {one.state:<10} {rows}  {one.kind:<8}  {one.file}")
    return 0


def _load(
    given: Input,
    rows: Source,
    journal: Path | None,
    options: ShellOptions,
    connection: Connection,
    *,
    reads: tuple[Path | None, ...] = (),
    origin: str | None = None,  # of the load that is undone
    in_store: bool = False,
    defer: bool = False,
    resumed: bool = False,
) -> int:
    if defer and (given.dry or rows is None or (journal is not None and not stored(journal))):
        raise ConfigurationError("--defer goes with rows, a journal in the store, and no dry run.")
    if defer and (options.report is not None or options.options().codes != DEFAULTS.codes):
        raise ConfigurationError(
            "--defer goes without --report and without options of codes: alma-async resume store:NAME --report FILE "
            "reports a load that has ended."
        )
    if options.report is not None:
        check_path(options.report)
        others = (Path(name) for name in (given.since, given.plan) if name)
        _require_apart(options.report, journal, connection.key_path(), *others, *reads)
    alma = connection.client()
    if origin not in (None, alma.origin):
        raise InputError(f"{Path(given.file).name} is of a load into {origin}, not {alma.origin}.")
    path = journals.checked(journal) if journal else _new_path(given, in_store=in_store)
    if isinstance(rows, RowSource):
        say(rows.reason)
    if not given.dry:
        say(f"journal: {path}")
        _name_unfinished((alma.origin, given.collection, given.service), path)
    seen: list[Progress] = []
    try:
        if defer:
            with _Warnings(rows, options.warnings):
                return anyio.run(_defer, alma, given, rows, path, options)
        with _Warnings(rows, options.warnings) as warnings:
            run = partial(_run, alma, given, rows, path, options=options, seen=seen, warnings=warnings)
            ended = anyio.run(run)
    except AlmaError as error:
        # a wrong key or id, for example: there is nothing to continue
        queued = defer and journals.has_rows(path)  # perhaps: the store's answer may be lost
        if journal is None and not queued and journals.untouched(path):
            journals.discard(path)
            raise
        if seen and not isinstance(error, InputError):  # such a load did nothing
            with suppress(AlmaError):  # a journal that cannot be read any more; the first failure is raised
                _report(_cut_short(path, seen, error.message), given, path, options)
        _note_way_on(error, path, seen)
        raise
    of_ours = not stored(path) and path.absolute().parent == journals.directory().absolute()
    kept = journal is not None and not (resumed and of_ours)
    return _end(ended, seen, given, path, options, kept=kept)


# options that go with a task; for an outage and for the quota's reset it waits in the queue
_OF_RUN: Final = (
    "quarantine",
    "on_unknown",
    "keep_payload",
    "index_age",
    "circuit_breaker",
    "beside",
    "plan_age",
)


async def _defer(alma: AlmaClient, given: Input, rows: Source, path: Path, options: ShellOptions) -> int:
    """Write the rows into the journal, and queue the task that loads them."""
    from alma_async.workers import engine

    store = alma.store
    if rows is None or store is None:
        raise ConfigurationError("--defer needs rows to write down: a file, or a report.")
    name, asked = str(path).removeprefix("store:"), options.options()
    of_run = {one: getattr(asked, one) for one in _OF_RUN if getattr(asked, one) != getattr(DEFAULTS, one)}
    more: dict[str, Any] = {"options": of_run} if of_run else {}
    async with store, alma:
        report = await given.load(alma, path, asked).ingest(rows)
        async with journals.reachable().opened(path, reading=True) as journal:
            async for line in not_loaded(journal, most=20):
                say(line)
        with translated(store):
            await store.shared.do(
                lambda link: engine.defer(
                    link,
                    "alma_async.run_load",
                    institution=alma.institution,
                    load_id=name,
                    **more,
                ),
                within=10.0,
            )
    rejected = f", {report.rejected:,} of them rejected" if report.rejected else ""
    show(f"Queued {counted(report.rows, 'row')}{rejected}. alma-async loads shows how far the load is.")
    return 0


def _new_path(given: Input, *, in_store: bool) -> Path:
    if in_store and journals.reachable().store is None:
        raise ConfigurationError("--store and --defer need a store: set ALMA_STORE, or give --store-file.")
    # the file is an address, of an undo
    return journals.new_path(Path(given.file.removeprefix("store:")), of=given.kind, in_store=in_store)


def _require_apart(report: Path, *others: Path | None) -> None:
    """Check that the report overwrites nothing that the load reads or writes.

    :raises ConfigurationError: naming what it would.
    """
    for other in filter(None, others):
        if are_one(report, other):
            raise ConfigurationError(f"The report would overwrite {str(other)!r}. Name another file.")


def _name_unfinished(service: tuple[str, str, str], own: Path) -> None:
    """Name the loads of the same service that are not finished, before anything is sent."""
    for path in [*unfinished(service), *anyio.run(journals.reachable().unfinished, service)]:
        if address_of(path) == address_of(own):
            continue
        standing = journals.standing(path)
        if standing.state == "unreadable":
            say(
                f"The journal of another load of the same service cannot be read, and is ignored: {path}. "
                f"Find out why with: {journals.verifying(path)}"
            )
        elif standing.state == "unfinished":
            begun = f" ({standing.begun:,} of them begun)" if standing.begun else ""
            say(
                f"A load of the same service is not finished: {standing.file or path.name}, {standing.pending:,} of "
                f"{counted(standing.rows, 'row')} pending{begun}. Resume it with: {journals.resuming(path)}"
            )


def _note_way_on(error: AlmaError, path: Path, seen: list[Progress]) -> None:
    """Add to the error how to continue: with the journal, once that has all rows."""
    if not isinstance(error, _NO_WAY_ON):
        known = journals.has_rows(path)
        if known is None:
            known = bool(seen) and not seen[0].reading
        error.add_note(
            f"Go on with: {journals.resuming(path)}" if known else "Then give the same command again."
        )


_NO_WAY_ON: Final = (
    BeyondBound,
    InputError,
    InvalidRequest,
    JournalDamaged,
    JournalInUse,
    ServiceInUse,
    UnfinishedLoad,
)


class _Warnings:
    """The warnings about the file, each printed once: as soon as it is known, at the latest when the load ends."""

    def __init__(self, rows: Source, most: int) -> None:
        """Of ``rows``, ``most`` warnings."""
        self._rows, self._most, self._said = rows, most, 0

    def say(self) -> None:
        """Print the new warnings, up to the limit."""
        known = () if self._rows is None else self._rows.warnings
        for warning in known[self._said : self._most]:
            say(f"warning: {warning}")
        if self._said < len(known) > self._most:
            more = counted(len(known) - max(self._said, self._most), "more warning")
            say(f"... and {more}: --warnings {len(known)} shows all, --report keeps them with their rows")
        self._said = len(known)

    def __enter__(self) -> Self:
        self.say()
        return self

    def __exit__(self, *_: object) -> None:
        self.say()


async def _run(
    alma: AlmaClient,
    given: Input,
    rows: Source,
    path: Path,
    *,
    options: ShellOptions,
    seen: list[Progress],
    warnings: _Warnings,
) -> Attended[Report | Plan]:
    """The run; ``seen`` holds its last progress."""
    load = given.load(alma, path, options.options())

    def stop() -> None:
        say(f"Stopping: rows under way may end, for up to {duration(GRACE)}. A second signal stops at once.")
        load.stop()

    def report(progress: Progress) -> None:
        if (
            rows is not None
            and given.via_job
            and not given.dry
            and not progress.reading
            and (not seen or seen[0].reading)
        ):
            _say_few(progress.pending)
        seen[:] = [progress]
        if not progress.reading:
            warnings.say()
        view(progress)

    async def work() -> Report | Plan:
        if given.dry:
            return await load.plan(rows, journal=path, on_progress=report)
        return await load.run(rows, on_progress=report)

    async with alma:
        with View(given.title, fresh=load.progress) as view:
            return await attend(work, stop=stop, tick=view.tick)


def _say_few(rows: int) -> None:
    if 0 < rows < FEW:
        say(few(rows))


def _end(
    ended: Attended[Report | Plan],
    seen: list[Progress],
    given: Input,
    path: Path,
    options: ShellOptions,
    *,
    kept: bool,
) -> int:
    """Print how it ended and how to continue; the exit code. ``kept``: the journal of a dry run stays."""
    result = ended.result or _cut_short(path, seen, "cancelled")
    written = _report(result, given, path, options)
    report = result.report if isinstance(result, Plan) else result
    code = report.exit_code
    if not report.read:
        say("Not all rows were read in, and nothing was sent. Give the same command again.")
        code = ended.interrupted if ended.signal is not None else code
    elif report.pending or report.undecided:
        counts = journals.read(path, lambda opened: opened.counts())
        if unknown := sum(n for (state, _), n in counts.items() if state is State.UNKNOWN):
            say(
                f"Of unknown outcome: {counted(unknown, 'row')}, read back after the quarantine (--quarantine)."
            )
        say(f"Go on with: {journals.resuming(path)}")
        code = ended.interrupted if ended.signal is not None else code
    elif isinstance(result, Plan) and written and not kept:
        journals.discard(path)
    elif isinstance(result, Plan) and given.action != "undo" and not given.via_job:
        say(f"Carry it out with: alma-async load --plan {shlex.quote(str(path))}")
    return code if written else max(code, 2)


def _report(result: Report | Plan, given: Input, path: Path, options: ShellOptions) -> bool:
    """Print how the rows ended, then write the report; whether it could be written."""
    return anyio.run(_report_all, result, given, path, options)


async def _report_all(result: Report | Plan, given: Input, path: Path, options: ShellOptions) -> bool:
    async with journals.reachable().opened(path, reading=True) as journal:
        async for line in not_loaded(journal, most=20):
            say(line)
        lines = int((await journal.meta()).get(LINES) or 0)
        if given.missing == "report":
            await show_surplus(journal, most=options.show, json=options.json)
    if isinstance(result, Plan):
        await show_plan(
            result, rows=options.show, lines=lines, wait_for_quota=options.waits_for_quota, json=options.json
        )
    elif given.dry:
        show_part(result, lines=lines, json=options.json)
    elif options.json:
        json_line(result.summary())
    else:
        for line in closing(result, lines=lines):
            show(line)
    return options.report is None or await _wrote(path, options.report)


async def _wrote(path: Path, report: Path) -> bool:
    clock = Clock()
    try:
        async with journals.reachable().opened(path, reading=True) as journal:
            await write_report(clock, journal, report)
    except ConfigurationError as error:
        say(str(error))
        say(f"The journal holds the same: {journals.resuming(path)} --report FILE")
        return False
    return True


def _cut_short(path: Path, seen: list[Progress], why: str) -> Report:
    """The report of a run that gave none: rows from the journal, calls from the last progress."""
    last = seen[0] if seen else Progress(rows=0)
    meta, counts = journals.read(path, journals.meta_and_counts)
    meter = Meter(0.0, calls=last.calls, throttled=last.throttled)
    return meter.report(last.seconds, last.remaining, counts=counts, stopped=why, meta=meta)
