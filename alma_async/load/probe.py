"""``probe``: what an institution's Alma does where no document says it, found out with one
portfolio that is deleted again.

``trials`` says what is asked. Here it is asked: of a sandbox, unless it is said otherwise, in the
service that is named. The portfolio is inactive, and both its URL and its public note hold a mark
that occurs once.

**Nothing is left behind.** Before the POST the mark is durable in a small file of the institution,
which a probe holds locked and which is emptied when the portfolio is gone. A probe first removes
what an earlier one has left: the record's portfolios in the service are listed, and those that hold
the mark deleted; no others ever. The same is done where the answer to the POST is lost, which is
never sent again. Until the quarantine is over a lost POST may still be carried out (inferred), so
what is not found is searched for once more then.

No load of the service runs beside it on this machine: one that takes a list for complete would see a
portfolio too many.

What was found out is kept for the institution (``institution``), where prices,
``doctor`` and loads have it from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, get_args

import anyio
import attrs

from alma_async._clock import shielded
from alma_async._http.codec import structure, unstructure
from alma_async._http.json_text import dumps
from alma_async._http.outcome import Done, Outcome
from alma_async._storage.files import OwnFile
from alma_async._version import __version__
from alma_async.alma.bibs import MOST
from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import Portfolios
from alma_async.alma.environment import environment_of, require_environment
from alma_async.alma.models.electronic import Portfolio
from alma_async.errors import (
    AlmaError,
    ConfigurationError,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    Unauthorized,
)
from alma_async.load.clearing import WAYS
from alma_async.load.entries import Moment
from alma_async.load.fields import Codes
from alma_async.load.institution import FactsFile, InstitutionFacts, Observed, shown_by
from alma_async.load.kept import KeptFile
from alma_async.load.options import DEFAULTS
from alma_async.load.progress import Meter
from alma_async.load.register import Registered, ServiceInUse
from alma_async.load.trials import Trials, says_coverage, sent
from alma_async.settings import POSITIVE, Environment, check_all, instance_of, one_of

__all__ = ["Probed", "is_left", "keep_facts", "probe"]

_TRIES: Final = 3  # to delete it, whose answers were lost
_WITHIN: Final = 150.0  # chosen: seconds in which the POST is sent and answered, waits included
_GRACE: Final = 20.0  # chosen: seconds to delete it where the work was cancelled
_LISTS: Final = 10  # chosen: services whose portfolios are listed to find 100 records
_LARGEST: Final = 4096  # bytes of a mark's file that are read
# No answer, or none of Alma's: what was sent may still be carried out.
_LOST: Final = (None, "ROUTING_ERROR")


@attrs.frozen(kw_only=True)
class Probed:
    """The findings of a probe. ``known`` has what loads use; ``unknown`` names
    what could not be found out.

    ``removed`` are the portfolios of earlier probes that were cut off; they are deleted now.
    """

    known: InstitutionFacts
    unknown: tuple[str, ...]
    environment: str
    institution: str
    removed: tuple[str, ...]
    calls: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 where all was found out; 1 where something was not."""
        return 1 if self.unknown else 0

    def summary(self) -> dict[str, Any]:
        """The one object of ``--json``, which names neither institution nor title, so
        that it can be passed on.
        """
        said = {"environment": self.environment, "calls": self.calls, "seconds": round(self.seconds, 1)}
        return {**attrs.asdict(self.known), "unknown": list(self.unknown), **said, "version": __version__}


async def probe(
    alma: AlmaClient,
    *,
    collection_id: str | int,
    service_id: str | int,
    mms_id: str | int,
    expect: Environment = "sandbox",
    quarantine: float = DEFAULTS.quarantine,
    on_wait: Callable[[float], None] | None = None,
) -> Probed:
    """Find out what no document says of an institution's Alma, with one portfolio that is
    deleted again. Some 40 calls.

    :param collection_id, service_id: where the portfolio is made
    :param mms_id: the record that it is of
    :param expect: the environment in which it is done; in the other one nothing is
    :param quarantine: seconds after which a lost POST is not carried out any more
    :param on_wait: gets the seconds that it waits for that, where it has to
    :raises UnexpectedEnvironment: where it is another environment, or is not known.
    :raises ReadOnly: where the client sends no writes.
    :raises ServiceInUse: where a load of the service is under way on this machine.
    :raises AlmaError: where a call fails. What was made is deleted then or, where that
        fails too, by the next probe.
    """
    check_all(_ARGUMENTS, locals())
    work = _Probe(
        alma=alma,
        place=(str(collection_id), str(service_id)),
        mms_id=str(mms_id),
        quarantine=quarantine,
        on_wait=on_wait or (lambda _: None),
    )
    return await work.run(expect)


