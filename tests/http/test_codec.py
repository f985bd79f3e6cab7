"""The codec: hostile bytes, every form of every leaf, and the promise that nothing sent is lost."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alma_async._http.codec import (
    Model,
    checked,
    structure,
    structure_each,
    unstructure,
)
from alma_async._http.json_text import DEEPEST, LARGEST, MOST, _checked, dumps, loads
from alma_async.errors import BadAnswer, InvalidRequest

seeded = settings(derandomize=True, database=None, deadline=None, max_examples=100)


@attrs.define(repr=False, on_setattr=checked)
class Code(Model):
    _bare = "value"

    value: str | None = None
    desc: str | None = attrs.field(default=None, eq=False)


@attrs.define(kw_only=True, repr=False, on_setattr=checked)
class Thing(Model):
    id: str = ""
    text: str | None = None
    flag: bool | None = None
    count: int | None = None
    day: date | None = None
    at: datetime | None = None
    code: Code = attrs.field(factory=Code)
    codes: list[Code] = attrs.field(factory=list)
    words: list[str] = attrs.field(factory=list)
    either: str | Code | None = None
    source: str | None = None


@attrs.define(kw_only=True, repr=False, on_setattr=checked)
class Things(Model):
    thing: list[Thing] = attrs.field(factory=list)


# Bytes

HOSTILE = {
    "empty": b"",
    "blank": b" \r\n",
    "html": b"<html><body>login</body></html>",
    "truncated": b'{"id": "6',
    "trailing": b"{} {}",
    "trailing comma": b"[1,]",
    "nan": b'{"n": NaN}',
    "infinity": b"[-Infinity]",
    "overflow": b"[1e999]",
    "long integer": b"[" + b"9" * 5000 + b"]",
    "65 bits": b'{"id": 18446744073709551616}',
    "65 bits below zero": b'{"a": [{"id": -9223372036854775809}]}',
    "lone surrogate": b'"\\ud800"',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "latin-1": '"é"'.encode("latin-1"),
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "control character": b'"a\x00b"',
    "unclosed nesting": b"[" * 100_000,
    "closed nesting": b"[" * 100_000 + b"]" * 100_000,
    "nesting that orjson reads": b"[" * 900 + b"]" * 900,
    "nested objects": b'{"a":' * 100 + b"1" + b"}" * 100,
    "one level too deep": b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
    "too large": b'"' + b"a" * LARGEST + b'"',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes_are_a_bad_answer(body: bytes) -> None:
    """Whatever a server or a proxy sends, nothing but BadAnswer comes out, and its text stays short."""
    with pytest.raises(BadAnswer) as caught:
        loads(body)
    assert len(str(caught.value)) < 400


@given(st.binary(max_size=40))
@seeded
def test_random_bytes_are_read_or_refused(body: bytes) -> None:
    """No bytes at all make loads raise anything else, and what it reads can be written."""
    try:
        value = loads(body)
    except BadAnswer:
        return
    assert loads(dumps(value)) == value


def test_the_bounds_are_the_last_that_pass() -> None:
    """The deepest and the largest body allowed are read, so the refusals above are the bounds' own."""
    deep = loads(b"[" * DEEPEST + b"]" * DEEPEST)
    assert dumps(unstructure(structure({"unknown": deep}, Thing))) == dumps({"unknown": deep})
    assert len(loads(b'"' + b"a" * (LARGEST - 2) + b'"')) == LARGEST - 2
    assert loads(b"[18446744073709551615, -9223372036854775808]") == [2**64 - 1, -(2**63)]


numerals = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
nests = st.builds(
    lambda deep, left, right, inner: left * deep + inner + right * deep,
    st.integers(DEEPEST - 3, DEEPEST + 3),
    *(st.just(one) for one in ("[", "]")),
    numerals,
)


@given(st.lists(numerals | nests | st.just('"]]["') | st.just('"12e30"'), min_size=1, max_size=4))
@seeded
def test_what_the_text_lets_pass_the_walk_would_too(members: list[str]) -> None:
    """A body that is not walked, since its text looks plain, holds nothing that the walk would refuse."""
    body = f"[{', '.join(members)}]".encode()
    try:
        value = orjson.loads(body)
    except ValueError:
        return
    try:
        _checked(value)
    except ValueError:
        with pytest.raises(BadAnswer):
            loads(body)
    else:
        assert loads(body) == value


