"""What a probe concludes from answers, under every combination of what they may be; and how a load empties fields by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any
from unittest.mock import patch

import pytest

from alma_async.load import trials
from alma_async.load.clearing import WAYS, as_known, emptied
from alma_async.load.trials import Trials, says_coverage, sent

COVERAGE = "local_date_coverage_parameters"
EFFECTS = ("cleared", "kept", "rejected")
TRIED = [(kind, way) for kind, ways in WAYS.items() for way in ways if way != "left_out"]


class Rejected(Exception):
    """What this Alma says to an empty value."""


def kind_at(name: str) -> str:
    return "coverage" if name == COVERAGE else "date" if name.endswith("_date") else "text"


def put(old: Any, body: Any, effects: Mapping[Any, str], *, keeps: bool) -> dict[str, Any]:
    """A PUT in a few lines: each empty value does what is said, and what is left out stays or goes."""
    new = dict(old) if keeps else {}
    for name, value in body.items():
        held, kind = old.get(name), kind_at(name)
        if isinstance(value, dict):
            new[name] = put(held or {}, value, effects, keeps=keeps) if "value" not in value else value
        elif value in (None, "", []) and held:
            effect = effects[
                kind, {None: "null", "": "blank"}.get(value or value, "") if value != [] else "empty_list"
            ]
            if effect == "rejected":
                raise Rejected
            new[name] = held if effect == "kept" else None
        else:
            new[name] = f"{value}Z" if kind == "date" and value and not value.endswith("Z") else value
    return new


def probed(effects: Mapping[Any, str], *, keeps: bool, post_coverage: bool) -> Trials:
    """All that is asked of this Alma."""
    held: dict[str, Any] = sent("991", ("61", "62"), "https://a.invalid/m", note="m", inactive="10")
    held |= {"id": "53", "interface": None, "authentication_note": ""}
    if not post_coverage:
        held["coverage_details"][COVERAGE] = []
    asked = Trials(held)
    assert says_coverage(held) == post_coverage
    calls = 0
    while (body := asked.body()) is not None:
        calls += 1
        assert calls <= 22
        assert body["public_note"] == "m"
        try:
            held = put(held, body, effects, keeps=keeps)
        except Rejected:
            asked.answered(held, rejected=True)
        else:
            asked.answered(held, rejected=False)
    return asked


def check_all() -> None:
    """It finds exactly what was set: every effect of every value, in both readings of PUT."""
    for n, some in enumerate(product(EFFECTS, repeat=len(TRIED))):
        effects = dict(zip(TRIED, some, strict=True))
        for keeps in (False, True):
            asked = probed(effects, keeps=keeps, post_coverage=bool(n % 2) != keeps)
            left_out = "kept" if keeps else "cleared"
            assert asked.put == ("merge" if keeps else "replace")
            assert asked.effects == {
                kind: {way: left_out if way == "left_out" else effects[kind, way] for way in ways}
                for kind, ways in WAYS.items()
            }


def test_it_finds_what_was_set() -> None:
    """4,374 institutions."""
    check_all()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_TRIALS", tuple(one for one in trials._TRIALS if one != ("coverage", "blank"))),
        ("_says", lambda portfolio, kind: kind != "date" and _says(portfolio, kind)),
        (
            "emptied",
            lambda portfolio, name, way: _emptied(portfolio, name, "null" if way == "blank" else way),
        ),
    ],
)
def test_planted_errors_are_found(name: str, wrong: Any) -> None:
    """Each makes it find something else somewhere."""
    with patch.object(trials, name, wrong), pytest.raises(AssertionError):
        check_all()


_says: Callable[..., bool] = trials._says
_emptied: Callable[..., Any] = emptied


def test_what_cannot_be_set_is_not_concluded_from() -> None:
    """An Alma that takes no date: the rest is found out, of dates nothing is said, and every PUT of a date is rejected."""
    held: dict[str, Any] = sent("991", ("61", "62"), "https://a.invalid/m", note="m", inactive="10")
    asked = Trials(held)
    effects = dict.fromkeys(TRIED, "cleared")
    while (body := asked.body()) is not None:
        if body.get("expected_activation_date"):
            asked.answered(held, rejected=True)
        else:
            held = put(held, body, effects, keeps=False)
            asked.answered(held, rejected=False)
    assert set(asked.effects) == {"text", "coverage"}
    assert asked.put == "replace"


BEFORE = {
    "public_note": "a note",
    "activation_date": "2024-01-01Z",
    "library": {"value": "L", "desc": "a library"},
    "linking_details": {"dynamic_url": "u", "proxy": "p"},
    "coverage_details": {
        COVERAGE: [{"from_year": "1999"}],
        "local_embargo_information": {"number_of_years": "2"},
    },
    "notes": [{"content": "n"}],
}
CLEARED: dict[str, Any] = {
    "public_note": "",
    "activation_date": None,
    "library": {"value": "", "desc": ""},
    "linking_details": {"dynamic_url": "", "proxy": "p"},
    "coverage_details": {COVERAGE: [], "local_embargo_information": {"number_of_years": ""}},
    "notes": [],
    "authentication_note": "",
}


def test_a_load_empties_by_what_is_known() -> None:
    """As usual where nothing better is known; else by the first value that is known to do it; codes and numbers as usual always."""
    usual: Any
    for kind, (usual, *others) in WAYS.items():
        for effects in ({}, {kind: {usual: "cleared", others[0]: "cleared"}}, {kind: {usual: "kept"}}):
            assert as_known(BEFORE, CLEARED, effects) == CLEARED  # type: ignore[arg-type]
        assert as_known(BEFORE, CLEARED, {kind: dict.fromkeys(WAYS[kind], "kept")}) == CLEARED
    known: Any = {
        "text": {"blank": "kept", "null": "cleared"},
        "date": {"null": "rejected", "blank": "cleared"},
        "coverage": {"empty_list": "kept", "null": "kept", "blank": "rejected", "left_out": "cleared"},
    }
    assert as_known(BEFORE, CLEARED, known) == {
        **CLEARED,
        "public_note": None,
        "activation_date": "",
        "linking_details": {"dynamic_url": None, "proxy": "p"},
        "coverage_details": {"local_embargo_information": {"number_of_years": ""}},
    }
    assert as_known(BEFORE, BEFORE, known) == BEFORE
    assert as_known({}, CLEARED, known) == CLEARED
