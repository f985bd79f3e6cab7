"""The web side of webhooks: asks a listener whether it is one, and sends what is due.

Decides nothing but when to wake; what is sent, and whether again, is `webhooks`'. No redirect is followed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import anyio
import attrs
import orjson

from alma_async.sim.answers import JSON
from alma_async.sim.webhooks import SIGNATURE, Delivery, Webhook, job_end, sign
from alma_async.sim.world import INSTITUTION, World


async def challenge(webhook: Webhook, word: str) -> None:
    """Ask the listener to say the word, as Alma does when a profile is saved; the bare word serves as well.

    :raises ValueError: it does not.
    """
    timeout = aiohttp.ClientTimeout(total=webhook.timeout)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.get(
                webhook.url, params={"challenge": word}, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ValueError(f"The listener at {webhook.url} does not answer.") from error
    said = answer.strip() == word.encode() or _json(answer) == {"challenge": word}
    if response.status != 200 or not said:
        raise ValueError(f"The listener at {webhook.url} does not repeat the challenge.")


def _json(answer: bytes) -> object:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None


@attrs.define
class Sender:
    """Sleeps until something is due, and sends it."""

    _world: World
    _clock: Callable[[], float]
    _woken: anyio.Event = attrs.field(factory=anyio.Event)

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                for delivery in self._world.webhooks.take_due(self._clock()):
                    tasks.start_soon(self._deliver, delivery)
                await self._sleep()

    async def _sleep(self) -> None:
        due = self._world.webhooks.next_due()
        with anyio.move_on_after(None if due is None else due - self._clock()):
            await self._woken.wait()
        self._woken = anyio.Event()

    async def _deliver(self, delivery: Delivery) -> None:
        webhook = self._world.webhooks.webhook
        if webhook is None:
            return
        body = job_end(delivery.run, webhook, institution=INSTITUTION)
        status = await _post(webhook, body)
        self._world.webhooks.settle(delivery, status=status, now=self._clock())


async def _post(webhook: Webhook, body: bytes) -> int:
    """The status of the answer; 0 if none came in time."""
    headers = {"Content-Type": JSON, SIGNATURE: sign(webhook.secret, body)}
    timeout = aiohttp.ClientTimeout(total=webhook.timeout)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            async with session.post(
                webhook.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0


@asynccontextmanager
async def sending(sender: Sender) -> AsyncIterator[None]:
    """Send while the block runs; what the block raises is raised as it is, not in a group."""
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sender.run)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
