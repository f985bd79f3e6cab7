"""``load`` and ``resume``: a file of rows into one service, and the same again from its journal.

Decides how a load is begun and how its end is told. What a load needs to go on stands in its journal, so ``resume``
takes a name alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import anyio
import attrs
from cyclopts import Group, Parameter

from alma_async.alma.client import AlmaClient
from alma_async.cli import journals
from alma_async.cli.attending import GRACE, Ended, attend
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import json_line, say, show
from alma_async.cli.summary import closing, refusals
from alma_async.cli.view import View
from alma_async.errors import AlmaError, ConfigurationError, InvalidRequest
from alma_async.load.entries import State
from alma_async.load.journal import Journal, JournalInUse
from alma_async.load.loader import QUARANTINE, Load
from alma_async.load.progress import Progress, Report, row_counts
from alma_async.load.readers import RowSource, read_rows
from alma_async.load.readers.text import TextFile
from alma_async.load.reconcile import OnUnknown
from alma_async.load.report import check_path, write_report
from alma_async.load.rows import InputError

__all__ = ["Manner", "load", "resume"]

Action = Literal["upsert", "create", "update"]
Seconds = Annotated[float, Parameter(validator=lambda _type, value: _not_negative(value))]


def _not_negative(value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError("must be a number of seconds, not negative")


@Parameter(name="*", group=Group("Manner", sort_key=5))
@attrs.frozen(kw_only=True)
class Manner:
    """How a load goes and how its end is told: may differ from one run to the next."""

    until_done: Annotated[
        bool, Parameter(negative="", help="wait for the quota's reset instead of stopping at the reserve")
    ] = False
    patience: Annotated[Seconds, Parameter(help="seconds of nothing but failures before it stops")] = 10_800.0
    quarantine: Annotated[
        Seconds,
        Parameter(env_var="ALMA_QUARANTINE", help="seconds an unknown outcome rests before it is read back"),
    ] = QUARANTINE
    on_unknown: Annotated[
        OnUnknown, Parameter(help="what happens to a create of unknown outcome that is not found afterwards")
    ] = "resend"
    report: Annotated[
        Path | None, Parameter(help="write what became of each row, to a .csv or .jsonl file")
    ] = None
    json: Annotated[bool, Parameter(negative="", help="print the summary as one JSON object")] = False


@attrs.frozen(kw_only=True)
class Input:
    """Which rows, into which service, and what to do with them: the same for all runs of one load."""

    file: str
    file_format: str
    map_file: str
    ignore_unknown: str
    collection: str
    service: str
    action: str

    @classmethod
    def of(cls, journal: Path) -> Input:
        """What a journal says.

        :raises ConfigurationError: where it does not say enough.
        """
        with Journal(journal) as opened:
            meta = opened.meta()
        try:
            return cls(**{field.name: meta[field.name] for field in attrs.fields(cls)})
        except KeyError:
            raise ConfigurationError(f"{journal.name} was not begun by 'alma-async load'.") from None

    def rows(self) -> RowSource:
        """The rows to read.

        :raises InputError: where the file is not one that can be read, or no row of it could be loaded.
        """
        rows = read_rows(
            self.file,
            format=self.file_format,
            mms_map=self.map_file or None,
            ignore_unknown=bool(self.ignore_unknown),
        )
        if (
            rows.format == "kbart"
            and not self.map_file
            and "mms_id" not in TextFile.inspect(rows.path).header
        ):
            raise InputError(
                f"{rows.path} names no records of Alma, so each of its rows would be refused.",
                advice="Give --mms-map FILE (two columns: ISSN, ISBN or title id, and MMS id), or add a column mms_id.",
            )
        return rows


def load(
    file: Path,
    /,
    *,
    collection: str,
    service: str,
    journal: Path | None = None,
    format: Literal["auto", "csv", "kbart"] = "auto",  # noqa: A002 - the option's name
    action: Action = "upsert",
    mms_map: Path | None = None,
    ignore_unknown: Annotated[bool, Parameter(negative="")] = False,
    manner: Manner = Manner(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Load a file of rows into the portfolios of one service.

    :param file: native CSV or KBART
    :param collection: id of the electronic collection
    :param service: id of its service
    :param journal: where the load is written down; by default in the state directory
    :param format: what the file is
    :param action: upsert creates or updates, create leaves alone what is there, update refuses what is not
    :param mms_map: two columns, identifier and MMS id, for KBART without a column mms_id
    :param ignore_unknown: read over columns that the native CSV does not know
    """
    given = Input(
        file=str(file.absolute()),
        file_format=format,
        map_file=str(mms_map.absolute()) if mms_map else "",
        ignore_unknown="1" if ignore_unknown else "",
        collection=collection,
        service=service,
        action=action,
    )
    return _load(given, journal, manner, connection)


