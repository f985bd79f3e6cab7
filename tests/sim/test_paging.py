"""Tests of pages."""

from __future__ import annotations

import pytest

from alma_async.sim.answers import Page
from alma_async.sim.codes import Rejection


def test_a_page_is_asked_for() -> None:
    """Ten items are the default, a hundred the most, whatever is asked."""
    assert Page.asked({}) == Page(limit=10, offset=0)
    assert Page.asked({"limit": "0", "offset": "7"}) == Page(limit=0, offset=7)
    assert Page.asked({"limit": "1000"}) == Page(limit=100)


@pytest.mark.parametrize("value", ["-1", "ten", "1.5", "١٠"])
def test_nonsense_is_rejected(value: str) -> None:
    """What is no number in plain digits is an error, for both parameters."""
    for name in ("limit", "offset"):
        with pytest.raises(Rejection) as rejected:
            Page.asked({name: value})
        assert rejected.value.code == "40166410"


def test_an_empty_page_has_no_array() -> None:
    """The count stays, the key of the array goes."""
    assert Page().envelope("portfolio", [], total=3) == {"total_record_count": 3}
    assert Page().envelope("portfolio", [{"id": "1"}], total=3) == {
        "portfolio": [{"id": "1"}],
        "total_record_count": 3,
    }
