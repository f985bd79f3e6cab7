"""Tests of the queries of logical sets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE, World
from alma_async.sim.queries import parse

from .rejecting import rejection


def made(title: str, availability: str = "11", url: str = "") -> dict[str, Any]:
    """A portfolio as the world keeps it."""
    world = World.demo()
    world.add_bib("99123456", title, author="A. Author", issn="1234-5679")
    sent = {
        "resource_metadata": {"mms_id": {"value": "99123456"}},
        "availability": {"value": availability},
        "linking_details": {"static_url": url},
    }
    return world.portfolios.create(DEMO_COLLECTION, DEMO_SERVICE, sent, now=0.0)


@pytest.mark.parametrize(
    ("inner", "found"),
    [
        ('(title CONTAIN "music")', True),
        ('(title CONTAIN "MUSIC of")', True),
        ('(title CONTAIN "mus")', False),
        ('title CONTAIN "music"', True),
        ('(title EQUALS "Annals of Music")', True),
        ('(title EQUALS "Music")', False),
        ('(availability EQUALS "11") AND (title CONTAIN "law")', False),
        ('(availability EQUALS "10") OR (title CONTAIN "music")', True),
        ('NOT (title CONTAIN "law")', True),
        ('NOT (title CONTAIN "law") AND NOT (title CONTAIN "music")', False),
        ('(title CONTAIN "law") AND (title CONTAIN "law") OR (title CONTAIN "music")', True),
        ('(title CONTAIN "law") AND ((title CONTAIN "law") OR (title CONTAIN "music"))', False),
        ('(url CONTAIN "publisher.example")', True),
        (f'(collection EQUALS "{DEMO_COLLECTION}") AND (service EQUALS "{DEMO_SERVICE}")', True),
        ('(issn EQUALS "1234-5679") AND (author CONTAIN "author") AND (mms_id EQUALS "99123456")', True),
        ('(library EQUALS "") AND (material_type EQUALS "") AND (public_note EQUALS "")', True),
        ('(internal_description CONTAIN "x")', False),
    ],
)
def test_a_query_finds_what_it_says(inner: str, found: bool) -> None:
    """Words or whole values, joined by AND, OR and NOT in their usual order."""
    query = parse(f"PORTFOLIO where PORTFOLIO ({inner})")
    assert query.content == "PORTFOLIO"
    assert query.finds(made("Annals of Music", url="jkey=https://publisher.example/a")) is found


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "402270"),
        ("PORTFOLIO", "402270"),
        ('PORTFOLIO whose PORTFOLIO (title CONTAIN "a")', "402270"),
        ("PORTFOLIO where", "402270"),
        ('PORTFOLIO where ITEM (title CONTAIN "a")', "402269"),
        ("PORTFOLIO where PORTFOLIO ()", "402270"),
        ('PORTFOLIO where PORTFOLIO title CONTAIN "a"', "402270"),
        ('PORTFOLIO where PORTFOLIO (title CONTAIN "a"', "402270"),
        ('PORTFOLIO where PORTFOLIO (title CONTAIN "a)', "402270"),
        ("PORTFOLIO where PORTFOLIO (title CONTAIN a)", "402270"),
        ('PORTFOLIO where PORTFOLIO (title RESEMBLE "a")', "402270"),
        ('PORTFOLIO where PORTFOLIO (colour CONTAIN "a")', "402270"),
        ('PORTFOLIO where PORTFOLIO (title CONTAIN "a") extra', "402270"),
        ('PORTFOLIO where PORTFOLIO ((title CONTAIN "a") AND)', "402270"),
        ('PORTFOLIO where PORTFOLIO ("title" CONTAIN "a")', "402270"),
        ('PORTFOLIO where PORTFOLIO (title CONTAIN "a") ; drop', "402270"),
    ],
)
def test_what_is_no_query_is_rejected(text: str, code: str) -> None:
    """Two contents are 402269, everything else 402270."""
    assert rejection(parse, text) == code


def test_other_contents_find_nothing() -> None:
    """Their fields are not known here, so any may be asked for; the form must be right all the same."""
    query = parse('ITEM where ITEM ((barcode CONTAIN "3") OR NOT (colour EQUALS "red"))')
    assert query.content == "ITEM"
    assert rejection(parse, "ITEM where ITEM (barcode)") == "402270"


terms = st.recursive(
    st.sampled_from(["a", "b", "c"]).map(lambda word: (f'(title CONTAIN "{word}")', f"({word!r} in words)")),
    lambda inner: st.one_of(
        inner.map(lambda one: (f"NOT {one[0]}", f"(not {one[1]})")),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
            lambda parts: (
                f"({parts[0][0]} {parts[1]} {parts[2][0]})",
                f"({parts[0][1]} {parts[1].lower()} {parts[2][1]})",
            )
        ),
    ),
    max_leaves=6,
)


@given(terms, st.sets(st.sampled_from("abc")))
def test_brackets_mean_what_python_means(term: tuple[str, str], words: set[str]) -> None:
    """Nested to any depth, a query agrees with the same expression of Python's."""
    query, expression = term
    one = {"resource_metadata": {"title": " ".join(words)}}
    assert parse(f"PORTFOLIO where PORTFOLIO ({query})").finds(one) is eval(expression, {"words": words})
