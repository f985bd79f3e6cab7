"""``Load``: many rows into portfolios, bounded in memory, resumable after any end."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final, Self, cast, get_args

import attrs

from alma_async._clock import Clock, shielded
from alma_async._http.routes import NUMERIC_ID
from alma_async._storage.files import are_one
from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import BibHandling
from alma_async.errors import AlmaError, ConfigurationError
from alma_async.load import undo
from alma_async.load.dry_run import Plan, note_calls, scratch_path
from alma_async.load.entries import Action, Moment
from alma_async.load.ingest import Rows
from alma_async.load.journal import Journal, JournalError
from alma_async.load.journal_file import JournalFile
from alma_async.load.matching import OnUnknown
from alma_async.load.options import RESERVED, TAKES_BACK, Order
from alma_async.load.plan import Rules
from alma_async.load.progress import Meter, Progress, Report
from alma_async.load.register import Registered
from alma_async.load.row import InputError
from alma_async.load.run import Run, quote, telling
from alma_async.load.sqlite_journal import opened
from alma_async.load.verify import Audit, Verification
from alma_async.settings import FLAG, NOT_NEGATIVE, WHOLE, Check, Priority, a, check_all, one_of, secretive

__all__ = ["PATIENCE", "QUARANTINE", "Load"]

QUARANTINE: Final = (
    300.0  # assumed: the longest a request that was sent may still be applied; to be measured in a sandbox
)

PATIENCE: Final = 4 * 3600.0  # documented outages lasted 50 min (2025) and 2 h 13 min (2026)


_SECONDS: Final = Check("a number of seconds, 0 or more", NOT_NEGATIVE.allows)
_ID: Final = Check(
    "an id of digits", lambda value: re.fullmatch(NUMERIC_ID, str(value), re.ASCII) is not None
)
_PATH: Final = Check("a path", lambda value: isinstance(value, (str, os.PathLike)) and bool(os.fspath(value)))
_OPTIONS: Final = {
    "alma": a(AlmaClient, "an AlmaClient"),
    "collection_id": _ID,
    "service_id": _ID,
    "journal": _PATH,
    "action": one_of(get_args(Action)),
    "bib": one_of(get_args(BibHandling)),
    "quarantine": _SECONDS,
    "on_unknown": one_of(get_args(OnUnknown)).or_none(),
    "keep_payload": FLAG,
    "until_done": FLAG,
    "patience": _SECONDS,
    "workers": WHOLE.or_none(),
    "allow_duplicates": FLAG,
    "circuit": FLAG,
    "since": _PATH.or_none(),
    "rules": a(Rules, "Rules(...)").or_none(),
    "facts": a(Mapping, "a mapping of texts").or_none(),
}


class Load:
    """Loads rows into one electronic service, with every row accounted for in a journal.

    ``journal`` is a path: a new one begins a load, one that exists is resumed. It keeps the rows, which are read once.
    ``action``: ``upsert`` creates or updates, ``create`` leaves alone what is there, ``update`` refuses what is not, as do
    ``activate`` and ``deactivate``, which set the availability alone; ``delete`` deletes, and ``bib`` says what becomes of a
    title left without inventory; ``undo`` is for the rows of ``undo_rows``. ``quarantine``: seconds an unknown outcome rests
    before it is read back. ``on_unknown``: a write of which nothing was found then is sent again (``resend``, the default but for
    deletes), put up for ``review`` (theirs), or ends as refused (``never``). ``keep_payload``: the journal also keeps the
    whole object that was sent for each row, not only the fields that it changed; reports in JSONL have it.
    ``until_done``: wait for the quota's reset instead of
    stopping at the reserve. ``patience``: seconds of nothing but failures after which the load stops, resumable. ``workers``:
    the most rows under way at once. ``beside``: go on though another load of the service is under way on this machine, or was
    cut off a moment ago. ``since``: the journal of an earlier load of the service; rows that it has done and that still say the
    same are ``known`` and not sent, and what it had not finished goes on here. ``facts`` are written into the journal for whoever
    resumes the load.
    """

    @secretive
    def __init__(
        self,
        alma: AlmaClient,
        *,
        collection_id: str | int,
        service_id: str | int,
        journal: str | os.PathLike[str],
        action: Action = "upsert",
        bib: BibHandling = "retain",
        quarantine: float = QUARANTINE,
        on_unknown: OnUnknown | None = None,
        keep_payload: bool = False,
        until_done: bool = False,
        patience: float = PATIENCE,
        workers: int | None = None,
        allow_duplicates: bool = False,
        circuit: bool = True,
        beside: bool = False,
        since: str | os.PathLike[str] | None = None,
        rules: Rules | None = None,
        facts: Mapping[str, str] | None = None,
    ) -> None:
        check_all(_OPTIONS, locals())
        if taken := RESERVED & set(facts or {}):
            raise ConfigurationError(f"Facts of a load cannot be named {', '.join(sorted(taken))}.")
        if since is not None and (allow_duplicates or action == "undo"):
            raise ConfigurationError("since cannot go with allow_duplicates, nor with an undo.")
        if since is not None and are_one(Path(since), Path(journal)):
            raise ConfigurationError("since names the load's own journal; name that of an earlier load.")
        self._client, self._owned, self._spent = alma, False, False
        self._alma = alma.with_options(priority=Priority.BULK, wait_for_quota=until_done)
        self._journal_path = Path(journal)
        self._run: Run | Verification | None = None
        self._stop = False
        self._order = Order(
            alma=self._alma,
            place=(str(collection_id), str(service_id)),
            action=action,
            bib=bib,
            quarantine=quarantine,
            on_unknown=on_unknown,
            keep_payload=keep_payload,
            patience=patience,
            workers=workers or _workers(alma.quota().limit),
            allow_duplicates=allow_duplicates,
            circuit=circuit,
            beside=beside,
            since=None if since is None else Path(since),
            rules=rules or Rules(),
            facts=dict(facts or {}),
        )

    @classmethod
    def open(cls, journal: str | os.PathLike[str], alma: AlmaClient | None = None, **options: Any) -> Self:
        """The load of a journal that is there, which says all but how to go on.

        :param alma: the client; without one, each call makes its own from the environment, and closes it.
        :param options: those of ``Load`` that may differ from one run to the next, such as ``until_done`` and ``patience``
        :raises InputError: where there is no journal, or nothing was written into it.
        :raises JournalError, JournalInUse: where it cannot be read now.
        """
        path = Path(journal)
        if not path.is_file():
            raise InputError(f"There is no journal {str(path)!r}.", advice="Check its path.")
        with JournalFile(path, reading=True) as opened:
            known = opened.meta()
        if "collection" not in known:
            raise InputError(f"Nothing was written into {path.name} yet.", advice="Begin the load again.")
        load = cls(
            alma or AlmaClient.from_env(),
            collection_id=known["collection"],
            service_id=known["service"],
            journal=path,
            action=cast("Action", known["action"]),
            bib=cast("BibHandling", known["bib"]),
            allow_duplicates=known["duplicates"] == "allowed",
            since=known["since"] or None,
            **options,
        )
        load._owned = alma is None
        return load

    def stop(self) -> None:
        """Take no further row, and let those under way end their present call; what runs then returns, resumable.

        Where nothing runs yet, what is run next returns so before it sends anything.
        """
        self._stop = True
        if self._run is not None:
            self._run.stop()

    def progress(self) -> Progress | None:
        """How far what runs is now, to be asked at any time; None before anything is known."""
        return None if self._run is None else self._run.progress()

    async def run(
        self, rows: Rows | None = None, *, on_progress: Callable[[Progress], None] | None = None
    ) -> Report:
        """Carry every row to its end, or as far as it goes.

        :param rows: a path, what ``read_rows`` gives, or any (async) iterable of rows or mappings; it is read once. Without it,
            those that the journal has. Rows that are given again must be the same.
        :raises JournalError: where the journal cannot be written; nothing more is sent then.
        :raises JournalInUse: where another process works on it.
        :raises ServiceInUse, UnfinishedLoad: where another load of the service is under way, or was cut off a moment ago.
        :raises InputError: where the rows cannot be read, or the journal has others.
        :raises Unauthorized, ConfigurationError: where going on makes no sense; the load can be resumed.
        """
        self._renew()
        return await self._carry_out(self._order, self._journal_path, rows, on_progress)

    async def plan(
        self,
        rows: Rows | None = None,
        *,
        journal: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Plan:
        """What ``run`` would do now, and its price: the same code, but nothing is sent that changes anything.

        :param journal: where the dry run is written down, and gone on with after an interruption; the load's own stays as it is.
            Without one, a file that goes away with the plan.
        :raises: what ``run`` raises
        """
        self._renew()
        order = attrs.evolve(self._order, dry=True)
        path, scratch = (Path(journal), None) if journal is not None else scratch_path()
        try:
            report = await self._carry_out(order, path, rows, on_progress)
            now = quote(self._alma.quota(), self._alma.clock.wall())
            return await self._alma.clock.aside(lambda: Plan.read(path, report, now, scratch=scratch))
        except BaseException:
            if scratch is not None:
                scratch.cleanup()
            raise

    async def verify(
        self, *, ids_only: bool = False, on_progress: Callable[[Progress], None] | None = None
    ) -> Audit:
        """Compare what the load's journal says with what Alma holds now, or as much of it as can be read.

        Waits for what passes by itself as ``run`` does; of what stops it then, ``stopped`` tells beside what was found.

        :param ids_only: do not compare fields, which costs a call for each row
        :raises JournalError: where the journal is not what was written.
        :raises InputError: where there is no journal, or it is of another load
        """
        if not self._journal_path.is_file():
            raise InputError(f"There is no journal {str(self._journal_path)!r}.", advice="Check its path.")
        self._renew()
        async with self._running(), opened(self._alma.clock, self._journal_path, reading=True) as journal:
            self._run = Verification(
                order=self._order,
                journal=journal,
                fields=not ids_only,
                meter=Meter(self._alma.clock.now()),
                on_progress=on_progress,
            )
            if self._stop:
                self._run.stop()
            return await telling(self._run.audit, self._run.tell if on_progress else None)

    async def undo(
        self,
        *,
        journal: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Take back what the load did: delete what it created, put back what it changed, create anew what it deleted.

        What somebody else changed since is left alone and ends in review. What is created anew gets a new id.

        :param journal: where the undo is written down; by default beside the load's own. One that did not end is gone on with.
        :raises: what ``run`` raises
        """
        self._renew()
        aside = self._alma.clock.aside
        if journal is not None and are_one(Path(journal), self._journal_path):
            raise ConfigurationError(
                f"{os.fspath(journal)!r} is the journal of the load itself; its undo needs another one."
            )
        rows = await aside(partial(undo.undo_rows, self._journal_path))
        path = Path(journal) if journal else await aside(partial(undo.beside, self._journal_path))
        order = attrs.evolve(
            self._order, action="undo", bib="retain", allow_duplicates=False, since=None, facts={}
        )
        return await self._carry_out(order, path, rows, on_progress)

    async def _carry_out(
        self, order: Order, path: Path, rows: Rows | None, on_progress: Callable[[Progress], None] | None
    ) -> Report:
        async with (
            self._running(),
            self._registered(order, path) as registered,
            opened(self._alma.clock, path) as journal,
        ):
            run = self._begin(order, journal, rows, on_progress)
            undoes = await self._undoes(order, journal, rows)
            try:
                try:
                    if undoes is not None:
                        await shielded(undo.begin(self._alma.clock, undoes, journal))
                    await telling(run.work, run.tell if on_progress else None)
                finally:
                    run.tell(force=True)
                    await shielded(_wind_up(run))
            except AlmaError as error:
                run.halt(error)
            if undoes is not None and not isinstance(run.stopped, JournalError):
                await shielded(undo.end(self._alma.clock, undoes, journal))
            if run.stopped is not None and not run.resumable:
                for line in run.unwritten():
                    run.stopped.add_note(line)
                raise run.stopped
            report = await run.report()
            if registered is not None and report.exit_code != 3:
                await self._alma.clock.aside(registered.remove)
            return report

    async def _undoes(self, order: Order, journal: Journal, rows: Rows | None) -> Path | None:
        """The journal of the load that this one takes back."""
        if order.action != "undo" or order.dry:
            return None
        known = await journal.meta()
        found = known.get(TAKES_BACK) or getattr(rows, "facts", {}).get(TAKES_BACK)
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

    def _renew(self) -> None:
        """A client of our own serves one call."""
        if self._spent:
            self._spent, self._client = False, AlmaClient.from_env()
            until_done = self._alma.options.wait_for_quota
            self._alma = self._client.with_options(priority=Priority.BULK, wait_for_quota=until_done)
            self._order = attrs.evolve(self._order, alma=self._alma)

    @asynccontextmanager
    async def _registered(self, order: Order, path: Path) -> AsyncIterator[Registered | None]:
        """Have the load known as one of its service's, unless it sends nothing that changes anything."""
        found = list[Registered | None]()
        service, clock = (self._alma.origin, *order.place), self._alma.clock
        rests = (
            0.0 if order.action == "undo" else order.quarantine
        )  # what it does not know of, it leaves alone
        enter = partial(Registered.enter, service, path, beside=order.beside, rests=rests)
        try:
            if not order.dry:
                await clock.aside(lambda: found.append(enter(now=_moment(clock))))
            yield found[0] if found else None
        finally:
            if found and found[0] is not None:
                found[0].close()

    def _begin(
        self,
        order: Order,
        journal: Journal,
        rows: Rows | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> Run:
        """A run whose calls are counted."""
        run = Run(
            order=order,
            journal=journal,
            rows=rows,
            meter=Meter(self._alma.clock.now()),
            on_progress=on_progress,
        )
        run.order = attrs.evolve(order, alma=self._alma.with_options(on_outcome=run.called))
        self._run = run
        if self._stop:
            run.stop()
        return run


async def _wind_up(run: Run) -> None:
    """Have written what a run knows, however it ended."""
    await run.journal.flush()
    if run.order.dry:
        await note_calls(run.journal, run.meter)


def _moment(clock: Clock) -> Moment:
    return Moment(wall=clock.wall(), mono=clock.now(), boot=clock.boot() or "")


def _workers(per_second: float) -> int:
    """Rows under way at once that keep the pace full: a second's calls for each second of the longest latency recorded (a POST took
    11.1 s), and as many again that stand ready, so that it is full to the end.
    """
    return min(ceil(per_second * 2 * 12.0), _MOST_WORKERS)


_MOST_WORKERS: Final = 1000  # chosen: a row under way takes some 10 KB
