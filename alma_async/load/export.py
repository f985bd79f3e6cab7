"""``export``: the portfolios of a service as a list that a load takes back without a difference.

The service is listed (a call for a hundred portfolios) and each portfolio read whole (a call each),
as bulk work. What was read waits in a file without a name, so that memory holds ids alone, some
150 bytes each. What a line says is ``writers``' to decide.

The list is then written beside its place, and read there as a load would read it. A portfolio that
this reading does not give, as two that nothing distinguishes, is left out; so is one that would be
left as the only one of its record. What the list does not
say is reported, and only then the list takes its name. Whatever ends the export before leaves the
file of that name as it was.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from secrets import token_hex
from shutil import copymode
from tempfile import TemporaryFile
from typing import IO, Any, Final, get_args

import anyio
import attrs

from alma_async._http.json_text import dumps, loads
from alma_async._http.outcome import Outcome
from alma_async.alma.client import AlmaClient
from alma_async.errors import ConfigurationError, NotFound
from alma_async.load.bulk import how_far
from alma_async.load.entries import State
from alma_async.load.fields import payload_of
from alma_async.load.lookup import listed
from alma_async.load.options import DEFAULTS, PATH, LoadOptions
from alma_async.load.outage import RowFailure, ServiceHealth, WorkStopped
from alma_async.load.progress import Meter, Progress, Quote, quote
from alma_async.load.readers import read_rows
from alma_async.load.readers.source import Blanks
from alma_async.load.report import require_replaceable, sheet_of_texts
from alma_async.load.row import Row
from alma_async.load.writers import WRITERS, ExportFormat, Writer, Written, workbook_text, written
from alma_async.settings import FLAG, Priority, check_all, instance_of, one_of

__all__ = ["Export", "ExportPrice", "Exported", "Loss", "export"]

_READERS: Final = 300  # chosen: 25 a second, for the 12 seconds of the slowest answers
_AHEAD: Final = 2 * _READERS  # portfolios that were read before their turn, at most
_EXAMPLES: Final = 3
WHOLE: Final = "portfolio"
_ARGUMENTS: Final = {
    "alma": instance_of(AlmaClient, "an AlmaClient"),
    "path": PATH,
    "format": one_of(get_args(ExportFormat)),
    "blanks": one_of(get_args(Blanks)),
    "portfolio_ids": FLAG,
    "options": instance_of(LoadOptions, "LoadOptions(...)"),
}


@attrs.frozen(kw_only=True)
class Loss:
    """A field that the list does not say, by how many portfolios, and the ids of some.

    ``field`` is "portfolio" where a portfolio is left out: nothing in this format says which one
    is meant, or would say it once others of its record are gone. A member that no list can name is
    called by its path in Alma's object.
    """

    field: str
    portfolios: int
    examples: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """All of it, flat."""
        return attrs.asdict(self)


@attrs.frozen(kw_only=True)
class ExportPrice:
    """What is still to be called when the service is listed: one call a portfolio."""

    calls: int
    quote: Quote

    @property
    def seconds(self) -> float:
        """At the pace in force, if nobody else draws more than now."""
        return self.quote.seconds(self.calls)


@attrs.frozen(kw_only=True)
class Exported:
    """The list that was written. ``gone`` portfolios were deleted while it was; ``steady`` says
    whether the service held still while it was listed, without which some may be missing.
    """

    path: Path
    format: ExportFormat
    portfolios: int
    gone: int
    losses: tuple[Loss, ...]
    steady: bool
    calls: int
    seconds: float
    remaining: int | None

    @property
    def left_out(self) -> int:
        """Portfolios that the list does not have."""
        return sum(one.portfolios for one in self.losses if one.field == WHOLE)

    @property
    def exit_code(self) -> int:
        """0 where the list has all portfolios; 1 where some are left out, or may be missing."""
        return 0 if self.steady and not self.left_out else 1

    def summary(self) -> dict[str, Any]:
        """The one object that ``--json`` ends with."""
        said = {**attrs.asdict(self, recurse=False), "path": str(self.path), "left_out": self.left_out}
        del said["losses"]
        return said


async def export(
    alma: AlmaClient,
    *,
    collection_id: str | int,
    service_id: str | int,
    path: str | os.PathLike[str],
    format: ExportFormat = "csv",  # noqa: A002 - the option's name
    blanks: Blanks = "keep",
    portfolio_ids: bool = True,
    options: LoadOptions = DEFAULTS,
    on_losses: Callable[[Sequence[Loss]], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Exported:
    """Write the portfolios of a service as a list that a load takes back without a difference.

    :param path: where the list is written, over what is there; whole, or not at all
    :param format: ``csv`` (native, which says most), ``kbart`` or ``alma-loader`` (a workbook)
    :param blanks: ``clear`` writes ``<clear>`` where a portfolio has nothing, so that a load
        empties what was added since; ``csv`` alone can say that
    :param portfolio_ids: without them a load makes anew what is not there any more
    :param options: of these ``wait_for_quota``, ``longest_outage``, ``workers`` and ``codes`` count
    :param on_losses: gets what the list will not say, before it is written
    :raises ConfigurationError: where it cannot be written.
    :raises AlmaError: where a portfolio could not be read; nothing is written then.
    """
    work = Export(
        alma,
        collection_id=collection_id,
        service_id=service_id,
        path=path,
        format=format,
        blanks=blanks,
        portfolio_ids=portfolio_ids,
        options=options,
    )
    return await work.run(on_losses=on_losses, on_progress=on_progress)


class Export:
    """One export; see ``export``. As an object it can be asked how far it is."""

    def __init__(
        self,
        alma: AlmaClient,
        *,
        collection_id: str | int,
        service_id: str | int,
        path: str | os.PathLike[str],
        format: ExportFormat = "csv",  # noqa: A002 - the option's name
        blanks: Blanks = "keep",
        portfolio_ids: bool = True,
        options: LoadOptions = DEFAULTS,
    ) -> None:
        check_all(_ARGUMENTS, locals())
        self._path, self._writer = _checked(Path(path), WRITERS[format], blanks)
        self._place, self._options = (str(collection_id), str(service_id)), options
        self._written = partial(
            written,
            self._writer,
            place=self._place,
            codes=options.codes,
            by_id=portfolio_ids,
            clears=blanks == "clear",
        )
        self._by_id = portfolio_ids and format != "kbart"
        self._meter = Meter(alma.clock.now())
        self._why: str | None = None
        self._on_progress: Callable[[Progress], None] | None = None
        bulk = alma.with_options(priority=Priority.BULK, wait_for_quota=options.wait_for_quota)
        self._alma = bulk.with_options(on_outcome=self._called)
        self._health = ServiceHealth.of(
            self._alma, self._place, longest=options.longest_outage, waiting=self._waits
        )
        self._ids: dict[str, None] = {}
        self._steady = False
        self._gone = 0

    def progress(self) -> Progress | None:
        """How far it is; None before the service is listed."""
        return how_far(self._alma, self._meter, self._why) if self._meter.rows else None

    async def run(
        self,
        *,
        on_price: Callable[[ExportPrice], None] | None = None,
        on_losses: Callable[[Sequence[Loss]], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Exported:
        """List, read, write. ``on_price`` gets what reading will cost, once that is known.

        :raises: what ``export`` raises
        """
        self._on_progress, clock = on_progress, self._alma.clock
        spool = _Spool(_safely(self._path, partial(_nameless, self._path.absolute().parent)))
        try:
            await self._persist(self._list)
            self._meter.begin({(State.PENDING, None): len(self._ids)})
            if on_price is not None:
                price = ExportPrice(calls=len(self._ids), quote=quote(self._alma.quota(), clock.wall()))
                on_price(price)
            await self._read_all(spool)
            beside = self._path.with_name(f".{self._path.name}.{token_hex(4)}")
            try:
                losses = await clock.aside(lambda: _safely(self._path, partial(self._write, spool, beside)))
                if on_losses is not None:
                    on_losses(losses)
                _safely(self._path, partial(_replace, self._path, beside))
            finally:
                beside.unlink(missing_ok=True)
        finally:
            spool.close()
        return self._exported(spool, losses)

    def _exported(self, spool: _Spool, losses: tuple[Loss, ...]) -> Exported:
        left = sum(one.portfolios for one in losses if one.field == WHOLE)
        return Exported(
            path=self._path,
            format=self._writer.format,
            portfolios=spool.count - left,
            gone=self._gone,
            losses=losses,
            steady=self._steady,
            calls=self._meter.calls,
            seconds=self._alma.clock.now() - self._meter.started,
            remaining=self._alma.quota().remaining,
        )

    # --- what Alma has

    def _called(self, outcome: Outcome) -> None:
        self._meter.called(outcome, self._alma.clock.now())
        self._health.saw(outcome)

    def _waits(self, why: str | None) -> None:
        self._why = why
        self._report()

    def _report(self) -> None:
        if self._on_progress is not None and (now := self.progress()) is not None:
            self._on_progress(now)

    async def _persist(self, work: Callable[[], Any]) -> Any:
        """Have it done, however long the service is ill; what does not pass is raised as itself."""
        try:
            return await self._health.persist(work)
        except RowFailure as failed:
            raise failed.failure from None

    async def _list(self) -> None:
        self._ids, self._steady = await listed(self._alma, self._place)

    async def _read_all(self, spool: _Spool) -> None:
        """Read each portfolio; they are kept in the order of the list."""
        todo, room, read = enumerate(self._ids), anyio.Semaphore(_AHEAD), dict[int, Written | None]()
        turn = 0

        async def work() -> None:
            nonlocal turn
            while True:
                await room.acquire()
                if (taken := next(todo, None)) is None:
                    room.release()
                    return
                number, portfolio_id = taken
                read[number] = await self._persist(partial(self._read, portfolio_id))
                self._meter.pass_over()
                self._report()
                while turn in read:
                    if (one := read.pop(turn)) is not None:
                        _safely(self._path, partial(spool.add, one))
                    turn += 1
                    room.release()

        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(self._options.workers or _READERS, len(self._ids))):
                    group.start_soon(work)
        except ExceptionGroup as failed:  # as itself and not as a group
            first = next((one for one in failed.exceptions if not isinstance(one, WorkStopped)), failed)
            raise first from None

    async def _read(self, portfolio_id: str) -> Written | None:
        """One portfolio; None where it was deleted meanwhile."""
        try:
            found = await self._alma.electronic.portfolios.get(*self._place, portfolio_id)
        except NotFound:
            self._gone += 1
            return None
        return self._written(found)

    # --- what is written

    def _write(self, spool: _Spool, beside: Path) -> tuple[Loss, ...]:
        """Write the list there; what it does not say."""
        left = set() if self._by_id else set(spool.alike())
        left |= set(spool.unnamed())
        while True:
            if not self._by_id:
                left |= set(spool.alone(left))
            beside.unlink(missing_ok=True)
            losses, expected = _Losses(), _Expected()
            with beside.open("xb") as file:  # as the umask has it
                _PUT[bool(self._writer.delimiter)](
                    self._writer, file, self._taken(spool, left, losses), expected
                )
                file.flush()
                os.fsync(file.fileno())
            if not (wrong := expected.missing(beside, self._writer.format)):
                return tuple(losses)
            left |= set(wrong)

    def _taken(self, spool: _Spool, left: set[int], losses: _Losses) -> Iterator[tuple[int, Written]]:
        """The portfolios with their numbers, but for those left out; what
        is lost of each is counted.
        """
        for number, one in enumerate(spool):
            if number in left:
                losses.add(WHOLE, one.portfolio_id)
            else:
                for field in one.lost:
                    losses.add(field, one.portfolio_id)
                yield number, one


def _checked(path: Path, writer: Writer, blanks: Blanks) -> tuple[Path, Writer]:
    """Whether such a list can be written there, before anything is called."""
    if blanks == "clear" and not writer.empty:
        raise ConfigurationError(
            f"A list in the format {writer.format} cannot say that a field is empty.",
            advice="Write it without --blanks clear, or as --format csv.",
        )
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise ConfigurationError(f"{str(path)!r} cannot be written: it is a directory, or in none.")
    require_replaceable(path)
    if not writer.delimiter and find_spec("openpyxl") is None:
        raise ConfigurationError("A workbook needs openpyxl: pip install 'alma-async[cli]'.")
    return path, writer


def _replace(path: Path, beside: Path) -> None:
    """Put the new file in the place of the old one, for whoever may read that."""
    if path.exists():
        copymode(path, beside)
    beside.replace(path)


def _safely(path: Path, work: Callable[[], Any]) -> Any:
    """What the disk says becomes an error that names the list."""
    try:
        return work()
    except OSError as error:
        failure = f"{str(path)!r} cannot be written: {error.strerror or error}."
    raise ConfigurationError(failure, advice="Nothing was written; free the disk or name another place.")


def _nameless(directory: Path) -> IO[bytes]:
    return TemporaryFile(dir=directory)


class _Spool:
    """What was read, in a file; in memory, which record and URL each has, as hashes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0
        self._records, self._urls, self._bare = array("q"), array("q"), bytearray()
        self._unnamed = list[int]()

    def add(self, one: Written) -> None:
        """Keep one more."""
        if one.digest is None:
            self._unnamed.append(self.count)
        kept = attrs.asdict(one) | {"digest": one.digest.hex() if one.digest else None}
        self._file.write(dumps(kept, lone_surrogates=True) + b"\n")
        self._records.append(hash(one.mms_id))
        self._urls.append(hash((one.mms_id, one.url)))
        self._bare.append(not one.url)
        self.count += 1

    def __iter__(self) -> Iterator[Written]:
        self._file.seek(0)
        for line in self._file:
            kept: Mapping[str, Any] = loads(line, lone_surrogates=True)
            yield Written(
                portfolio_id=kept["portfolio_id"],
                mms_id=kept["mms_id"],
                url=kept["url"],
                lines=tuple(map(tuple, kept["lines"])),
                lost=tuple(kept["lost"]),
                digest=bytes.fromhex(kept["digest"]) if kept["digest"] else None,
            )

    def unnamed(self) -> Sequence[int]:
        """Those that nothing names."""
        return self._unnamed

    def alike(self) -> Iterator[int]:
        """Those that record and URL do not distinguish from others of their record."""
        records, urls = Counter(self._records), Counter(self._urls)
        for number, (record, url) in enumerate(zip(self._records, self._urls, strict=True)):
            if records[record] > 1 and (self._bare[number] or urls[url] > 1):
                yield number

    def alone(self, left: Collection[int]) -> Iterator[int]:
        """Those of which a list without these would have no other of their record, though there are
        others: once it is deleted, a load would take one of these for it.
        """
        records = Counter(self._records)
        listed = Counter(record for number, record in enumerate(self._records) if number not in left)
        for number, record in enumerate(self._records):
            if number not in left and listed[record] == 1 < records[record]:
                yield number

    def close(self) -> None:
        """Close the file, which then is gone."""
        self._file.close()