_ARGUMENTS: Final = {
    "alma": instance_of(AlmaClient, "an AlmaClient"),
    "expect": one_of(get_args(Environment)),
    "quarantine": POSITIVE,
}


async def keep_facts(alma: AlmaClient, facts: Mapping[str, Any]) -> InstitutionFacts:
    """Keep for this institution what a probe has found elsewhere, in its sandbox or from another
    machine. Sends nothing.

    :param facts: what ``Probed.summary()`` gives, and ``probe --json`` prints
    :raises ConfigurationError: where it is not what a probe finds.
    """
    try:
        known = InstitutionFacts.of(facts)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"This is not what a probe finds: {error.args[0]}.") from None
    if known == InstitutionFacts():
        raise ConfigurationError("This is not what a probe finds: it holds none of its facts.")
    await _keep(alma, known)
    return known


async def _keep(alma: AlmaClient, known: InstitutionFacts, seen: Observed | None = None) -> None:
    """Keep these facts, and what was seen in answers, over what is known."""
    over = (seen or Observed()).over
    file = FactsFile.of(alma.scope)
    await alma.clock.aside(lambda: file.learn(lambda before: over(known.over(before))))


@attrs.frozen(kw_only=True)
class _Mark:
    """A portfolio that is made, or about to be: all that is needed to find it. ``by``: when it had
    been posted at the latest, in seconds since 1970.
    """

    mark: str
    collection_id: str
    service_id: str
    mms_id: str
    by: float

    @property
    def place(self) -> tuple[str, str]:
        return self.collection_id, self.service_id

    @property
    def says_left(self) -> str:
        """What is said where it may be left."""
        return f"A portfolio may be left, its public note is {self.mark}. The next probe deletes it."

    @property
    def url(self) -> str:
        return f"https://alma-async.invalid/{self.mark}"  # a name that leads nowhere (RFC 2606)