@pytest.mark.parametrize(
    "body", [b"[9223372036854775808e0]", b"[1e19]", b"[1E+19]", b"[12345678901234567890.5]", b"[0.5e20]"]
)
def test_a_number_of_more_than_64_bits_is_seen_in_every_spelling(body: bytes) -> None:
    """Digits, point and exponent are told from the text alone, so each way to write a long number must show there."""
    with pytest.raises(BadAnswer, match="more than 64 bits"):
        loads(body)


def test_a_byte_order_mark_is_skipped_and_a_repeated_member_counts_last() -> None:
    """Two lenient readings, written down so that they stay what they are."""
    assert loads(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize("value", [{1: 2}, 2**64, {"a": object()}, "\ud800"])
def test_what_json_cannot_hold_is_refused_as_our_fault(value: Any) -> None:
    """A value that cannot be written is the caller's mistake, said before anything is sent."""
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        dumps(value)


# Leaves


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("text", "a", "a"),
        ("text", "", ""),
        ("text", 100, "100"),
        ("text", 1.5, "1.5"),
        ("text", True, "true"),
        ("text", None, None),
        ("id", "61", "61"),
        ("id", 61, "61"),
        ("id", "", ""),
        ("id", None, ""),
        ("flag", True, True),
        ("flag", "false", False),
        ("flag", "true", True),
        ("flag", "", None),
        ("count", 55900, 55900),
        ("count", "100", 100),
        ("count", "-1", -1),
        ("count", "", None),
        ("day", "2010-09-17Z", date(2010, 9, 17)),
        ("day", "2010-09-17", date(2010, 9, 17)),
        ("day", "2010-09-17+02:00", date(2010, 9, 17)),
        ("day", "", None),
        ("at", "2025-10-05T09:38:16.058Z", datetime(2025, 10, 5, 9, 38, 16, 58_000, tzinfo=UTC)),
        ("at", "2025-10-05T11:38:16+02:00", datetime(2025, 10, 5, 9, 38, 16, tzinfo=UTC)),
        ("at", "", None),
        ("code", None, Code()),
        ("code", "", Code()),
        ("code", {}, Code()),
        ("code", {"value": "11"}, Code("11")),
        ("codes", None, []),
        ("codes", "", []),
        ("codes", {}, []),
        ("codes", {"value": "1"}, [Code("1")]),
        ("codes", [None, {"value": "1"}], [Code(), Code("1")]),
        ("words", "a", ["a"]),
        ("words", [1, "b"], ["1", "b"]),
        ("either", "05", "05"),
        ("either", 5, "5"),
        ("either", {"value": "05"}, Code("05")),
        ("either", None, None),
    ],
)
def test_each_form_reads_as_one_value_and_is_written_as_it_came(name: str, raw: Any, value: Any) -> None:
    """Every form a member was seen in has one meaning, and an untouched one keeps its form."""
    thing = structure({name: raw}, Thing)
    assert getattr(thing, name) == value
    assert type(getattr(thing, name)) is type(value)
    assert dumps(unstructure(thing)) == dumps({name: raw})


ODD: list[tuple[str, Any, str]] = [
    ("text", {}, "Thing.text: {} is not a text"),
    ("text", ["a"], "Thing.text: ['a'] is not a text"),
    ("flag", "True", "Thing.flag: 'True' is not a boolean"),
    ("flag", 1, "Thing.flag: 1 is not a boolean"),
    ("count", "1_000", "Thing.count: '1_000' is not an integer"),
    ("count", "٣", "Thing.count: '٣' is not an integer"),
    ("count", "9" * 19, "Thing.count: '9999999999999999999' is not an integer"),
    ("count", "9" * 5000, "Thing.count: '999999999999...9999999999999' is not an integer"),
    ("count", 12.0, "Thing.count: 12.0 is not an integer"),
    ("count", True, "Thing.count: True is not an integer"),
    ("day", "13/45", "Thing.day: '13/45' is not a date"),
    ("day", "2023-02-29", "Thing.day: '2023-02-29' is not a date"),
    ("day", "2023-02-28T00:00:00Z", "Thing.day: '2023-02-28T00:00:00Z' is not a date"),
    ("day", 20230228, "Thing.day: 20230228 is not a date"),
    ("day", {"value": "2023"}, "Thing.day: {'value': '2023'} is not a date"),
    ("at", "2023-02-28", "Thing.at: '2023-02-28' is not a date and time with a zone"),
    ("at", "2023-02-28T10:00:00", "Thing.at: '2023-02-28T10:00:00' is not a date and time with a zone"),
    ("at", "2023-02-28T25:00:00Z", "Thing.at: '2023-02-28T25:00:00Z' is not a date and time with a zone"),
    ("code", "11", "Code: '11' is not an object"),
    ("code", 11, "Code: 11 is not an object"),
    ("code", ["11"], "Code: ['11'] is not an object"),
    ("code", {"value": {"a": 1}}, "Code.value: {'a': 1} is not a text"),
    ("codes", "11", "Code: '11' is not an object"),
    ("codes", [{}, 7], "Code: 7 is not an object"),
    ("codes", [{"value": []}], "Code.value: [] is not a text"),
    ("words", [{}, "a"], "Thing.words: {} is not a text"),
    ("either", [], "Thing.either: [] is not a text"),
]


