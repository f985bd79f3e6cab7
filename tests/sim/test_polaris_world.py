"""Tests of the record sets of the simulated Polaris."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async.sim.polaris_world import Denied, PolarisWorld, Staff

# The page's own example, both ways.
ASKED = {
    "Name": "My record set",
    "ObjectTypeID": 1,
    "CreatorID": 1,
    "ModifierID": 1,
    "OrganizationOwnerID": 3,
    "CreationDate": "",
    "ModificationDate": "",
    "Note": "Creating My Record Set",
    "Records": [275071, 275071],
}
ANSWERED = {
    "RecordSetId": 36928,
    "NumberOfRecordsAdded": 1,
    "NumberOfRecordsRemoved": 0,
    "NumberOfRecords": 0,
    "Warnings": ["Duplicate id 275071."],
}
JO = Staff(user_id=923, name="jo")


def rejected(world: PolarisWorld, sent: Any, *, staff: Staff = JO) -> Denied:
    with pytest.raises(Denied) as caught:
        world.create(staff, sent, now=0.0)
    assert world.record_sets == {}
    return caught.value


def test_the_documented_example() -> None:
    """The request of the page gets the answer of the page, and the set holds one record although the answer says 0."""
    world = PolarisWorld()
    assert world.create(JO, ASKED, now=0.0) == ANSWERED
    got = world.get(JO, 36928)
    assert (got["RecordSetID"], got["NumberOfRecords"], got["CreatorID"]) == (36928, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"Name": None},
        {"Name": " "},
        {"ObjectTypeID": 4},
        {"ObjectTypeID": None},
        {"Records": [0]},
        {"Records": ["1"]},
        {"Records": [2**31]},
        {"Records": 5},
        {"OrganizationOwnerID": "3"},
        {"OrganizationOwnerID": 4711},
        {"ObjectTypeID": 107, "OrganizationOwnerID": 0},
        {"ObjectTypeID": 107, "OrganizationOwnerID": None},
    ],
)
def test_what_is_rejected(change: dict[str, Any]) -> None:
    """Each rule of the page is kept with 400, and nothing is made."""
    assert rejected(PolarisWorld(), ASKED | change).status == 400
    assert rejected(PolarisWorld(), [1]).status == 400


def test_owners() -> None:
    """An organization owns it if it is named; else whoever is logged in made it and owns it."""
    world = PolarisWorld()
    world.create(JO, {"Name": "a", "ObjectTypeID": 2}, now=0.0)
    world.create(JO, {"Name": "b", "ObjectTypeID": 107, "OrganizationOwnerID": 5}, now=0.0)
    assert [world.owner(one)["OrganizationOwnerID"] for one in (36928, 36929)] == [0, 5]
    assert [world.owner(one)["CreatorID"] for one in (36928, 36929)] == [923, 923]
    assert world.owner(36928)["CreationDate"].startswith("0001-01-01")


def test_permissions() -> None:
    """Who may not create or read is rejected with the page's words; whose a set is may be asked all the same."""
    world = PolarisWorld()
    denied = rejected(world, ASKED, staff=Staff(user_id=1, may_create=False))
    assert (denied.status, str(denied)) == (403, "Permission(s) not granted.")
    world.create(JO, ASKED, now=0.0)
    with pytest.raises(Denied, match="not granted"):
        world.records(Staff(user_id=1, may_read=False), 36928, start=0, count=0)
    assert world.owner(36928)["RecordSetID"] == 36928


def test_pages() -> None:
    """Pages count from 0, a count of 0 is everything, and beyond the end there is nothing."""
    world = PolarisWorld()
    world.create(JO, {"Name": "a", "ObjectTypeID": 27, "Records": [*range(1, 11)]}, now=0.0)

    def page(start: int, count: int) -> list[int]:
        return [one["RecordID"] for one in world.records(JO, 36928, start=start, count=count)["Records"]]

    assert page(0, 4) == [1, 2, 3, 4]
    assert page(8, 4) == [9, 10]
    assert page(3, 0) == [4, 5, 6, 7, 8, 9, 10]
    assert page(10, 4) == []


def test_unknown_records_are_left_out_with_a_warning() -> None:
    """Ids that do not exist are not added; a set that is not there is not found."""
    world = PolarisWorld(known={1})
    answer = world.create(JO, {"Name": "a", "ObjectTypeID": 2, "Records": [1, 2]}, now=0.0)
    assert (answer["NumberOfRecordsAdded"], len(answer["Warnings"])) == (1, 1)
    with pytest.raises(Denied) as caught:
        world.get(JO, 5)
    assert caught.value.status == 404
    assert "StackTrace" in caught.value.members
