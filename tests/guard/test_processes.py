"""Real processes that share one ledger file, against the simulator over real sockets; the hour is told in seconds."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.guard.planner import HOUR
from tests.guard.processes import by_processes


@pytest.mark.slow
@pytest.mark.timeout(240)  # four processes on a machine that may have other work
def test_three_processes_keep_the_limits_together(folder):
    """Forty submissions of eight jobs: the server refuses none, sees no fourth running, no sixth in the window, each once."""
    lived = by_processes(HOUR.told_in(6.0), folder, margin=1.0)
    assert Counter(job for _, job in lived.begun) == Counter(HOUR.jobs)
    assert lived.refused == 0
    assert lived.running <= 3
    assert lived.hourly <= 5