@attrs.define(kw_only=True, eq=False)
class _Probe:
    alma: AlmaClient
    place: tuple[str, str]
    mms_id: str
    quarantine: float
    on_wait: Callable[[float], None]
    _meter: Meter = attrs.field(init=False)
    _seen: Observed = attrs.field(factory=Observed)
    _elapsed: float = 0.0  # of the last answer
    _made: bool = False  # the POST was answered or found: what is not found is deleted

    def __attrs_post_init__(self) -> None:
        self._meter = Meter(self.alma.clock.now())
        self.alma = self.alma.with_options(on_outcome=self._called)

    def _called(self, outcome: Outcome) -> None:
        self._meter.called(outcome, self.alma.clock.now())
        self._elapsed = outcome.response.elapsed if isinstance(outcome, Done) else 0.0

    async def run(self, expect: Environment) -> Probed:
        self.alma.require_writable()
        general = (await self.alma.request("GET", "/almaws/v1/conf/general")).data
        require_environment(expect, general)
        institution, environment = environment_of(general)
        kept = KeptFile.named("institutions", self.alma.scope, "probe", end="probe")
        with closing(await self.alma.clock.aside(kept.open)) as file:
            if not file.lock():
                raise ConfigurationError("Another probe of this institution is under way.")
            marks = _MarkFile(kept, file)
            async with self._registered(kept.path.with_name("probe")):
                removed = await self._remove(marks)
                known, unknown = await self._probed(marks)
        return Probed(
            known=known,
            unknown=unknown,
            environment=environment,
            institution=institution,
            removed=removed,
            calls=self._meter.calls,
            seconds=self.alma.clock.now() - self._meter.started,
        )

    @asynccontextmanager
    async def _registered(self, name: Path) -> AsyncIterator[None]:
        """No load of the service runs meanwhile on this machine, which could take the portfolio for
        one of its own.

        :param name: of no file: so nothing is left of this where the process is killed
        """
        clock, service = self.alma.clock, (self.alma.origin, *self.place)
        now = Moment(wall=clock.wall(), mono=clock.now(), boot=clock.boot() or "")
        try:
            entered = await clock.aside(lambda: Registered.enter(service, name, beside=False, now=now))
        except ServiceInUse as error:
            raise ServiceInUse(error.message, advice="Wait for it to end.") from None
        try:
            yield
        finally:
            if entered is not None:
                entered.remove()
                entered.close()

    async def _probed(self, marks: _MarkFile) -> tuple[InstitutionFacts, tuple[str, ...]]:
        """Make the portfolio, ask what there is to ask, keep what was found, and delete it."""
        mark = _Mark(
            mark=f"alma-async-probe-{token_hex(8)}",
            collection_id=self.place[0],
            service_id=self.place[1],
            mms_id=self.mms_id,
            by=self.alma.clock.wall() + _WITHIN,
        )
        await self.alma.clock.aside(lambda: marks.write(mark))
        try:
            portfolio_id = await self._make(marks, mark)
            self._made = True
            trials = await self._ask(mark, portfolio_id)
            known = self._seen.over(
                InstitutionFacts(
                    put=trials.put,
                    clears=trials.effects,
                    probed=f"{self.alma.clock.utc():%Y-%m-%d}",
                    **await self._batch(),
                )
            )
            await _keep(self.alma, known, self._seen)
            await self._remove(marks)
        except AlmaError as error:
            with suppress(AlmaError):
                await self._remove(marks)
            error.add_note(mark.says_left if marks.read() else "No portfolio is left.")
            raise
        except anyio.get_cancelled_exc_class():
            await shielded(self._remove_at_once(marks))
            raise
        return known, tuple(_unknown(known))

    # --- the portfolio

    async def _make(self, marks: _MarkFile, mark: _Mark) -> str:
        """The id of the portfolio, made now."""
        body = sent(mark.mms_id, mark.place, mark.url, note=mark.mark, inactive=Codes().inactive)
        portfolios = self.alma.with_options(deadline=_WITHIN).electronic.portfolios
        try:
            made = await portfolios.create(*mark.place, structure(body, Portfolio))
        except OutcomeUnknown:
            now = self.alma.clock.wall()
            if found := await self._found(attrs.evolve(mark, by=min(mark.by, now))):
                return found[0]
            raise
        except AlmaError:  # nothing was made
            await self.alma.clock.aside(lambda: marks.write(None))
            raise
        self._seen.add(post_answer=shown_by(made))
        return made.id

    async def _ask(self, mark: _Mark, portfolio_id: str) -> Trials:
        async def shown() -> dict[str, Any]:
            return unstructure(await self._portfolios.get(*mark.place, portfolio_id))

        trials = Trials(await shown())
        self._seen.add(post_coverage=says_coverage(trials.shown))
        while (body := trials.body()) is not None:
            rejected = await self._is_rejected(mark, body)
            trials.answered(await shown(), rejected=rejected)
        return trials

    async def _is_rejected(self, mark: _Mark, body: dict[str, Any]) -> bool:
        """Put it; whether Alma rejects it, or answers twice that it failed."""
        for _ in range(2):
            try:
                answer = await self._portfolios.update(*mark.place, structure(body, Portfolio), replace=True)
            except InvalidRequest:
                return True
            except OutcomeUnknown as error:
                if error.code in _LOST:
                    raise
                continue
            self._seen.add(put_answer=shown_by(answer))
            return False
        return True

    @property
    def _portfolios(self) -> Portfolios:
        return self.alma.electronic.portfolios

    # --- what is left

    async def _remove(self, marks: _MarkFile, *, wait: bool = True) -> tuple[str, ...]:
        """Delete the portfolio of the mark, if there is one, and see that it is gone; its ids.

        :param wait: until it is certain whether there is one; else the mark stays where there is
            none yet
        """
        if (mark := marks.read()) is None:
            return ()
        removed = left = await (self._found(mark) if wait else self._holding(mark))
        for _ in range(_TRIES):
            for portfolio_id in left:
                with suppress(NotFound, OutcomeUnknown):
                    await self._portfolios.delete(*mark.place, portfolio_id, bib="retain")
            if not left or not (left := await self._holding(mark)):
                if removed or wait or self._made:
                    await self.alma.clock.aside(lambda: marks.write(None))
                return removed
        raise OutcomeUnknown(f"The portfolio {', '.join(left)} is still there after its deletion.")

    async def _remove_at_once(self, marks: _MarkFile) -> None:
        """The same where somebody waits for the end; what is not done in time is the next probe's."""
        with anyio.move_on_after(_GRACE), suppress(AlmaError):
            await self._remove(marks, wait=False)

    async def _found(self, mark: _Mark) -> tuple[str, ...]:
        """The ids of the portfolios that hold the mark, once that is certain."""
        found = await self._holding(mark)
        rest = mark.by + self.quarantine - self.alma.clock.wall()
        if found or self._made or rest <= 0:
            return found
        rest = min(rest, self.quarantine + _WITHIN)  # a clock may have been set back
        self.on_wait(rest)
        await self.alma.clock.sleep(rest)
        return await self._holding(mark)

    async def _holding(self, mark: _Mark) -> tuple[str, ...]:
        found = list[str]()
        for portfolio_id in await self._listed(mark):
            with suppress(NotFound):
                whole = await self._portfolios.get(*mark.place, portfolio_id)
                if mark.mark.encode() in dumps(unstructure(whole), lone_surrogates=True):
                    found.append(portfolio_id)
        return tuple(found)

    async def _listed(self, mark: _Mark) -> list[str]:
        """The record's portfolios in the service; of the service's list, where the key
        may not read bib records.
        """
        try:
            listed = await self._portfolios.of_bib(mark.mms_id).all()
        except Unauthorized:
            listed = await self._portfolios.list(*mark.place).all()
        except NotFound:
            return []
        return [
            one.id
            for one in listed
            if one.resource_metadata.mms_id.value in (mark.mms_id, None)
            and one.electronic_collection.service.value in (mark.service_id, None)
        ]

    # --- records

    async def _batch(self) -> dict[str, Any]:
        """What comes of a call for 100 records, or for as many as were found; nothing
        where that was not found out.
        """
        try:
            ids = await self._records()
        except AlmaError:
            return {}
        try:
            answered = len(await self.alma.bibs.get_batch(ids, tries=1))
        except InvalidRequest:
            answered = 0
        except AlmaError:
            return {}
        return {"bibs_asked": len(ids), "bibs_answered": answered, "bibs_seconds": round(self._elapsed, 2)}

    async def _records(self) -> list[str]:
        """At most 100 records: those of the service that was named, then of others."""
        electronic, ids, lists = self.alma.electronic, dict.fromkeys([self.mms_id]), 1
        await self._add_records(ids, self.place)
        if len(ids) < MOST:
            async for collection in electronic.collections.list():
                services = await electronic.services.list(collection.id).all()
                for place in [(collection.id, one.id) for one in services[: _LISTS - lists]]:
                    if place != self.place:
                        await self._add_records(ids, place)
                lists += max(len(services), 1)
                if len(ids) >= MOST or lists >= _LISTS:
                    break
        return list(ids)[:MOST]

    async def _add_records(self, ids: dict[str, None], place: tuple[str, str]) -> None:
        """Those of the first 100 portfolios of a service."""
        async for page in self._portfolios.list(*place).pages():
            ids |= dict.fromkeys(found for one in page if (found := one.resource_metadata.mms_id.value))
            return


