"""What can be observed: one value per thing that happened, given to each of a client's ``hooks``."""

from __future__ import annotations

from alma_async.telemetry.events import (
    Adapted,
    Admitted,
    CallFinished,
    Event,
    Hook,
    Paused,
    QuotaLow,
    Refused,
    ResetSeen,
    TriedAgain,
)

__all__ = [
    "Adapted",
    "Admitted",
    "CallFinished",
    "Event",
    "Hook",
    "Paused",
    "QuotaLow",
    "Refused",
    "ResetSeen",
    "TriedAgain",
]