def resume(
    journal: str | None = None,
    /,
    *,
    manner: Manner = Manner(),
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Go on with an interrupted load; without a name, list the journals of the state directory.

    :param journal: a path, or a name as listed
    """
    if journal is None:
        return _list(as_json=manner.json)
    path = journals.find(journal)
    return _load(Input.of(path), path, manner, connection)


def _list(*, as_json: bool) -> int:
    for one in journals.standings():
        if as_json:
            json_line(attrs.asdict(one))
        else:
            show(f"{one.journal:<48} {one.state:<10} {one.rows - one.open:>7,} of {one.rows:>7,}  {one.file}")
    return 0


def _load(given: Input, journal: Path | None, manner: Manner, connection: Connection) -> int:
    if given.action not in get_args(Action):
        raise ConfigurationError(f"{given.action!r} is no action.")
    if manner.report is not None:
        check_path(manner.report)
    rows, alma = given.rows(), connection.client()
    path = journal or journals.new_path(Path(given.file))
    say(f"journal: {path}")
    try:
        ended, seen = anyio.run(_run, alma, given, rows, path, manner)
    except AlmaError as error:
        if not isinstance(error, (InputError, InvalidRequest, JournalInUse)):
            error.add_note(f"Go on with: {journals.resuming(path)}")
        raise
    for warning in rows.warnings:
        say(f"warning: {warning}")
    return _tell(ended, seen, path, manner)


async def _run(
    alma: AlmaClient, given: Input, rows: RowSource, path: Path, manner: Manner
) -> tuple[Ended[Report], Progress | None]:
    """The run, and how far it was last."""
    load = Load(
        alma,
        collection_id=given.collection,
        service_id=given.service,
        journal=path,
        action=cast("Action", given.action),
        quarantine=manner.quarantine,
        on_unknown=manner.on_unknown,
        until_done=manner.until_done,
        patience=manner.patience,
        facts=attrs.asdict(given),
    )
    seen: list[Progress] = []

    def stop() -> None:
        say(f"Stopping: rows under way may end, for up to {GRACE:.0f} s. Once more stops at once.")
        load.stop()

    def told(progress: Progress) -> None:
        seen[:] = [progress]
        view(progress)

    async with alma:
        with View(Path(given.file).name, held=lambda: alma.quota().why) as view:
            ended = await attend(lambda: load.run(rows, on_progress=told), stop=stop, tick=view.tick)
    return ended, seen[0] if seen else None


def _tell(ended: Ended[Report], seen: Progress | None, path: Path, manner: Manner) -> int:
    """Say how it ended, write the report; the exit code."""
    with Journal(path) as journal:
        report = ended.result or _cut_short(journal, seen)
        unknown = sum(n for (state, _), n in journal.counts().items() if state is State.UNKNOWN)
        for line in refusals(journal, most=20):
            say(line)
        if manner.report is not None:
            write_report(journal, manner.report)
    if manner.json:
        json_line(report.summary())
    else:
        for line in closing(report):
            show(line)
    if not report.pending:
        return report.exit_code
    if unknown:
        say(f"The outcome of {unknown:,} rows is unknown; they are read back after the quarantine.")
    say(f"Go on with: {journals.resuming(path)}")
    return ended.interrupted if ended.signal is not None else report.exit_code


def _cut_short(journal: Journal, seen: Progress | None) -> Report:
    """The report of a run that was cancelled: rows by the journal, calls as last seen."""
    last = seen or Progress(rows=0)
    return Report(
        **row_counts(journal.counts()),
        calls=last.calls,
        throttled=last.throttled,
        seconds=last.seconds,
        remaining=last.remaining,
        stopped="cancelled",
    )
