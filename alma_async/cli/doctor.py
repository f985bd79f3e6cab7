"""``doctor``: whether the set-up is right, found by three calls that only read.

Decides what each finding means and what to do about it. The rights of a key are by area, which is the first part of a path
(documented), and only a call in an area shows that the right is missing. Whether the key may write is not found by reading.
"""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

import attrs

from alma_async._governance.quota import MAX_SKEW
from alma_async._http.outcome import server_time
from alma_async._storage.files import UnsafeFile, private_directory
from alma_async._text import counted, duration
from alma_async.cli.connection import FROM_ENVIRONMENT, LONG, Connection, hold_of
from alma_async.cli.console import json_line, show
from alma_async.errors import AlmaError, Unauthorized, UnexpectedEnvironment
from alma_async.settings import Priority, state_dir

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = ["doctor"]

# By area: a call that reads little, what needs the area, and what is done without it all the same.
_AREAS: Final = {
    "electronic": (
        "/almaws/v1/electronic/e-collections",
        {"limit": 1},
        "collections, services, portfolios, loads",
        "",
    ),
    "conf": ("/almaws/v1/conf/general", {}, "sets, jobs, quota", ""),
    "bibs": (
        "/almaws/v1/bibs/test",
        {},
        "bib records and the portfolios of a title, by which loads match",
        "; a load by ISSN or ISBN takes a call for each portfolio of its service instead of one for 100",
    ),
}
# Chosen, in seconds; the resolution of the header is a second. Hours of jobs and quarantines go by the server's Date or a monotonic
# clock, and midnight by the Date where it is less than an hour off: a clock no further off harms only times that people read.
_OFF: Final = 30.0


def doctor(*, json: bool = False, connection: Connection = FROM_ENVIRONMENT) -> int:
    """Check key, address, rights in each area, clock and state directory. Costs three calls that only read, and one with --expect.

    Ends with 1 where something is wrong. Whether the key may write is not found by reading.

    :param json: one JSON object for each finding
    """

    async def examine(alma: AlmaClient) -> int:
        check = Check(alma, json=json)
        check.report("address", f"{alma.origin}{', read-only' if alma.read_only else ''}")
        check.directory()
        await check.areas()
        check.clock()
        check.quota()
        check.known()
        return check.code

    return connection.run(examine)


@attrs.define
class Check:
    """The findings about one client, each printed at once."""

    alma: AlmaClient
    json: bool = attrs.field(kw_only=True)
    code: int = attrs.field(default=0, init=False)
    # How far our clock is ahead of the server's lies between these; a Date has whole seconds.
    _least: float = attrs.field(default=-math.inf, init=False)
    _most: float = attrs.field(default=math.inf, init=False)

    def report(self, name: str, what: str, *, ok: bool = True) -> None:
        """One finding."""
        self.code = self.code if ok else 1
        if self.json:
            json_line({"check": name, "ok": ok, "finding": what})
        else:
            show(f"{'ok' if ok else 'WRONG':<6} {name:<11} {what}")

    def directory(self) -> None:
        """Whether budget, ledger and journals can be kept."""
        from alma_async.cli.journals import directory  # it brings the loads

        root, place = state_dir(), directory()
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            with TemporaryFile(dir=place):
                pass
        except OSError as error:
            self.report(
                "state", f"{root}: {error.strerror}. Name another directory in ALMA_STATE_DIR.", ok=False
            )
            return
        if self.alma.quota().shared:
            self.report("state", f"{root}, shared by all processes of this machine")
        else:
            why = _unshared(root)
            finding = f"the budget is not shared with other processes: {why} Until then a quarter of the rate is taken."
            self.report("state", f"{root}: {finding}", ok=False)

    def known(self) -> None:
        """What loads have seen of the institution, and a probe found out, if any has."""
        from alma_async.load.institution import FactsFile  # it brings the loads
        from alma_async.load.probe import is_left

        known = FactsFile.of(self.alma.scope).read()
        if said := str(known):
            probe = f" and a probe of {known.probed}" if known.probed else ""
            self.report("alma", f"as loads{probe} have seen: {said}")
        if is_left(self.alma.scope):
            left = "one was cut off, and may have left a portfolio: probe again, which deletes it"
            self.report("probe", left, ok=False)

    async def areas(self) -> None:
        """What the key may read. Ends at the first call that fails otherwise, since the rest would fail as well."""
        rejected = 0
        for area, (path, params, serves, without) in _AREAS.items():
            try:
                data = await self._ask(path, params)
            except Unauthorized as error:
                rejected += 1
                why = f"{error.code or error.status} {error.message}"
                self.report(area, f"not for this key, so no {serves}{without}: {why}", ok=False)
            except UnexpectedEnvironment as error:
                self.report("expect", str(error), ok=False)
                return
            except AlmaError as error:
                self.report(area, hold_of(self.alma) or str(error), ok=False)
                return
            else:
                self.report(area, f"the key may read it ({serves}){_whose(data)}")
        if rejected == len(_AREAS):
            self.report(
                "key",
                f"rejected everywhere: it is wrong, or not of the region of {self.alma.origin}",
                ok=False,
            )

    async def _ask(self, path: str, params: dict[str, int]) -> Any:
        before = self.alma.clock.utc().timestamp()
        asking = self.alma.with_options(longest_hold=LONG, priority=Priority.INTERACTIVE)
        answer = await asking.request("GET", path, params=params)
        after, date = self.alma.clock.utc().timestamp(), server_time(answer.headers)
        if date is not None:
            self._least = max(self._least, before - date - 1)
            self._most = min(self._most, after - date)
        return answer.data

    def clock(self) -> None:
        """How far this machine's clock is from the server's."""
        if math.isinf(self._most):  # no answer had a date
            return
        off = max(self._least, -self._most, 0.0)
        text = (
            f"{duration(round(off))} {'ahead of' if self._least > 0 else 'behind'} Alma's"
            if off >= 1
            else "agrees with Alma's"
        )
        if off < _OFF:
            self.report("clock", text)
        else:
            day = ", and so does the end of the day's calls" if off > MAX_SKEW else ""
            self.report("clock", f"{text}: set it, since reports and logs go by it{day}", ok=False)

    def quota(self) -> None:
        """What remains of the day, if an answer said it."""
        seen = self.alma.quota()
        if seen.remaining is not None:
            self.report(
                "quota",
                f"{counted(seen.remaining, 'call')} left today, of which bulk work leaves {seen.reserve:,.0f} to others",
            )


def _whose(data: Any) -> str:
    """Institution and kind of environment, where the answer names them."""
    from alma_async.alma.environment import environment_of  # it brings the client

    institution, kind = environment_of(data)
    return f"; institution {institution}, {kind}" if kind else ""


def _unshared(root: Path) -> str:
    """Why a budget cannot be kept there for this user alone."""
    try:
        private_directory(root / "budgets")
    except OSError as error:
        return str(error) if isinstance(error, UnsafeFile) else f"{error.strerror}."
    return "the log says why."
