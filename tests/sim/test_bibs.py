"""Tests of the bib records, and of how they are answered, one and many in a call."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from alma_async import sim
from alma_async.sim.bibs import Bib, Bibs
from tests.sim.calling import calling

BIBS = "/almaws/v1/bibs"


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


def known(*numbers: int) -> sim.World:
    """A world in which only these titles are known."""
    world = sim.World.demo()
    for n in numbers:
        world.add_bib(
            f"99{n:06}",
            f"Title {n}",
            issn="1234-5679",
            isbns=("0847805972 :", "1929355734 (pbk.)"),
            cluster_issns=("2049-3630",),
            cancelled=("0378-5955", "9780000000002"),
            other_forms=("0317-8471", "0060230754 (lib. bdg.)"),
            linked="9938" if n % 2 else "",
        )
    return world


async def test_many_records_come_in_another_order_and_without_what_is_unknown() -> None:
    """As recorded: never in the order asked, unknown ids left out, one that comes twice once."""
    async with calling(known(1, 2, 3), require_known_bibs=True) as call:
        told = (
            await call("GET", f"{BIBS}?mms_id=99000001,99000002,99000009,99000003,99000001&view=brief")
        ).json
        assert [one["mms_id"] for one in told["bib"]] == ["99000003", "99000002", "99000001"]
        assert told["total_record_count"] == 3
        alone = await call("GET", f"{BIBS}?mms_id=99000009")
        assert (alone.status, alone.json) == (200, {"bib": [], "total_record_count": 0})


async def test_the_total_of_many_may_be_null() -> None:
    """It was recorded so."""
    async with calling(known(1), totals_of_bibs=False) as call:
        told = (await call("GET", f"{BIBS}?mms_id=99000001")).json
        assert (len(told["bib"]), told["total_record_count"]) == (1, None)


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ("99000001,banana", "402204"),
        ("99000001,", "402204"),
        ("99000001,٣", "402204"),
        (",".join(f"99{n:06}" for n in range(101)), "402203"),
        ("", "402203"),
    ],
)
async def test_what_rejects_the_whole_call(ids: str, code: str) -> None:
    """One id that is no number, or more ids than 100: nothing is answered of the others."""
    async with calling(known(1)) as call:
        told = await call("GET", f"{BIBS}?mms_id={ids}")
        assert (told.status, told.code) == (400, code)


async def test_a_hundred_are_answered() -> None:
    """The documented limit."""
    async with calling() as call:
        told = await call("GET", f"{BIBS}?mms_id={','.join(f'99{n:06}' for n in range(100))}")
        assert len(told.json["bib"]) == 100


async def test_fewer_may_be_accepted() -> None:
    """What an institution takes is a switch: more reject the call."""
    async with calling(bibs_a_call=2) as call:
        assert len((await call("GET", f"{BIBS}?mms_id=99000001,99000002")).json["bib"]) == 2
        assert (await call("GET", f"{BIBS}?mms_id=99000001,99000002,99000003")).code == "402203"


def fields(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Tag, code and value of each subfield of the one record in ``anies``."""
    (text,) = record["anies"]
    assert text.startswith('<?xml version="1.0" encoding="UTF-16"?><record>')
    return [
        (str(field.get("tag")), str(part.get("code")), str(part.text))
        for field in ET.fromstring(text.partition("?>")[2]).iter("datafield")
        for part in field.iter("subfield")
    ]


async def test_identifiers_stand_in_the_record_and_one_of_each_beside_it() -> None:
    """``isbn`` is the last with its qualifier; all of them, cancelled ones and those of other forms are in the MARCXML."""
    async with calling(known(1)) as call:
        whole = (await call("GET", f"{BIBS}/99000001")).json
        (listed,) = (await call("GET", f"{BIBS}?mms_id=99000001")).json["bib"]
        brief = (await call("GET", f"{BIBS}/99000001?view=brief")).json
        assert (whole["issn"], whole["isbn"]) == ("1234-5679", "1929355734 (pbk.)")
        assert fields(whole) == fields(listed)
        assert fields(whole) == [
            ("020", "a", "0847805972 :"),
            ("020", "a", "1929355734 (pbk.)"),
            ("020", "z", "9780000000002"),
            ("022", "a", "1234-5679"),
            ("022", "y", "0378-5955"),
            ("023", "a", "2049-3630"),
            ("245", "a", "Title 1"),
            ("776", "i", "Other form:"),
            ("776", "t", "Title 1"),
            ("776", "x", "0317-8471"),
            ("776", "i", "Other form:"),
            ("776", "t", "Title 1"),
            ("776", "z", "0060230754 (lib. bdg.)"),
        ]
        assert "anies" not in brief
        assert {name: value for name, value in whole.items() if name != "anies"} == brief
        assert whole["linked_record_id"] == {"value": "9938", "type": "CZ"}
        assert whole["suppress_from_publishing"] == "false"


async def test_one_record_that_is_not_there() -> None:
    """Recorded: its path is rejected, where the list of many would be empty."""
    async with calling(known(1), require_known_bibs=True) as call:
        told = await call("GET", f"{BIBS}/99000002")
        assert (told.status, told.code) == (400, "402203")


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_key_without_the_right_reads_none(status: int) -> None:
    """Under each status that was reported."""
    async with calling(known(1), areas={"electronic"}, denied_status=status) as call:
        told = await call("GET", f"{BIBS}?mms_id=99000001")
        assert (told.status, b"UNAUTHORIZED" in told.body) == (status, True)


async def test_large_answers_are_slow_and_long_addresses_do_not_pass() -> None:
    """Each record takes its time; a proxy rejects what is too long with a page of its own, and Alma does not count it."""
    async with calling(seconds_a_bib=0.5, longest_url=200) as call:
        before = call.server.clock()
        assert (await call("GET", f"{BIBS}?mms_id=99000001,99000002")).status == 200
        assert call.server.clock() - before == pytest.approx(1.0, abs=0.1)
        counted = len(call.world.tally.received)
        told = await call("GET", f"{BIBS}?mms_id={','.join(f'99{n:06}' for n in range(20))}")
        assert (told.status, told.body[:6]) == (414, b"<html>")
        assert len(call.world.tally.received) == counted