class _Losses:
    """What is lost, by field."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}

    def add(self, field: str, portfolio_id: str) -> None:
        """One portfolio more."""
        found = self._found.setdefault(field, [0])
        found[0] += 1
        if len(found) <= _EXAMPLES:
            found.append(portfolio_id)

    def __iter__(self) -> Iterator[Loss]:
        for field, (count, *examples) in sorted(self._found.items()):
            yield Loss(field=field, portfolios=count, examples=tuple(examples))


class _Expected:
    """The rows that a list is to be read as: the first line of each, and 8 bytes of its digest."""

    def __init__(self) -> None:
        self._lines, self._digests, self._numbers = array("Q"), array("Q"), array("Q")

    def add(self, line: int, number: int, digest: bytes | None) -> None:
        """One more, on a later line."""
        self._lines.append(line)
        self._digests.append(_short(digest or b""))
        self._numbers.append(number)

    def missing(self, path: Path, format: ExportFormat) -> list[int]:  # noqa: A002
        """The numbers of those that the list, read as a load reads it, does not give so."""
        seen = bytearray(len(self._lines))
        for row in read_rows(path, format=format):
            place = bisect_left(self._lines, row.line)
            if isinstance(row, Row) and place < len(seen) and self._lines[place] == row.line:
                seen[place] |= self._digests[place] == _short(payload_of(row))
        return [self._numbers[place] for place, found in enumerate(seen) if not found]


def _short(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


def _put_text(
    writer: Writer, file: IO[bytes], portfolios: Iterator[tuple[int, Written]], expected: _Expected
) -> None:
    mark = "\ufeff" if writer.format == "csv" else ""  # which makes spreadsheets read UTF-8
    file.write((mark + writer.text([writer.heads])).encode())
    line = 2
    for number, one in portfolios:
        expected.add(line, number, one.digest)
        text = writer.text(one.lines)
        file.write(text.encode())
        line += sum(1 for _ in StringIO(text, newline=""))


def _put_workbook(
    writer: Writer, file: IO[bytes], portfolios: Iterator[tuple[int, Written]], expected: _Expected
) -> None:
    """Row by row: the sheet never is in memory whole."""
    book, sheet, as_text = sheet_of_texts("portfolios")
    sheet.append(list(map(as_text, writer.heads)))
    line = 2
    for number, one in portfolios:
        expected.add(line, number, one.digest)
        for cells in one.lines:
            sheet.append([as_text(workbook_text(text)) for text in cells])
        line += len(one.lines)
    book.save(file)


_PUT: Final = {True: _put_text, False: _put_workbook}
