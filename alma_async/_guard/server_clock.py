"""The guard's own time: one clock for all who share a ledger. Pure.

It starts with the first ``Date`` that was read and then runs at the speed of real time, carried on
by the monotonic clock, whatever later answers say. So no start ages faster than time passes, and no
``Date``, whether of 1970 or of 9999, moves what is written down. A ``Date`` that agrees makes the
clock more exact, within what it left open before. One that does not agree is believed when three
answers in a row agree with each other, and then only as the difference (``offset``) between Alma's
clock and this one. It may be wrong all the same. So where times in Alma's lists are read by it, the
wall clock and the first ``Date`` are compared too, and the one counts that makes a start the
youngest and a list the longest.

After a boot the monotonic clock says nothing: as much time has passed as both ``Date`` and the wall
clock admit, or none.

**Several machines** have monotonic clocks that have nothing to do with each other, so what they
share is kept on the clock of their database (``for_all``), and each reads it on its own (``here``).
What holds on every machine, and is all that the limits need: the time lies between ``earliest`` and
``latest``. Then a start is never written down as earlier than it was, and never taken for older
than it is. Two witnesses say how much time has passed since the record was written. The monotonic
clock of a process that was there never counts too much, but stops while its machine sleeps: it
says the least. The database's clock goes on, but may be set, or be another one after a failover: it
says the most. Where they differ, or a process was not there, the next ``Date`` says where between
the time is. So one wrong clock makes starts wait longer, and none too short; except where the
database's clock is set back just before a process begins: it then believes that less has passed.
"""

from __future__ import annotations

from typing import Final, Self

import attrs

__all__ = ["AGREE", "DRIFT", "ServerClock", "ServerTime"]

AGREE: Final = 3  # chosen: answers in a row
DRIFT: Final = 1e-4  # chosen: how much the two clocks may drift apart; crystals are ten times better
_LOOSE: Final = 1.0  # seconds by which an offset, which is an estimate, may be off
_SURE: Final = 5.0  # chosen: seconds; a clock that leaves more open is to be read anew
_BEFORE: Final = 60.0  # chosen: seconds; what is asked for shortly before a transaction is on the clock, too


@attrs.frozen(kw_only=True)
class ServerTime:
    """What the server's clock shows, as seen from here: ``at``, give or take ``error``."""

    at: float
    error: float

    @property
    def earliest(self) -> float:
        """It is at least this late: what has aged by this moment has aged for certain."""
        return self.at - self.error

    @property
    def latest(self) -> float:
        """It is at most this late: what happens now is counted from here."""
        return self.at + self.error

    def later(self, seconds: float) -> Self:
        """The server's clock, ``seconds`` from now."""
        return attrs.evolve(self, at=self.at + seconds)


@attrs.frozen(kw_only=True)
class ServerClock:
    """A record of the ledger: at ``client`` on the monotonic clock of ``boot`` it was ``at``, give
    or take ``error``.
    """

    key: str = ""
    boot: str
    client: float
    wall: float
    at: float
    error: float
    offset: float = 0.0

    @property
    def is_sure(self) -> bool:
        """Whether it leaves little open."""
        return self.error <= _SURE

    def counts_for(self, boot: str, client: float) -> bool:
        """Whether this boot's monotonic clock carries it on."""
        return self.boot == boot and client >= self.client

    def now(self, client: float) -> ServerTime:
        """The time at a moment of the monotonic clock."""
        passed = client - self.client
        return ServerTime(at=self.at + passed, error=self.error + DRIFT * max(passed, 0.0))

    def offsets(self, client: float, wall: float) -> tuple[float, float, float]:
        """How much Alma's clock may be ahead of this one: by the first ``Date``, by the last ones,
        by the wall clock.

        None of the three is certain: each may be a lie.
        """
        return 0.0, self.offset, wall - self.now(client).at

    def read(self, date: ServerTime, *, client: float, wall: float) -> Self | None:
        """The clock after another ``Date``, or None where they do not agree."""
        mine, read = self.now(client), date.later(-self.offset)
        if self.offset:
            read = attrs.evolve(read, error=read.error + _LOOSE)
        low, high = max(mine.earliest, read.earliest), min(mine.latest, read.latest)
        if low > high:
            return None
        return attrs.evolve(self, client=client, wall=wall, at=(low + high) / 2, error=(high - low) / 2)

    def for_all(self, database: ServerTime, client: float) -> Self:
        """The record of the machine whose monotonic clock shows ``client``, kept on the database's
        clock, so that others can read it.
        """
        at = database.at - (client - self.client)
        return attrs.evolve(self, boot="", client=at, error=self.error + database.error)

    def here(self, mine: Self | None, database: ServerTime, *, boot: str, client: float, wall: float) -> Self:
        """The record that all share, on the clock of this machine.

        :param mine: as this process last knew it for certain; None where it was not there
        :param database: its clock when this machine's monotonic clock shows ``client``
        """
        passed = database.at - self.client
        low = self.at - self.error
        high = self.at + self.error + max(passed + database.error + DRIFT * abs(passed), 0.0)
        if mine is not None:
            own = mine.now(client)
            low, high = max(low, own.earliest), max(high, own.latest)
        return attrs.evolve(
            self,
            boot=boot,
            client=client - _BEFORE,
            wall=wall - _BEFORE,
            at=(low + high) / 2 - _BEFORE,
            error=max((high - low) / 2 - DRIFT * _BEFORE, 0.0),
        )

    def resumed(self, date: ServerTime | None, *, boot: str, client: float, wall: float) -> Self:
        """The clock after a boot, or on another machine that has the same file."""
        passed = 0.0 if date is None else min(date.at - self.offset - self.at, wall - self.wall)
        return attrs.evolve(
            self,
            boot=boot,
            client=client,
            wall=wall,
            at=self.at + max(passed, 0.0),
            error=max(self.error, date.error if date else 0.0),
        )