@attrs.frozen
class _MarkFile:
    """The file of the mark, which is locked. It is written once before a POST and
    emptied once after the DELETE.
    """

    kept: KeptFile
    file: OwnFile

    def read(self) -> _Mark | None:
        """The mark; None where nothing is left.

        :raises ConfigurationError: where the file is not what was written.
        """
        if not (text := self.file.read(_LARGEST)):
            return None
        try:
            return _Mark(**self.kept.believed(text))
        except (ValueError, TypeError, KeyError):
            raise ConfigurationError(
                f"{self.kept.path} is not what was written.",
                advice="An earlier probe may have left a portfolio whose public note is alma-async-probe-...: find it "
                "in its service, and remove the file.",
            ) from None

    def write(self, mark: _Mark | None) -> None:
        """Have it on the disk."""
        self.file.replace(b"" if mark is None else self.kept.sealed(attrs.asdict(mark)))
        self.file.sync()


def is_left(scope: str) -> bool:
    """Whether a probe of this scope was cut off, or is under way: a portfolio may be left."""
    path = KeptFile.named("institutions", scope, "probe", end="probe").path
    return path.is_file() and path.stat().st_size > 0


def _unknown(known: InstitutionFacts) -> list[str]:
    """What was not found out, by the names of ``InstitutionFacts``; of ``clears``, by the kinds of field."""
    names = ("post_answer", "post_coverage", "put_answer", "bibs_asked")
    kinds = [kind for kind, ways in WAYS.items() if len(known.clears.get(kind, {})) < len(ways)]
    return [name for name in names if getattr(known, name) is None] + kinds
