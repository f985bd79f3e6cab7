"""Events as lines of the log ``alma_async.governance``: what is seldom at ``INFO``, each call's slot at ``DEBUG``."""

from __future__ import annotations

import logging
from typing import Final

import attrs

from alma_async.plain import logger
from alma_async.telemetry.events import Admitted, Event, Hook, Waited

__all__ = ["hooks", "log_event"]

_log = logger("alma_async.governance")
_OF_EACH_CALL: Final = (Admitted, Waited)


def log_event(event: Event) -> None:
    """A hook that logs."""
    level = logging.DEBUG if isinstance(event, _OF_EACH_CALL) else logging.INFO
    if _log.isEnabledFor(level):
        facts = attrs.asdict(event, filter=lambda field, _: field.name != "at")
        _log.log(level, "%s %s", type(event).__name__, " ".join(f"{k}={_said(v)}" for k, v in facts.items()))


def hooks() -> tuple[Hook, ...]:
    """The hook that logs, or none where nobody reads it, so that no event need be made."""
    return (log_event,) if _log.isEnabledFor(logging.INFO) else ()


def _said(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else repr(value) if isinstance(value, str) else value
