"""Ports to the model server: in the same loop with faults, and over loopback for real processes.

Each tells its witness what a session tells it: the intent before the first byte, and what became of it, also when cancelled.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.streams.buffered import BufferedByteReceiveStream

from alma_async.clock import Clock
from alma_async.errors import JobThresholdReached, NotSent, OutcomeUnknown
from alma_async.guard.port import Instance, ServerTime
from alma_async.session import Witness
from alma_async.wire.messages import Response
from alma_async.wire.outcome import Done, Failed, OutcomeClass, Reason
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
            raise JobThresholdReached("Execution threshold reached.") from None
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


# --- over loopback


@asynccontextmanager
async def served(model: ModelAlma) -> AsyncIterator[int]:
    """The model server for other processes; its port."""

    async def serve(stream: Any) -> None:
        async with stream:
            lines = BufferedByteReceiveStream(stream)
            while True:
                try:
                    asked = json.loads(await lines.receive_until(b"\n", 65536))
                except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                    return
                await stream.send(json.dumps(_answer(model, asked)).encode() + b"\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def _answer(model: ModelAlma, asked: dict[str, Any]) -> Any:
    model.calls += 1
    match asked["do"]:
        case "time":
            return model.time()
        case "list":
            return [attrs.asdict(each) for each in model.listed(asked["job"], asked["since"])]
        case "get":
            return attrs.asdict(model.get(asked["id"]))
    try:
        return model.start(asked["job"], asked["name"]).id
    except Threshold:
        return None


@attrs.define
class RemotePort:
    """The model server of another process: one connection for each question."""

    number: int
    clock: Clock

    async def _ask(self, **question: Any) -> Any:
        async with await anyio.connect_tcp("127.0.0.1", self.number) as stream:
            await stream.send(json.dumps(question).encode() + b"\n")
            return json.loads(await BufferedByteReceiveStream(stream).receive_until(b"\n", 10**6))

    async def server_time(self) -> ServerTime:
        before = self.clock.now()
        at = await self._ask(do="time")
        trip = self.clock.now() - before
        return ServerTime(at=at + trip / 2, error=trip / 2)

    async def instances(self, job_id: str, *, since: float) -> list[Instance]:
        return [Instance(**each) for each in await self._ask(do="list", job=job_id, since=since)]

    async def instance(self, job_id: str, instance_id: str) -> Instance:
        return Instance(**await self._ask(do="get", id=instance_id))

    async def start(
        self, job_id: str, parameters: Mapping[str, str], *, job_name: str, witness: Witness
    ) -> tuple[str, str]:
        await witness.intend(self.clock.now() + 1.0)
        try:
            started = await self._ask(do="start", job=job_id, name=job_name)
        except BaseException:
            witness.settle(LOST)
            raise
        witness.settle(DONE if started else FULL)
        if started is None:
            raise JobThresholdReached("Execution threshold reached.")
        return job_id, started
