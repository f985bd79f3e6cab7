"""Whether a call is sent again, and the budget that all retries share."""

from __future__ import annotations

import pytest

from alma_async._governance.retry import NoRetry, RetryBudget, RetryCause, Wait, decide
from alma_async.settings import RetryPolicy

POLICY = RetryPolicy(attempts=4, throttled=8, first_wait=0.5, longest_wait=3.0)


def after(
    reason: RetryCause,
    *,
    failures: int = 0,
    throttled: int = 0,
    jitter: float = 0.0,
    affordable: bool = True,
    retry_after: float | None = None,
    remaining: float | None = None,
) -> Wait | NoRetry:
    """The decision under the test's policy."""
    return decide(
        POLICY,
        reason,
        failures=failures,
        throttled=throttled,
        jitter=jitter,
        affordable=affordable,
        retry_after=retry_after,
        remaining=remaining,
    )


def test_throttled_waits_in_the_queue_alone() -> None:
    """A throttled call goes straight back to the governor's queue, and gives up after its own number of times."""
    assert after(RetryCause.THROTTLED, throttled=1) == Wait(0.0)
    assert after(RetryCause.THROTTLED, throttled=8) == Wait(0.0)
    assert isinstance(after(RetryCause.THROTTLED, throttled=9), NoRetry)


def test_throttled_is_never_given_up_for_want_of_budget() -> None:
    """Without budget a throttled call waits about as long as the next retry takes to become free."""
    waits = [
        after(RetryCause.THROTTLED, throttled=1, affordable=False, jitter=jitter) for jitter in (0.0, 0.5)
    ]
    assert waits == [Wait(5.0), Wait(10.0)]


def test_not_sent_goes_again_at_once_then_backs_off() -> None:
    """The first time a connection broke before a byte left there is nothing to wait for."""
    assert after(RetryCause.NOT_SENT, failures=1) == Wait(0.0)
    assert after(RetryCause.NOT_SENT, failures=2) == Wait(0.5)


def test_backoff_doubles_to_a_ceiling_with_jitter() -> None:
    """Each wait is between half and all of a doubling ceiling."""
    low = [after(RetryCause.SERVER_FAULT, failures=failures) for failures in (1, 2, 3)]
    assert low == [Wait(0.25), Wait(0.5), Wait(1.0)]
    assert after(RetryCause.SERVER_FAULT, failures=3, jitter=1.0) == Wait(2.0)
    many = decide(
        RetryPolicy(attempts=99, longest_wait=3.0),
        RetryCause.SERVER_FAULT,
        failures=50,
        throttled=0,
        jitter=1.0,
        affordable=True,
    )
    assert many == Wait(3.0)


def test_attempts_end() -> None:
    """The last attempt that the policy allows is not followed by another."""
    assert isinstance(after(RetryCause.SERVER_FAULT, failures=3), Wait)
    assert isinstance(after(RetryCause.SERVER_FAULT, failures=4), NoRetry)


def test_no_budget_no_retry() -> None:
    """A fault is surfaced when too many calls are being sent again already."""
    assert isinstance(after(RetryCause.SERVER_FAULT, failures=1, affordable=False), NoRetry)


def test_retry_after_lengthens_the_wait() -> None:
    """The server's word lengthens the wait and never shortens it."""
    assert after(RetryCause.SERVER_FAULT, failures=1, retry_after=20.0) == Wait(20.0)
    assert after(RetryCause.SERVER_FAULT, failures=1, retry_after=0.0) == Wait(0.25)
    assert after(RetryCause.THROTTLED, throttled=1, retry_after=3600.0) == Wait(3600.0)


def test_deadline_comes_first() -> None:
    """A wait that would outlast the deadline is not begun."""
    assert isinstance(after(RetryCause.SERVER_FAULT, failures=3, remaining=1.0), NoRetry)
    assert after(RetryCause.SERVER_FAULT, failures=3, remaining=1.1) == Wait(1.0)


def test_budget_is_a_tenth_and_six() -> None:
    """Of a hundred first attempts, ten and six more may be repeated within the minute, and no more."""
    budget = RetryBudget()
    for call in range(100):
        budget.count(call * 0.1)
    drawn = 0
    while budget.draw(RetryCause.THROTTLED, now=10.0):
        budget.count(10.0)
        drawn += 1
    assert drawn == 16


def test_budget_forgets_after_a_minute() -> None:
    """Old attempts and old retries both lose their weight."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.count(0.0)
    assert budget.draw(RetryCause.SERVER_FAULT, now=1.0)
    assert budget.balance(1.0) == pytest.approx(6 + 99.9 - 3)
    assert budget.balance(70.0) == pytest.approx(6)


def test_faults_cost_more_than_throttling() -> None:
    """The floor of six a minute is two retries after faults."""
    budget = RetryBudget()
    drawn = [budget.draw(RetryCause.SERVER_FAULT, now=0.0) for _ in range(3)]
    assert drawn == [True, False, False]


def test_budget_stands_a_clock_that_starts_again() -> None:
    """On a new event loop time may begin anew; what was tallied in its future is dropped."""
    budget = RetryBudget()
    budget.draw(RetryCause.THROTTLED, now=1000.0)
    assert budget.balance(1.0) == 6