@pytest.mark.parametrize(("name", "raw", "told"), ODD)
def test_an_odd_member_stays_as_it_came(name: str, raw: Any, told: str, caplog: Any) -> None:
    """It makes nothing else unreadable, is named in one warning, and is written back as it came, through copies too."""
    came = (
        {"id": "61", name: raw, "unknown": [raw], "text": "a"} if name != "text" else {"id": "61", name: raw}
    )
    thing = structure(came, Thing)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [f"{told} (id 61)"]
    for same in (
        thing,
        attrs.evolve(thing),
        copy.copy(thing),
        copy.deepcopy(thing),
        pickle.loads(pickle.dumps(thing)),
    ):
        assert dumps(unstructure(same)) == dumps(came)
    thing.source = "changed"
    assert unstructure(thing) == {**came, "source": "changed"}


@pytest.mark.parametrize(
    ("name", "raw", "told"), [odd for odd in ODD if odd[0] in ("flag", "count", "day", "at")]
)
def test_an_odd_leaf_is_its_own_value(name: str, raw: Any, told: str) -> None:
    """What could not be read can be looked at and set again, and is replaced or cleared like any other value."""
    thing = structure({name: raw}, Thing)
    assert getattr(thing, name) == raw
    setattr(thing, name, getattr(thing, name))
    assert unstructure(thing) == {name: raw}
    setattr(thing, name, None)
    assert not unstructure(thing)[name]
    value, form = CHANGES[name][0](thing), CHANGES[name][1]
    setattr(thing, name, value)
    assert unstructure(thing) == {name: value if form is None else form}


def test_an_odd_object_is_an_empty_one_or_what_its_text_says() -> None:
    """Objects and lists are never anything else: what stood in the place of one needs no guard, and a change replaces it."""
    thing = structure({"code": "11", "codes": "a", "words": {"a": 1}}, Thing)
    assert (thing.code, thing.codes, thing.words) == (Code("11"), [Code("a")], [])
    thing.code.value = "10"
    assert unstructure(thing) == {"code": {"value": "10"}, "codes": "a", "words": {"a": 1}}
    assert structure({"code": ["11"]}, Thing).code == Code()


def test_one_warning_tells_of_all_and_names_five(caplog: Any) -> None:
    """An answer full of rubbish is one line that a person can read."""
    structure({"thing": [{"day": "x"}] * 50}, Things)
    (record,) = caplog.records
    assert record.getMessage().count("Thing.day: 'x' is not a date") == 5
    assert record.getMessage().endswith("; and 45 more")


@pytest.mark.parametrize("raw", [{"id": {}}, {"id": ["61"]}, None, "61", 61, []])
def test_only_an_item_that_nothing_identifies_is_left_out(raw: Any, caplog: Any) -> None:
    """Of a list, one whose id cannot be read, or that is no object, costs itself alone, and the warning says so."""
    assert [thing.id for thing in structure_each([{"id": "1"}, raw, {"id": 2}], Thing)] == ["1", "2"]
    (record,) = caplog.records
    assert "left out" in record.getMessage()
    with pytest.raises(BadAnswer):
        structure(raw, Thing)


@pytest.mark.parametrize("raw", [None, "", "text", 1, [], [{}]])
def test_an_answer_that_is_no_object_is_refused(raw: Any) -> None:
    """Null or text in place of a member is tolerated, in place of the whole object it is not."""
    with pytest.raises(BadAnswer, match="is not an object"):
        structure(raw, Thing)


