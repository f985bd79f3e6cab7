"""What a load measures of itself stays small, and adds up."""

from __future__ import annotations

import pytest

from alma_async.load.measured import Measured


@pytest.mark.parametrize("seconds", [3, 119, 120, 121, 5_000, 100_000])
def test_a_run_of_any_length_has_few_samples_and_loses_nothing(seconds):
    """Calls, throttled ones and waits are the same in sum, however coarse the samples are."""
    found = Measured()
    run = found.begin(0.0)
    for second in range(seconds):
        run.called(second, throttled=second % 10 == 0)
        run.waited(second, 50.0, {"pace": 0.25, "queue": 0.0})
        found.finished("GET portfolio", 1)
    assert len(run.calls) <= 120
    assert (sum(run.calls), sum(run.throttled)) == (seconds, (seconds + 9) // 10)
    assert sum(run.waits["pace"]) == pytest.approx(seconds / 4)
    assert "queue" not in run.waits
    assert all(len(series) == len(run.calls) for series in (run.throttled, *run.waits.values()))
    assert len(run.calls) * run.step >= seconds > (len(run.calls) - 1) * run.step
    again = Measured.read(found.written())
    assert again.runs[0].calls == run.calls
    assert (again.kinds, again.count) == ({"GET portfolio": seconds}, 1)


def test_a_load_that_is_resumed_for_ever_stays_small():
    """The last runs are kept, all are counted, and the fact is a few kilobytes."""
    found = Measured()
    for n in range(200):
        run = found.begin(n * 1000.0)
        for second in range(200):
            run.called(second, throttled=False)
            run.waited(second, 1.0, dict.fromkeys(("pace", "queue", "hold"), 0.123456))
        found = Measured.read(found.written())
    assert (found.count, len(found.runs)) == (200, 20)
    assert all(len(run.calls) <= 40 for run in found.runs[:-1])
    assert len(found.written()) < 40_000


def test_a_long_wait_is_spread_over_the_time_that_it_took():
    """A call that waited an hour did so in each minute of it."""
    run = Measured().begin(0.0)
    run.waited(60.0, 60.0, {"hold": 61.0})
    assert run.waits["hold"] == [1.0] * 61
    assert run.ended == 60.0
