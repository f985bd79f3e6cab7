"""What of the events is logged, and where."""

from __future__ import annotations

import logging

import pytest

from alma_async.settings import Priority
from alma_async.telemetry.events import Adapted, Admitted, Refused
from alma_async.telemetry.log import hooks, log_event

LOG = "alma_async.governance"


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("WARNING", []),
        ("INFO", ["Refused threshold='second'", "Adapted per_second=10.000 margin=0.010 foreign=0.000 why='a 429'"]),
        (
            "DEBUG",
            [
                "Admitted priority=Priority.BULK waited=0.040",
                "Refused threshold='second'",
                "Adapted per_second=10.000 margin=0.010 foreign=0.000 why='a 429'",
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_seldom_is_info(level: str, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """Each call's slot is told at DEBUG alone, all else from INFO on, each with its facts."""
    caplog.set_level(level, LOG)
    for event in (
        Admitted(at=1.0, priority=Priority.BULK, waited=0.04),
        Refused(at=2.0, threshold="second"),
        Adapted(at=3.0, per_second=10.0, margin=0.01, foreign=0.0, why="a 429"),
    ):
        log_event(event)
    assert caplog.messages == lines


def test_no_hook_where_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    """At the usual level no event is made for the log."""
    caplog.set_level(logging.WARNING, LOG)
    assert hooks() == ()
    caplog.set_level(logging.INFO, LOG)
    assert hooks() == (log_event,)
