"""Alma's webhooks: the challenge, the signature, the event. Of no framework: the web side is the
user's. Pure, except that a secret which is not given is read from the environment.

Decides whether a request is Alma's and new; what to do with it is left to the receiver. A request
that is not valid raises ``WebhookRejected`` with the status to answer.

Documented: the challenge as JSON, and ``X-Exl-Signature`` as the base64 of HMAC-SHA256; seen: that
it covers the raw bytes. Alma counts an answer later than 5 s, or of 5xx, as a failure and sends
again after 1, 3 and 6 hours, so an event comes at least once, late, and in any order; 4xx ends it
(documented). There is no signed time but the one in the body (inferred): hence ``Replays``. 1 MiB,
24 hours, five minutes and 32 bytes of secret are our own bounds.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs

import attrs

from alma_async._http.codec import Model, structure
from alma_async._http.json_text import dumps, loads
from alma_async._secret import Secret, secretive
from alma_async.alma.models.common import Coded
from alma_async.alma.models.jobs import JobInstance
from alma_async.errors import AlmaError, BadAnswer, ConfigurationError
from alma_async.settings import Check, instance_of

__all__ = [
    "JOB_END",
    "SIGNATURE",
    "Replays",
    "WebhookEvent",
    "WebhookRejected",
    "challenge_response",
    "parse_event",
    "require_recent",
    "verify_signature",
]

JOB_END: Final = "JOB_END"
SIGNATURE: Final = "X-Exl-Signature"

LARGEST: Final = 2**20  # bytes
SHORTEST_SECRET: Final = 32  # bytes
OLDEST: Final = 24 * 3600.0  # seconds; the last repeat comes after ten hours
AHEAD: Final = 300.0  # seconds that Alma's clock may be ahead of ours

_BODY: Final = instance_of((bytes, bytearray, memoryview), "the raw bytes that came")
_HEADER: Final = Check(
    "a text, or a list of texts",
    lambda value: isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)),
).or_none()
_WORD: Final = re.compile(r"[A-Za-z0-9-]{1,128}")


class WebhookRejected(AlmaError):
    """The request is not a valid event of Alma's, or is a repeat; ``status`` is the status to
    answer.
    """

    advice = "Answer with this status: Alma does not send again what 4xx answers."


def challenge_response(query: str | Mapping[str, Any]) -> bytes:
    """The JSON to answer a registration with (status 200); ``query`` is the URL, its query, or a
    mapping of it.

    :raises WebhookRejected: 400, where there is not one plain word to repeat: nothing else is ever
        echoed.
    """
    if isinstance(query, str):
        fields = parse_qs(query.partition("?")[2].partition("#")[0] if "?" in query else query)
        found = fields.get("challenge", [])
        word = found[0] if len(found) == 1 else ""
    else:
        instance_of(Mapping, "a URL, its query, or a mapping").require("query", query)
        word = query.get("challenge", "")
    if not _WORD.fullmatch(str(word)):
        raise WebhookRejected("There is no challenge of letters, digits and hyphens.", status=400)
    return dumps({"challenge": word})


@secretive
def verify_signature(body: bytes, header: str | Iterable[str] | None, *secrets: str | bytes | Secret) -> None:
    """Return if the raw bytes of the body are signed with one of the secrets (two, while one is
    being replaced).

    Without any, the secret is that of ``ALMA_WEBHOOK_SECRET`` in the environment.
    ``header`` is the value of ``X-Exl-Signature``, or all its values: exactly one may be there.

    :raises WebhookRejected: 401 for a missing, repeated or wrong signature, 413 for a body that is
        too large to be hashed.
    :raises ConfigurationError: where there is no secret, or one is shorter than 32 bytes.
    """
    if not secrets and (named := os.environ.get("ALMA_WEBHOOK_SECRET")):
        secrets = (named,)
    keys = [_key(secret) for secret in secrets]
    if not keys:
        raise ConfigurationError("Give the secret of the webhook profile, or set ALMA_WEBHOOK_SECRET.")
    _BODY.require("body", body)
    values = [header] if isinstance(header, str) else _values(header)
    if len(values) != 1:
        raise WebhookRejected(f"There must be one {SIGNATURE}, not {len(values)}.", status=401)
    if len(body) > LARGEST:
        raise WebhookRejected(f"The body has {len(body):,} bytes; at most {LARGEST:,} are taken.", status=413)
    sent = _decoded(values[0])
    # All of them are compared, whichever fits, so that the time taken shows nothing.
    fits = [hmac.compare_digest(sent, hmac.digest(key, body, "sha256")) for key in keys]
    if not any(fits):
        raise WebhookRejected("The signature is not that of this body.", status=401)


def _key(secret: str | bytes | Secret) -> bytes:
    text = secret.reveal() if isinstance(secret, Secret) else secret
    instance_of((str, bytes), "a text or bytes").require("the secret", text)
    # A secret of the environment may hold bytes that are no text.
    key = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    if len(key) < SHORTEST_SECRET:
        raise ConfigurationError(f"The secret of a webhook must have {SHORTEST_SECRET} bytes or more.")
    return key


def _values(header: Iterable[str] | None) -> list[str]:
    _HEADER.require("header", header)
    values = list(header or ())
    for value in values:
        instance_of(str, "a text").require("header", value)
    return values


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value.strip().encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return b""


@attrs.frozen(kw_only=True)
class WebhookEvent:
    """One event. ``action`` is in upper case, since ``job_end`` is documented and ``JOB_END``
    sent (recorded).

    ``job_instance`` is empty (and false) unless a job ended; its ``job_id`` identifies the job, and
    its link does not: it may name another (recorded). ``data`` is all that came, for events of
    other kinds.
    """

    id: str
    action: str
    time: datetime
    institution: Coded
    job_instance: JobInstance
    data: Mapping[str, Any] = attrs.field(repr=False)


@attrs.define(kw_only=True, repr=False)
class _Body(Model):
    _identity = ("id", "action", "time")

    id: str = ""
    action: str = ""
    time: datetime | None = None
    institution: Coded = attrs.field(factory=Coded)
    job_instance: JobInstance = attrs.field(factory=JobInstance)


def parse_event(body: bytes) -> WebhookEvent:
    """The event in a body, whose signature was verified before.

    :raises WebhookRejected: 400, for anything but a JSON event with id, action and time.
    """
    _BODY.require("body", body)
    try:
        data = loads(bytes(body))
        read = structure(data, _Body)
    except BadAnswer as error:
        unread = error.message
    else:
        about = data.get("job_instance") or {}
        if read.id and read.action and read.time is not None and isinstance(about, dict):
            return WebhookEvent(
                id=read.id,
                action=read.action.upper(),
                time=read.time,
                institution=read.institution,
                job_instance=read.job_instance,
                data=data,
            )
        unread = "an event has id, action and time, and an object"
    raise WebhookRejected(f"This is no event: {unread}. The profile must send JSON, not XML.", status=400)


def require_recent(event: WebhookEvent, *, now: float) -> None:
    """Return if the event is of the last 24 hours; ``now`` is seconds since 1970.

    :raises WebhookRejected: 409, for one that is older, or comes from the future.
    """
    if not -AHEAD <= now - event.time.timestamp() <= OLDEST:
        raise WebhookRejected(f"The event is of {event.time.isoformat()}: not of the last day.", status=409)


@attrs.define
class Replays:
    """The events that were accepted within the last 24 hours; older ones are rejected by their own
    time.

    ``seen`` (what was accepted, and when) may be given, to survive a restart.
    """

    seen: dict[str, float] = attrs.field(factory=dict)

    def take(self, event: WebhookEvent, *, now: float) -> None:
        """Accept an event for the first time; ``now`` is seconds since 1970.

        :raises WebhookRejected: 409, for one that was accepted before, is older than 24 hours, or
            comes from the future. It ends Alma's repeats, as 200 does.
        """
        require_recent(event, now=now)
        self._forget(now)
        what = self._key(event)
        if what in self.seen:
            raise WebhookRejected(f"The event {event.id} was taken before.", status=409)
        self.seen[what] = now

    def give_back(self, event: WebhookEvent) -> None:
        """The work on an event failed: when Alma sends it again, it is accepted again."""
        self.seen.pop(self._key(event), None)

    @staticmethod
    def _key(event: WebhookEvent) -> str:
        return f"{event.action} {event.id} {event.time.isoformat()}"

    def _forget(self, now: float) -> None:
        """Drop events that would be rejected by their own time now; the earliest are first."""
        while self.seen and self.seen[first := next(iter(self.seen))] + OLDEST + AHEAD < now:
            del self.seen[first]
