"""What Alma sends to a listener by itself: that a job has ended.

Decides which event is due when, what is in it, how it is signed and whether it is sent again; leaves the sending to
`webhook_sender`. Documented: JOB_END for every job, the signature, a timeout of 5 s, again 1 h, 3 h and 6 h after an answer of
5xx, never after 4xx. Recorded: the body, with nulls in 2020; `JOB_END` where the documents say `job_end`; a relative link that
may name job M0. Inferred: a rejected connection counts as 5xx, a redirect as a logical failure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import attrs
import orjson

from alma_async.sim.answers import moment_of
from alma_async.sim.config import is_loopback
from alma_async.sim.fields import ROOT, Json
from alma_async.sim.job_runs import Run

__all__ = ["Delivery", "Sent", "Webhook", "Webhooks", "sign"]

SIGNATURE = "X-Exl-Signature"
_NULLS = ("event", "bib", "holding", "item", "portfolio", "representation")


def _local(_webhook: object, _field: object, url: str) -> None:
    if not is_loopback(urlsplit(url).hostname or ""):
        raise ValueError(f"The simulator sends to 127.0.0.1 or ::1 only, not to {url!r}.")


@attrs.frozen(kw_only=True)
class Webhook:
    """An integration profile: the listener, and how it is called."""

    url: str = attrs.field(validator=_local)
    secret: str = attrs.field(repr=False)
    action: Literal["JOB_END", "job_end"] = "JOB_END"
    nulls: bool = False
    unnamed_job: bool = False
    """The link of the instance names job M0."""
    delay: float = 1.0
    """Seconds from the end of a run to its event."""
    copies: int = 1
    """How often each event is sent though the first time went well."""
    timeout: float = 5.0
    retries: tuple[float, ...] = (3600.0, 3 * 3600.0, 6 * 3600.0)


def sign(secret: str, body: bytes) -> str:
    """The signature over the raw bytes."""
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


def job_end(run: Run, webhook: Webhook, *, institution: str) -> bytes:
    """The event that a run has ended."""
    instance = run.answer(run.ends_at)
    if webhook.unnamed_job:
        instance["link"] = f"{ROOT}/conf/jobs/M0/instances/{run.id}"
    event: Json = {
        "id": run.id,
        "action": webhook.action,
        "institution": {"value": institution, "desc": "The simulated institution"},
        "time": moment_of(run.ends_at),
        "job_instance": instance,
    }
    return orjson.dumps(event | dict.fromkeys(_NULLS) if webhook.nulls else event)


@attrs.frozen
class Delivery:
    """An event on its way: due at a moment, after so many failed attempts."""

    run: Run
    due: float
    failed: int = 0


@attrs.frozen
class Sent:
    """An attempt that was made; status 0 if no answer came."""

    at: float
    run_id: str
    status: int


@attrs.define
class Webhooks:
    """The outbox of the institution."""

    webhook: Webhook | None = None
    """The listeners of every run that begins from now on."""
    wake: Callable[[], object] = lambda: None
    """Called when something new may be due: who sends sleeps until then."""
    sent: list[Sent] = attrs.field(factory=list, init=False)
    _outbox: list[Delivery] = attrs.field(factory=list, init=False)

    def reset(self) -> None:
        """Forget what was sent and what is due; the listeners stay."""
        self.sent.clear()
        self._outbox.clear()

    def began(self, run: Run) -> None:
        """A run has begun, and with it the moment of its end is known."""
        if self.webhook is None:
            return
        due = run.ends_at + self.webhook.delay
        self._outbox += [Delivery(run, due)] * self.webhook.copies
        self.wake()

    def next_due(self) -> float | None:
        return min((delivery.due for delivery in self._outbox), default=None)

    def take_due(self, now: float) -> list[Delivery]:
        """What is to be sent now; it is the sender's from here on."""
        due = [delivery for delivery in self._outbox if delivery.due <= now]
        self._outbox = [delivery for delivery in self._outbox if delivery.due > now]
        return due

    def settle(self, delivery: Delivery, *, status: int, now: float) -> None:
        """Note how an attempt went, and whether there will be another."""
        self.sent.append(Sent(now, delivery.run.id, status))
        retries = self.webhook.retries if self.webhook else ()
        if (status == 0 or status >= 500) and delivery.failed < len(retries):
            again = attrs.evolve(delivery, due=now + retries[delivery.failed], failed=delivery.failed + 1)
            self._outbox.append(again)
            self.wake()