def compiled_for(names: str) -> int:
    """How often Python compiles while a class is read for the first time that holds one other class under these names."""
    inner = attrs.make_class(
        "Inner", {"value": attrs.field(default=None, type=str)}, bases=(Model,), slots=True
    )
    fields = {name: attrs.field(factory=inner, type=inner) for name in names}
    outer = attrs.make_class("Outer", fields, bases=(Model,), slots=True)
    seen = 0

    def watch(_: object, event: str, called: object) -> None:
        nonlocal seen
        seen += event == "c_call" and called is compile

    sys.setprofile(watch)
    try:
        structure({}, outer)
    finally:
        sys.setprofile(None)
    return seen


def test_a_class_is_compiled_once_however_many_fields_hold_it() -> None:
    """The code that reads a class is made once, since making it costs a thousand times as much as running it."""
    assert compiled_for("abcdef") == compiled_for("a") > 0


def test_a_list_is_structured_by_itself() -> None:
    """The items of a page can be read without its envelope."""
    assert structure([{"text": "a"}, {}], list[Thing]) == [Thing(text="a"), Thing()]


# Nothing is lost

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.integers(-(2**62), 2**62) | st.floats(-1e18, 1e18)
scalars = st.none() | st.booleans() | texts | numbers
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
text_forms = st.none() | st.booleans() | texts | numbers


