"""State to bytes and back."""

from __future__ import annotations

from collections import deque

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.governance.forecast import HOURS
from alma_async.governance.pacing import Pace
from alma_async.governance.quota import Quota
from alma_async.governance.record import SIZE, dump, parse
from tests.governance.examples import MANY

BOOT = b"0123456789abcdef"
_counts = st.integers(-(2**62), 2**62)
_times = st.floats(-1e12, 1e12)


@MANY
@given(
    pace=st.builds(
        lambda tat, held, spent, gaps: Pace(tat, held, spent, deque(sorted(tat - gap for gap in gaps))),
        _times,
        _times,
        _counts,
        st.lists(st.floats(0, 2), max_size=60),
    ),
    quota=st.builds(
        Quota,
        _counts,
        _counts | st.none(),
        _times,
        _counts,
        _times,
        st.floats(-3600, 3600),
        st.booleans(),
        _counts,
        _counts,
        _counts,
        _times,
        _counts,
        _times,
        st.floats(0, 1e6).map(lambda rate: (rate, -1.0) * (HOURS // 2)),
    ),
)
def test_what_is_written_is_read(pace: Pace, quota: Quota) -> None:
    """Every state comes back as it was, in a bounded number of bytes."""
    raw = dump(BOOT, pace, quota)
    read = parse(raw, BOOT)
    assert read is not None
    assert read[0] is not None
    assert (attrs.astuple(read[0]), attrs.astuple(read[1]), read[2]) == (
        attrs.astuple(pace),
        attrs.astuple(quota),
        pace.spent,
    )
    assert len(raw) <= SIZE
    assert parse(raw + b"\0" * 100, BOOT) is not None


def test_of_another_boot_only_the_day_is_read() -> None:
    """The clock of another boot says nothing; counts and the day's figures do."""
    read = parse(dump(b"x" * 16, Pace(tat=5.0, spent=7), Quota(day=3, anchor=9)), BOOT)
    assert read is not None
    assert (read[0], read[1].anchor, read[2]) == (None, 9, 7)


@MANY
@given(st.binary(max_size=4000))
def test_no_bytes_are_mistaken_for_a_record(raw: bytes) -> None:
    """Noise is no record, also behind our own magic."""
    assert parse(raw, BOOT) is None
    assert parse(b"alma-b1\n" + raw, BOOT) is None


@pytest.mark.parametrize(
    "pace", [Pace(tat=float("nan")), Pace(tat=1.0, ring=deque([9.0])), Pace(ring=deque([float("inf")]))]
)
def test_impossible_paces_are_no_record(pace: Pace) -> None:
    """A well-formed record with values that cannot be is not believed."""
    assert parse(dump(BOOT, pace, Quota()), BOOT) is None


def test_a_flipped_bit_is_no_record() -> None:
    """Any single damaged byte is found out."""
    raw = dump(BOOT, Pace(tat=5.0, ring=deque([1.0, 2.0])), Quota(day=3, anchor=9))
    for position in range(len(raw)):
        assert parse(raw[:position] + bytes([raw[position] ^ 4]) + raw[position + 1 :], BOOT) is None
