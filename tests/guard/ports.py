"""The port to the model server, in the same loop and with faults.

It tells its witness what a session tells it: the intent before the first byte, and what became of it, also when cancelled.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import anyio
import attrs

from alma_async._clock import Clock
from alma_async._core.session import Witness
from alma_async._guard.port import Instance, Spare
from alma_async._guard.server_clock import ServerTime
from alma_async._http.messages import Response
from alma_async._http.outcome import Done, Failed, OutcomeClass, Reason
from alma_async.errors import JobThresholdReached, NotSent, OutcomeUnknown
from tests.guard.model import ModelAlma, Threshold

DONE = Done(Response(status=200))
NOT_SENT = Failed(outcome=OutcomeClass.NOT_SENT, reason=Reason.NETWORK)
LOST = Failed(outcome=OutcomeClass.UNKNOWN, reason=Reason.LOST)
FULL = Failed(outcome=OutcomeClass.NOT_PROCESSED, reason=Reason.JOB_THRESHOLD)
OVERLAP = Failed(outcome=OutcomeClass.NOT_PROCESSED, reason=Reason.JOB_OVERLAP)


@attrs.frozen(kw_only=True)
class Faults:
    """Chances of what can go wrong with a submission; ``crash`` at each of three points."""

    not_sent: float = 0.0
    never: float = 0.0
    unheard: float = 0.0
    late: float = 0.0
    crash: float = 0.0
    longest: float = 200.0


@attrs.define
class ModelPort:
    """The model server, some tenths of a second away. ``record_after`` is the planted bug: the witness hears too late."""

    model: ModelAlma
    clock: Clock
    rng: random.Random = attrs.field(factory=lambda: random.Random(0))
    faults: Faults = attrs.field(factory=Faults)
    timeout: float = 120.0
    crash: Callable[[], None] | None = None
    record_after: bool = False
    latency: float = 0.3

    async def _travel(self) -> None:
        self.model.calls += 1
        await self.clock.sleep(self.rng.uniform(0.1, 1.0) * self.latency)

    def spare(self) -> Spare | None:
        return None

    def names(self, job_id: str) -> bool:
        return True

    async def server_time(self) -> ServerTime:
        before = self.clock.now()
        await self._travel()
        shown = math.floor(self.model.time())
        await self._travel()
        trip = self.clock.now() - before
        return ServerTime(at=shown + 0.5 + trip / 2, error=0.5 + trip / 2)

    async def instances(self, job_id: str, *, since: float) -> list[Instance]:
        await self._travel()
        return self.model.listed(job_id, since)

    async def instance(self, job_id: str, instance_id: str) -> Instance:
        await self._travel()
        return self.model.get(instance_id)

    async def start(
        self, job_id: str, parameters: Mapping[str, str], *, job_name: str, witness: Witness
    ) -> tuple[str, str]:
        deadline = self.clock.now() + self.timeout
        if not self.record_after:
            await witness.intend(deadline)
        sent = False
        try:
            await self._point()
            await self._travel()
            if self.rng.random() < self.faults.not_sent:
                raise NotSent("refused")
            sent = True
            row = await self._carried_out(job_id, job_name)
            await self._point()
            await self._travel()
            await self._point()
            if self.record_after:
                await witness.intend(deadline)
        except Threshold:
            witness.settle(FULL)
            when = datetime.fromtimestamp(0.0, UTC)
            raise JobThresholdReached("Execution threshold reached.", retry_at=when) from None
        except BaseException:
            witness.settle(LOST if sent else NOT_SENT)
            raise
        witness.settle(DONE)
        return job_id, row

    async def _carried_out(self, job_id: str, name: str) -> str:
        chance, faults = self.rng.random(), self.faults
        self.model.catch_up()
        if chance < faults.never + faults.unheard + faults.late:
            if chance < faults.unheard:
                self.model.start(job_id, name)
            elif chance < faults.unheard + faults.late:
                at = self.model.time() + self.rng.uniform(1.0, faults.longest)
                self.model.start_later(job_id, name, at=at)
            await self.clock.sleep(self.rng.uniform(0.0, self.timeout / 2))
            raise OutcomeUnknown("no answer")
        return self.model.start(job_id, name).id

    async def _point(self) -> None:
        if self.crash is not None and self.rng.random() < self.faults.crash:
            self.crash()
            await anyio.sleep_forever()
