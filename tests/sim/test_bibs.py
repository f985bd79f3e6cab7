"""Tests of the bib records."""

from __future__ import annotations

import pytest

from alma_async.sim.bibs import Bib, Bibs


def test_a_plausible_id_has_a_record() -> None:
    """The record is made on first use, the same for the same id, with a title."""
    bibs = Bibs()
    first = bibs.find("990001369460106986")
    assert first is not None
    assert first.title
    assert bibs.find("990001369460106986") is first
    again = Bibs().find("990001369460106986")
    assert again == first


@pytest.mark.parametrize(
    "mms_id", ["", "99", "9912345", "53123456789", "99" + "1" * 18, "99123456x", "99١٢٣٤٥٦٧"]
)
def test_other_ids_have_none(mms_id: str) -> None:
    """What cannot be an MMS id names no record."""
    assert Bibs().find(mms_id) is None


def test_only_known_ones_if_told() -> None:
    """Then a record has to be put in, and any id will do for it."""
    bibs = Bibs(known_only=True)
    assert bibs.find("99123456789") is None
    bibs.add(Bib("1", title="One"))
    assert bibs.find("1") == Bib("1", title="One")


def test_a_deleted_record_stays_gone() -> None:
    """It is not made again on the next use."""
    bibs = Bibs()
    assert bibs.find("99123456789")
    bibs.delete("99123456789")
    assert bibs.find("99123456789") is None
