"""Tests of the one address rule."""

from __future__ import annotations

from alma_async.sim.config import is_loopback


def test_only_literal_loopback_addresses_count() -> None:
    """A name could lead anywhere, and every other address leads away."""
    assert all(map(is_loopback, ["127.0.0.1", "127.8.9.1", "::1"]))
    assert not any(map(is_loopback, ["localhost", "0.0.0.0", "::", "192.0.2.1", "", "127.0.0.1.example.org"]))