def shuffled(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of the members and some unknown ones, in any order."""
    known = st.fixed_dictionaries({}, optional=members)
    unknown = st.dictionaries(texts.map("x_".__add__) | st.just("_source"), anything, max_size=3)
    return (
        st.tuples(known, unknown)
        .flatmap(lambda pair: st.permutations([*pair[0].items(), *pair[1].items()]))
        .map(dict)
    )


codes = shuffled({"value": text_forms, "desc": text_forms})
code_forms = st.none() | st.just("") | codes


@given(st.dictionaries(st.sampled_from([f.name for f in attrs.fields(Thing)]), anything, max_size=4))
@seeded
def test_any_json_reads_and_is_written_as_it_came(raw: dict[str, Any]) -> None:
    """Whatever stands in a member, the object is read and written back, unless it has no id that can be read."""
    try:
        thing = structure(raw, Thing)
    except BadAnswer:
        assert isinstance(raw["id"], (dict, list))
    else:
        assert dumps(unstructure(thing)) == dumps(raw)


days = (
    st.dates()
    .map(str)
    .flatmap(lambda day: st.sampled_from([day, f"{day}Z", f"{day}+02:00", f"{day}-11:30", "", None]))
)
moments = st.datetimes(timezones=st.just(UTC)).map(
    lambda at: at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
)
things = shuffled(
    {
        "id": text_forms,
        "text": text_forms,
        "flag": st.sampled_from([True, False, "true", "false", "", None]),
        "count": st.none() | st.just("") | st.integers(-9, 10**6) | st.integers(-9, 10**6).map(str),
        "day": days,
        "at": st.none() | st.just("") | moments,
        "code": code_forms,
        "codes": code_forms | st.lists(code_forms, max_size=3),
        "words": text_forms | st.lists(texts | numbers, max_size=3),
        "either": text_forms | codes,
        "source": text_forms,
    }
)


@given(things)
@seeded
def test_an_unchanged_object_is_written_as_it_came(raw: dict[str, Any]) -> None:
    """Unknown members, nulls, empties, odd forms and the order of members all survive, through copies too."""
    came = dumps(raw)
    thing = structure(loads(came), Thing)
    for same in (
        thing,
        attrs.evolve(thing),
        copy.copy(thing),
        copy.deepcopy(thing),
        pickle.loads(pickle.dumps(thing)),
    ):
        assert dumps(unstructure(same)) == came


CHANGES: dict[str, tuple[Callable[[Thing], Any], Any]] = {
    "id": (lambda _: "62", "62"),
    "text": (lambda _: "changed text", "changed text"),
    "flag": (lambda thing: not thing.flag, None),
    "count": (lambda _: -77, -77),
    "day": (lambda _: date(9998, 1, 2), "9998-01-02"),
    "at": (
        lambda _: datetime(9998, 1, 2, 5, tzinfo=timezone(timedelta(hours=2))),
        "9998-01-02T03:00:00.000Z",
    ),
    "code": (lambda _: Code("changed"), {"value": "changed"}),
    "codes": (lambda _: [Code("a"), Code("b", "B")], [{"value": "a"}, {"value": "b", "desc": "B"}]),
    "words": (lambda _: ["changed", "words"], ["changed", "words"]),
    "either": (lambda _: "changed text", "changed text"),
    "source": (lambda _: "changed text", "changed text"),
}


@given(things, st.sampled_from(sorted(CHANGES)))
@seeded
def test_a_change_changes_only_its_own_member(raw: dict[str, Any], name: str) -> None:
    """One assignment rewrites one member in its place, or appends it; every other byte stays."""
    thing = structure(raw, Thing)
    new, form = CHANGES[name][0](thing), CHANGES[name][1]
    setattr(thing, name, new)
    assert dumps(unstructure(thing)) == dumps({**raw, name: new if form is None else form})


@given(things)
@seeded
def test_a_change_inside_an_object_keeps_the_rest_of_it(raw: dict[str, Any]) -> None:
    """Members of a nested object that were not touched stay, whatever stood in its place."""
    thing = structure(raw, Thing)
    thing.code.value = "changed"
    assert dumps(unstructure(thing)) == dumps(
        {**raw, "code": {**(raw.get("code") or {}), "value": "changed"}}
    )


@given(things, st.sampled_from([field.name for field in attrs.fields(Thing) if field.name != "_source"]))
@seeded
def test_a_cleared_member_says_so_and_an_absent_one_stays_absent(raw: dict[str, Any], name: str) -> None:
    """Clearing writes "" over a text or number, null over a date or boolean, [] over a list, and adds nothing where nothing was."""
    thing = structure(raw, Thing)
    setattr(thing, name, getattr(Thing(), name))
    written = unstructure(thing)
    assert list(written) == list(raw)
    assert {other: said for other, said in written.items() if other != name} == {
        other: said for other, said in raw.items() if other != name
    }
    if name in raw:
        said, was = written[name], raw[name]
        assert (
            said == cleared(was)
            if name in ("code", "either") and isinstance(was, dict)
            else said in NOTHING[name]
        )
        assert said is not None or was is None or name in ("flag", "day", "at")


NOTHING: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("id", "text", "source", "either", "code"), (None, "", {})),
    **dict.fromkeys(("codes", "words"), (None, "", {}, [])),
    **dict.fromkeys(("flag", "count", "day", "at"), (None, "")),
}


def cleared(raw: Any) -> Any:
    """A code that says nothing any more; what is not declared goes by what it was."""
    if isinstance(raw, dict):
        declared = ("value", "desc")
        return {
            name: None if inner is None else "" if name in declared else cleared(inner)
            for name, inner in raw.items()
        }
    return [] if isinstance(raw, list) else "" if isinstance(raw, str) else None


@given(things)
@seeded
def test_what_was_written_reads_as_what_was_meant(raw: dict[str, Any]) -> None:
    """After every field changed at once, the written object reads back equal."""
    thing = structure(raw, Thing)
    for name, (new, _) in CHANGES.items():
        setattr(thing, name, new(thing))
    assert structure(loads(dumps(unstructure(thing))), Thing) == thing


def test_a_lone_object_keeps_its_form_until_it_has_company() -> None:
    """A single item that came without a list is written back without one; two make a list."""
    thing = structure({"codes": {"value": "1", "more": 0}}, Thing)
    thing.codes[0].value = "2"
    assert unstructure(thing) == {"codes": {"value": "2", "more": 0}}
    thing.codes.append(Code("3"))
    assert unstructure(thing) == {"codes": [{"value": "2", "more": 0}, {"value": "3"}]}


def test_items_keep_their_own_sources_when_they_move() -> None:
    """Reordering or removing items of a list takes their unknown members along."""
    thing = structure({"codes": [{"value": "1", "more": "a"}, None, {"value": "2", "more": "b"}]}, Thing)
    thing.codes = [thing.codes[2], thing.codes[0]]
    assert unstructure(thing) == {"codes": [{"value": "2", "more": "b"}, {"value": "1", "more": "a"}]}


def test_a_new_model_writes_what_is_set_in_the_order_of_its_class() -> None:
    """An object made by hand holds no nulls and no empty objects; "" and False are something."""
    thing = Thing(either=Code("05"), text="", flag=False, codes=[Code("1")])
    thing.code.desc = "set in place"
    expected = {
        "text": "",
        "flag": False,
        "code": {"desc": "set in place"},
        "codes": [{"value": "1"}],
        "either": {"value": "05"},
    }
    assert dumps(unstructure(thing)) == dumps(expected)
    assert unstructure(Thing()) == {}


def test_evolve_writes_the_change_over_the_source() -> None:
    """attrs.evolve makes a second object with the same past and leaves the first alone."""
    thing = structure({"unknown": 1, "text": "a"}, Thing)
    other = attrs.evolve(thing, text="b")
    assert (unstructure(thing), unstructure(other)) == (
        {"unknown": 1, "text": "a"},
        {"unknown": 1, "text": "b"},
    )


def test_what_is_handed_out_shares_nothing_with_the_model() -> None:
    """Scribbling over a written object does not change what the model writes next."""
    raw = {"unknown": {"deep": [1]}, "code": {}, "codes": {"value": "1"}, "words": ["a"]}
    thing = structure(raw, Thing)
    before = dumps(raw)
    written = unstructure(thing)
    written["unknown"]["deep"].append(2)
    written["new"] = 1
    written["code"]["value"] = written["codes"]["value"] = "x"
    written["words"].append("b")
    assert dumps(unstructure(thing)) == before


def test_undeclared_members_can_be_read_set_and_deleted() -> None:
    """What a class does not know is set beside it and written; a copy made before has its own; a declared name is refused."""
    thing = structure({"text": "a", "unknown": {"deep": [1]}, "gone": 1}, Thing)
    other = copy.copy(thing)
    thing.extra["new"] = {"value": "x"}
    thing.extra["unknown"]["deep"].append(2)
    del thing.extra["gone"]
    assert thing.extra == {"unknown": {"deep": [1, 2]}, "new": {"value": "x"}}
    assert unstructure(thing) == {"text": "a", "unknown": {"deep": [1, 2]}, "new": {"value": "x"}}
    assert set(other.extra) == {"unknown", "gone"}
    assert "text" not in thing.extra
    for refused in (lambda: thing.extra.update(text="b"), lambda: thing.extra.__setitem__("text", "b")):
        with pytest.raises(InvalidRequest, match="set the attribute"):
            refused()
    with pytest.raises(KeyError):
        del thing.extra["text"]
    fresh = Thing()
    fresh.extra["new"] = 1
    assert (unstructure(fresh), bool(fresh)) == ({"new": 1}, True)


def test_objects_go_to_json_and_back_in_public() -> None:
    """to_dict, to_json and from_dict are what reading and writing do, and share nothing."""
    raw = {"id": "61", "text": "é", "unknown": {"deep": [1]}, "code": None}
    thing = Thing.from_dict(raw)
    assert (thing.to_dict(), loads(thing.to_json().encode())) == (raw, raw)
    unknown: Any = raw["unknown"]
    unknown["deep"].append(2)
    thing.to_dict()["unknown"]["deep"].append(3)
    assert thing.extra == {"unknown": {"deep": [1]}}
    with pytest.raises(BadAnswer):
        Thing.from_dict([])  # type: ignore[arg-type]


WRONG: list[tuple[str, Any]] = [
    ("id", 61),
    ("id", None),
    ("text", 5),
    ("text", b"a"),
    ("flag", "true"),
    ("flag", 1),
    ("count", True),
    ("count", "5"),
    ("count", 5.0),
    ("day", "2026-01-01"),
    ("day", datetime(2026, 1, 1, tzinfo=UTC)),
    ("at", date(2026, 1, 1)),
    ("code", "11"),
    ("code", None),
    ("code", {"value": "11"}),
    ("codes", Code("1")),
    ("codes", ["1"]),
    ("codes", (Code("1"),)),
    ("words", "abc"),
    ("words", [1]),
    ("either", 5),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
@pytest.mark.parametrize("raw", [{}, {"id": "61", "text": "a", "code": {"value": "1"}, "day": "2025-01-01"}])
def test_a_value_of_the_wrong_kind_is_never_sent(name: str, value: Any, raw: Any) -> None:
    """It is refused where it is set, and, made or evolved with it, where the object is written; the field is named."""
    thing = structure(raw, Thing)
    named = rf"Thing\.{name} is (a|an) .*, not "
    with pytest.raises(InvalidRequest, match=named):
        setattr(thing, name, value)
    assert unstructure(thing) == raw
    for made in (Thing(**{name: value}), attrs.evolve(thing, **{name: value})):
        with pytest.raises(InvalidRequest, match=named):
            unstructure(made)


def test_a_moment_without_a_zone_is_refused() -> None:
    """Which hour it means cannot be known, so it is not sent."""
    with pytest.raises(InvalidRequest, match="has no time zone"):
        unstructure(Thing(at=datetime(2025, 1, 1)))


# The face of a model


def test_extra_holds_what_the_class_does_not_declare() -> None:
    """Undeclared members can be read, in their order, even one named like the private source."""
    assert list(structure({"b": 1, "text": "t", "_source": None, "a": {}}, Thing).extra.items()) == [
        ("b", 1),
        ("_source", None),
        ("a", {}),
    ]
    assert structure({"code": None}, Thing).code.extra == {}


@pytest.mark.parametrize(
    "raw", [{}, {"text": ""}, {"code": {"value": "", "desc": None}}, {"codes": [], "text": None}]
)
def test_a_model_that_says_nothing_is_false(raw: dict[str, Any]) -> None:
    """``if thing.code:`` asks whether there is one, whatever form Alma gave to nothing."""
    assert not structure(raw, Thing)


@pytest.mark.parametrize(
    "raw", [{"flag": False}, {"count": 0}, {"unknown": None}, {"codes": [{}]}, {"code": {"value": "0"}}]
)
def test_a_model_that_says_something_is_true(raw: dict[str, Any]) -> None:
    """False, zero and undeclared members are something."""
    assert structure(raw, Thing)


def test_a_model_shows_what_it_knows() -> None:
    """The repr of an object with fifty members names those that are there."""
    thing = Thing(text="", code=Code("11", "Available"))
    assert repr(thing) == "Thing(text='', code=Code(value='11', desc='Available'))"


def test_a_misspelt_field_is_an_error() -> None:
    """An assignment that Alma would never see does not pass in silence."""
    with pytest.raises(AttributeError):
        Thing().txet = "a"  # type: ignore[attr-defined]


_PARSED = """
import resource, sys
from alma_async.errors import BadAnswer
from alma_async._http.json_text import loads
unit = sys.argv[1].encode()
body = b"[" + unit * ((8 * 2**20 - 2) // len(unit) - 1) + unit.rstrip(b",") + b"]"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    loads(body)
except BadAnswer as error:
    assert "far too many values" in str(error), error
else:
    sys.exit("it was read")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in kilobytes there")
@pytest.mark.parametrize(
    "unit", ["[],", "{},", "0,", '"",', '{"":0},', "[[]],", '[{"a":[]}],', "null,", "1.5,"]
)
def test_a_text_of_far_too_many_values_is_not_parsed(unit: str) -> None:
    """8 MiB of nothing but small values take next to no memory: they are refused before any of them is made."""
    done = subprocess.run(
        [sys.executable, "-c", _PARSED, unit], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 8 * 1024


def test_as_many_values_as_are_read_are_read() -> None:
    """The bound is on values, not on bytes: the last that is allowed is read, the next is not."""
    most = MOST
    assert len(loads(b"[" + b"100," * (most - 2) + b"100]")) == most - 1
    with pytest.raises(BadAnswer, match="far too many"):
        loads(b"[" + b"100," * (most - 1) + b"100]")
    assert loads(b'["' + b"a, " * 200_000 + b'"]')


def test_what_did_not_come_is_made_when_it_is_asked_for() -> None:
    """A field that was not read is its default, one and the same from then on; nothing of it is written until it is set."""
    raw = {"text": "a"}
    read = structure(raw, Thing)
    assert unstructure(read) == raw
    for field in attrs.fields(Thing):
        if not field.name.startswith("_"):
            assert getattr(read, field.name) == getattr(Thing(text="a"), field.name)
            assert getattr(read, field.name) is getattr(read, field.name)
    assert unstructure(read) == raw
    for again in (copy.copy(structure(raw, Thing)), copy.deepcopy(structure(raw, Thing))):
        assert again == read == Thing(text="a")
    assert pickle.loads(pickle.dumps(structure(raw, Thing))) == read
    with pytest.raises(AttributeError, match="'Thing' object has no attribute 'nothing'"):
        _ = read.nothing  # type: ignore[attr-defined]
