"""What a call is given: of the right class, kind and choice, or refused by its name before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async import AlmaError, AlmaSet, ElectronicCollection, ElectronicService, InvalidRequest, Portfolio
from alma_async._governance.file_budget import MachineBudget
from alma_async.settings import shown
from alma_async.webhooks import challenge_response, parse_event, verify_signature
from tests.alma.test_sets import a_set
from tests.conftest import institution
from tests.hostile import answer, hostile

KINDS = (AlmaSet, ElectronicCollection, ElectronicService, Portfolio)
WRITES = {
    "sets.create": (AlmaSet, lambda c, one: c.sets.create(one)),
    "sets.create_from_logical": (AlmaSet, lambda c, one: c.sets.create_from_logical(one, "1")),
    "sets.create_from_import": (AlmaSet, lambda c, one: c.sets.create_from_import(one, "1", "ALL")),
    "sets.create_filtered": (AlmaSet, lambda c, one: c.sets.create_filtered(one, "1", "rule")),
    "sets.create_in_network": (AlmaSet, lambda c, one: c.sets.create_in_network(one, "1")),
    "sets.combine": (AlmaSet, lambda c, one: c.sets.combine(one, "AND", "1", "2")),
    "sets.update": (AlmaSet, lambda c, one: c.sets.update(one, replace=True)),
    "collections.create": (ElectronicCollection, lambda c, one: c.electronic.collections.create(one)),
    "collections.update": (
        ElectronicCollection,
        lambda c, one: c.electronic.collections.update(one, replace=True),
    ),
    "services.create": (ElectronicService, lambda c, one: c.electronic.services.create("1", one)),
    "services.update": (
        ElectronicService,
        lambda c, one: c.electronic.services.update("1", one, replace=True),
    ),
    "portfolios.create": (Portfolio, lambda c, one: c.electronic.portfolios.create("1", "2", one)),
    "portfolios.update": (
        Portfolio,
        lambda c, one: c.electronic.portfolios.update("1", "2", one, replace=True),
    ),
}
OTHERS: list[Any] = [None, " ", "x", {"name": "x"}, 5, [], AlmaSet, *(kind(id="61") for kind in KINDS)]


@pytest.mark.parametrize("write", WRITES)
async def test_an_object_of_another_class_is_never_sent(write):
    """Every create and update refuses whatever is not of its class, naming that class and what it was given."""
    kind, call = WRITES[write]
    async with hostile(lambda line: answer(b'{"id": "61"}')) as (held, alma):
        for other in OTHERS:
            if isinstance(other, kind):
                continue
            with pytest.raises(InvalidRequest, match=rf"must be {kind.__name__}") as caught:
                await call(alma, other)
            assert shown(other) in str(caught.value)
        got = await alma.electronic.services.get("5", "61")
        if kind is not ElectronicService:
            with pytest.raises(InvalidRequest, match="ElectronicService"):
                await call(alma, got)
        assert len(held.lines) == 1


@pytest.mark.parametrize("name", [" ", "\t", "\u3000 \n"])
async def test_a_name_of_blanks_is_no_name(name):
    """What is made new gets a name that people can see."""
    async with institution() as (server, alma):
        for call in (
            alma.sets.create(a_set(name)),
            alma.sets.create_in_network(a_set(name), "1"),
            alma.electronic.collections.create(ElectronicCollection(public_name=name)),
        ):
            with pytest.raises(InvalidRequest, match="consists of blanks"):
                await call
        assert server.world.tally.routes.total() == 0


class Strange:
    """An object that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __repr__


STRANGE: tuple[Any, ...] = (Strange(), print, b"x", 1.5, True, [], {})
CALLS = {
    "operator": (lambda c, x: c.sets.combine(a_set("a"), x, "1", "2"), (*STRANGE, "xor", "XOR", "", None)),
    "set1": (lambda c, x: c.sets.combine(a_set("a"), "AND", x, "2"), (*STRANGE, "", " ", None)),
    "from_logical_set": (lambda c, x: c.sets.create_from_logical(a_set("a"), x), (*STRANGE, "", None)),
    "population": (lambda c, x: c.sets.create_from_import(a_set("a"), "1", x), (*STRANGE, "", None)),
    "indication_rule": (lambda c, x: c.sets.create_filtered(a_set("a"), "1", x), (*STRANGE, "", None)),
    "bib": (lambda c, x: c.electronic.portfolios.delete("1", "2", "3", bib=x), (*STRANGE, "keep", None)),
    "ids": (lambda c, x: c.sets.add_members("1", x), (5, None, "12", b"12", print)),
    "dry_run": (lambda c, x: c.sets.create(a_set("a"), dry_run=x), ("", None, 1, "no")),
    "fail_on_invalid_id": (
        lambda c, x: c.sets.add_members("1", ["2"], fail_on_invalid_id=x),
        ("", None, 0, "no"),
    ),
    "replace": (lambda c, x: c.sets.update(AlmaSet(id="1"), replace=x), ("", None, 1, "no")),
    "timeout": (lambda c, x: c.sets.wait_until_filled("1", timeout=x), ("5", float("nan"), -1, True, [])),
    "expected": (lambda c, x: c.sets.wait_until_filled("1", expected=x), ("5", 1.5, -1, True, [])),
    "q": (lambda c, x: c.sets.list(x).all(), STRANGE),
    "set_type": (lambda c, x: c.sets.list(set_type=x).all(), STRANGE),
    "offset": (lambda c, x: c.sets.members("1", offset=x).all(), (*STRANGE, "", None, -1)),
    "profile_id": (lambda c, x: c.jobs.list(profile_id=x).all(), STRANGE),
    "a": (lambda c, x: c.request("GET", "/almaws/v1/x", params={"a": x}), STRANGE),
}


@pytest.mark.parametrize("name", CALLS)
async def test_an_argument_of_another_kind_is_refused_by_its_name(name):
    """Nothing is guessed from a strange value, and nothing is sent."""
    call, values = CALLS[name]
    async with institution() as (server, alma):
        for value in values:
            with pytest.raises(AlmaError, match=f"{name} must be "):
                await call(alma, value)
        assert server.world.tally.routes.total() == 0


SECRET = "k" * 40
PURE = {
    "secret": (lambda x: verify_signature(b"x", "sig", x), (None, 5, [])),
    "signed body": (lambda x: verify_signature(x, "sig", SECRET), (None, "x", 5)),
    "header": (lambda x: verify_signature(b"x", x, SECRET), (b"x", 5, [5], [b"x"], print)),
    "event": (parse_event, (None, "x", 5, {})),
    "challenge": (challenge_response, (None, b"challenge=x", 5)),
    "budget": (MachineBudget, (None, "x", 5)),
}


@pytest.mark.parametrize(("name", "value"), [(name, x) for name, (_, xs) in PURE.items() for x in xs])
def test_what_is_of_no_client_is_as_strict(name, value):
    """Webhooks and budgets refuse strange values as one of the library's errors."""
    with pytest.raises(AlmaError, match="must be "):
        PURE[name][0](value)


def test_a_budget_that_was_not_made_can_be_shown():
    """A traceback with locals asks for the repr of what failed midway."""
    assert "not made" in repr(object.__new__(MachineBudget))
