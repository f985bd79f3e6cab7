"""Tests of the latency of answers."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from alma_async.sim import Latency


def test_latency_has_base_jitter_and_tail() -> None:
    """Most answers lie between base and base + jitter, the stated share of them in a tail of the stated mean."""
    latency, rng = Latency(base=0.2, jitter=0.1, tail=5.0, tail_share=0.05), random.Random(2)
    drawn = [latency(rng) for _ in range(5000)]
    late = [wait for wait in drawn if wait > 0.3]
    assert min(drawn) >= 0.2
    assert len(late) == pytest.approx(250, rel=0.2)
    assert mean(late) == pytest.approx(5.25, rel=0.2)


def test_latency_is_fixed_by_its_source_of_chance() -> None:
    """The same source gives the same waits."""
    latency = Latency(jitter=0.1, tail=1.0, tail_share=0.5)
    once, again = random.Random(7), random.Random(7)
    assert [latency(once) for _ in range(20)] == [latency(again) for _ in range(20)]
