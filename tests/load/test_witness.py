"""What an answer tells of the object: all of it, or too little to compare."""

from __future__ import annotations

import pytest

from alma_async.alma.models.electronic import Portfolio
from alma_async.load.witness import is_whole
from alma_async.wire.codec import structure

WHOLE = {
    "id": "53",
    "linking_details": {"url_type": {"value": "static"}},
    "coverage_details": {"coverage_in_use": {"value": "0"}},
}


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (WHOLE, True),
        ({"id": "53", "availability": {"value": "11"}}, False),
        (WHOLE | {"linking_details": None}, False),
        (WHOLE | {"coverage_details": {}}, False),
    ],
)
def test_a_shortened_answer_is_known(answer, whole):
    """An answer without linking or coverage, as list items are, is no ground to say what the portfolio lacks."""
    assert is_whole(structure(answer, Portfolio)) is whole
