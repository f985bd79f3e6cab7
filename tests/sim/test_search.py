"""Tests of the brief search and of coded parameters."""

from __future__ import annotations

import pytest

from alma_async.sim.queries import choice, search

from .rejecting import rejection

NAMES = ["Loaded on Monday", "loaded_on_Tuesday", "Unloaded", "Größe 3"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("", NAMES),
        ("name~loaded", NAMES[:2]),
        ("name~ON_loaded", NAMES[:2]),
        ("name~loaded monday", NAMES[:1]),
        ("name~load", []),
        ("name~größe", NAMES[3:]),
        ("name~", NAMES),
    ],
)
def test_words_are_found_whole(q: str, found: list[str]) -> None:
    """Every word must occur as a word, in any order and case; blanks may be underscores."""
    assert list(search(q, NAMES, {"name": lambda one: [one]})) == found


@pytest.mark.parametrize("q", ["loaded", "title~loaded", "~", "name=loaded"])
def test_a_query_needs_a_known_index(q: str) -> None:
    """Anything else is 60106."""
    assert rejection(list, search(q, NAMES, {"name": lambda one: [one]})) == "60106"


def test_a_choice_is_a_code_or_nothing() -> None:
    """What the table does not know is 40166410."""
    assert choice({}, "type", {"A": ""}) == choice({"type": ""}, "type", {"A": ""}) == ""
    assert choice({"type": "A"}, "type", {"A": ""}) == "A"
    assert rejection(choice, {"type": "a"}, "type", {"A": ""}) == "40166410"
