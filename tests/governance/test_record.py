"""State to bytes and back."""

from __future__ import annotations

from array import array

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._governance.file_budget import DAY_AT, SIZE, dump_day, dump_pace, parse_day, parse_pace
from alma_async._governance.quota import HOURS, Quota
from alma_async._governance.rate import Pace
from tests.governance.examples import MANY

BOOT = b"0123456789abcdef"
_counts = st.integers(-(2**62), 2**62)
_times = st.floats(-1e12, 1e12)


@MANY
@given(
    pace=st.builds(
        lambda tat, held, spent, gaps: Pace(tat, held, spent, array("d", sorted(tat - gap for gap in gaps))),
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
        st.floats(0, 1e6).map(lambda off: (-1.0, off) * (HOURS // 2)),
    ),
)
def test_what_is_written_is_read(pace: Pace, quota: Quota) -> None:
    """Every state comes back as it was, in a bounded number of bytes."""
    raw, day = dump_pace(BOOT, pace), dump_day(quota)
    read = parse_pace(raw, BOOT)
    assert read is not None
    assert read[0] is not None
    assert attrs.astuple(read[0]) == attrs.astuple(pace)
    assert read[1] == pace.spent
    known = parse_day(day)
    assert known is not None
    assert attrs.astuple(known) == attrs.astuple(quota)
    assert len(raw) <= DAY_AT
    assert len(day) == SIZE - DAY_AT
    assert parse_pace(raw + b"\0" * 100, BOOT) is not None


def test_of_another_boot_only_the_count_is_read() -> None:
    """The clock of another boot says nothing; the count of calls does."""
    assert parse_pace(dump_pace(b"x" * 16, Pace(tat=5.0, spent=7)), BOOT) == (None, 7)


def test_a_long_ring_is_cut_to_its_end() -> None:
    """Of more stamps than a record has room for the newest are kept."""
    pace = Pace(tat=1000.0, ring=array("d", range(1000)))
    raw = dump_pace(BOOT, pace)
    read = parse_pace(raw, BOOT)
    assert len(raw) == DAY_AT
    assert read is not None
    assert read[0] is not None
    assert list(read[0].ring) == list(range(488, 1000))


@MANY
@given(st.binary(max_size=4000))
def test_no_bytes_are_mistaken_for_a_record(raw: bytes) -> None:
    """Noise is no record, also behind our own magic."""
    for noise in (raw, b"alma-b3\n" + raw, (b"alma-b3\n" + raw).ljust(SIZE - DAY_AT, b"\0")):
        assert parse_pace(noise, BOOT) is None
        assert parse_day(noise) is None


@pytest.mark.parametrize(
    "pace",
    [Pace(tat=float("nan")), Pace(tat=1.0, ring=array("d", [9.0])), Pace(ring=array("d", [float("inf")]))],
)
def test_impossible_paces_are_no_record(pace: Pace) -> None:
    """A well-formed record with values that cannot be is not believed."""
    assert parse_pace(dump_pace(BOOT, pace), BOOT) is None


def test_an_impossible_day_is_no_record() -> None:
    """The same for the day's figures; an hour's need or spread that cannot be is only not learned."""
    assert parse_day(dump_day(Quota(seen_at=float("inf")))) is None
    hours = (float("nan"), -5.0, 7.0) * (HOURS // 3)
    read = parse_day(dump_day(Quota(profile=hours, spread=hours)))
    assert read is not None
    assert read.profile[:3] == read.spread[:3] == (-1.0, -1.0, 7.0)
    assert len(read.profile) == len(read.spread) == HOURS


def test_a_flipped_bit_is_no_record() -> None:
    """Any single damaged byte is found out."""
    raw = dump_pace(BOOT, Pace(tat=5.0, ring=array("d", [1.0, 2.0])))
    for position in range(len(raw)):
        assert parse_pace(flipped(raw, position), BOOT) is None
    day = dump_day(Quota(day=3, anchor=9))
    for position in range(len(day)):
        assert parse_day(flipped(day, position)) is None


def flipped(raw: bytes, position: int) -> bytes:
    """With one bit changed."""
    return raw[:position] + bytes([raw[position] ^ 4]) + raw[position + 1 :]
