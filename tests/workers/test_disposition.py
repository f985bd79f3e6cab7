"""What becomes of a task that failed, from the error alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from alma_async import errors
from alma_async.load import InputError, JournalError, JournalInUse, ServiceInUse, UnfinishedLoad
from alma_async.load.journal import JournalDamaged
from alma_async.workers import ReadBack, Reject, Retry, Stop, disposition

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
SOON, PAST = NOW + timedelta(hours=1), NOW - timedelta(hours=1)


def after(seconds):
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.QuotaExhausted("spent", retry_at=SOON), Retry(SOON)),
        (errors.JobThresholdReached("3 run", retry_at=SOON), Retry(SOON)),
        (errors.JobOverlap("overlaps", retry_at=SOON), Retry(SOON)),
        (errors.RateLimited("too many", retry_at=PAST), Retry(NOW)),
        (errors.StoreUnavailable("away", retry_at=SOON), Retry(SOON)),
        (errors.OutcomeUnknown("lost", method="POST"), ReadBack(after(300))),
        (errors.OutcomeUnknown("unread", effect="done"), ReadBack(NOW)),
        (errors.ServerFault("500"), Retry(after(2))),
        (errors.NotSent("no network"), Retry(after(2))),
        (errors.DeadlineExceeded("late"), Retry(after(2))),
        (JournalError("disk"), Retry(after(2))),
        (JournalInUse("another"), Retry(after(20))),
        (ServiceInUse("another"), Retry(after(20))),
        (UnfinishedLoad("cut off"), Retry(after(20))),
        (OSError("whatever"), Retry(after(2))),
        (asyncio.CancelledError(), Stop()),
        (KeyboardInterrupt(), Stop()),
        (errors.ClientClosed("closed"), Stop()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_says_when_its_task_goes_on(error, expected):
    """Each class of errors ends in the disposition that loses nothing and repeats nothing."""
    assert disposition(error, now=NOW) == expected


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest("wrong"),
        errors.NotFound("none"),
        errors.Unauthorized("the key"),
        errors.ConfigurationError("set up"),
        errors.ReadOnly("only reads"),
        InputError("row 3"),
        JournalDamaged("not what was written"),
        TypeError("an argument too many"),
        KeyError("load_id"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_repeat_cannot_mend_is_for_a_person(error):
    """An error that would come again is rejected at once, with its text."""
    found = disposition(error, now=NOW)
    assert isinstance(found, Reject)
    assert str(error) in found.why or error.message in found.why


def test_pauses_grow_to_a_bound_and_what_nobody_knows_ends():
    """Each pause is twice the last, at most ten minutes; a failure of no known kind ends after nine attempts."""
    pauses = [disposition(errors.ServerFault("500"), now=NOW, attempts=n) for n in range(40)]
    assert [(one.at - NOW).total_seconds() for one in pauses[:4]] == [2, 4, 8, 16]
    assert (pauses[-1].at - NOW).total_seconds() == 600
    assert isinstance(disposition(OSError("x"), now=NOW, attempts=7), Retry)
    assert isinstance(disposition(OSError("x"), now=NOW, attempts=8), Reject)
