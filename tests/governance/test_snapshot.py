"""What a governor shows of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import attrs
import pytest

from alma_async._clock import Clock
from alma_async._governance.budget import LocalBudget
from alma_async._governance.governor import Governor
from alma_async._http.messages import Signals
from alma_async.settings import Limits, Priority

NOON = 20_000 * 86400 + 43_200.0


async def test_before_anything_is_known() -> None:
    """Unknown is None, and everybody may go."""
    snapshot = Governor(Limits(), budget=LocalBudget(), clock=Clock(epoch=NOON)).snapshot()
    assert (snapshot.remaining, snapshot.foreign, snapshot.remaining_seen_at) == (None, None, None)
    assert (snapshot.limit, snapshot.margin) == (25, 0.01)
    assert snapshot.per_second == pytest.approx(25 / 1.01)
    assert all(snapshot.open[priority] for priority in Priority)
    assert snapshot.resets_at == datetime(2024, 10, 5, tzinfo=UTC)
    assert snapshot.why == ""


async def test_after_some_answers() -> None:
    """Remaining calls with their time, latency by kind, reserve, and counts by priority."""
    governor = Governor(Limits(reserve="10%"), budget=LocalBudget(), clock=Clock(epoch=NOON))
    with await governor.acquire(priority=Priority.NORMAL, kind="get") as permit:
        await permit.slot()
        permit.sent()
        assert governor.snapshot().in_flight[Priority.NORMAL] == 1
        await anyio.sleep(0.5)
        permit.settle(Signals(remaining=30_000), latency=0.5)
    snapshot = governor.snapshot()
    assert snapshot.remaining == 30_000
    assert snapshot.remaining_seen_at == datetime.fromtimestamp(NOON + 0.5, UTC)
    assert snapshot.latency == {"get": 0.5}
    assert snapshot.reserve == pytest.approx(1.2 * 5000, rel=0.01)
    assert sum(snapshot.in_flight.values()) + sum(snapshot.waiting.values()) == 0


async def test_a_snapshot_is_frozen() -> None:
    """It can be kept and compared; it does not follow the governor."""
    snapshot = Governor(Limits(), budget=LocalBudget(), clock=Clock(epoch=NOON)).snapshot()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        snapshot.limit = 3  # type: ignore[misc]


async def test_a_stopped_day_is_said() -> None:
    """After the day's threshold the snapshot says until when, and why."""
    governor = Governor(Limits(), budget=LocalBudget(), clock=Clock(epoch=NOON), jitter=lambda: 0.0)
    with await governor.acquire(priority=Priority.NORMAL) as permit:
        await permit.slot()
        permit.sent()
        permit.settle(Signals(throttled="day"))
    snapshot = governor.snapshot()
    assert snapshot.stopped_until == datetime(2024, 10, 5, tzinfo=UTC)
    assert snapshot.why == "the day's calls are spent"
    assert not any(snapshot.open.values())
