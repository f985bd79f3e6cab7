"""Tests of portfolios on both of their paths, on the pure world."""

from __future__ import annotations

from typing import Any

import pytest

from alma_async.sim import DEMO_COLLECTION, DEMO_SERVICE, Config, World
from alma_async.sim.answers import Page
from alma_async.sim.codes import Rejection
from alma_async.sim.objects import natural_key

MMS = "991000000000001"
SENT: dict[str, Any] = {
    "resource_metadata": {"mms_id": {"value": MMS}},
    "availability": {"value": "11"},
    "material_type": {"value": "JOURNAL", "desc": "Nonsense"},
    "linking_details": {"url_type": {"value": "static"}, "static_url": "jkey=https://example.org/a"},
}
HERE = (DEMO_COLLECTION, DEMO_SERVICE)
NOW = 1_728_000_000.0

CODES: list[tuple[str, object, str]] = [
    ("availability", {"value": "12"}, "60161"),
    ("activation_date", "soon", "60165"),
    ("coverage_details", {"local_date_coverage_parameters": [{"from_year": "19xx"}]}, "60165"),
    ("coverage_details", {"local_date_coverage_parameters": [{"from_month": "13"}]}, "60165"),
    ("linking_details", {"url_type": {"value": "moving"}}, "60166"),
    ("linking_details", {"url_type_override": {"value": "moving"}}, "60166"),
    ("linking_details", {"proxy_enabled": {"value": "maybe"}}, "60167"),
    ("linking_details", {"proxy": "no such"}, "60168"),
    ("license", {"value": "no such"}, "60169"),
    ("coverage_details", {"coverage_in_use": {"value": "3"}}, "60170"),
    ("material_type", {"value": "CLAY_TABLET"}, "60171"),
    ("po_line", {"value": "no such"}, "60172"),
    ("library", {"value": "no such"}, "402469"),
    ("counter_platform", {"value": "?"}, "60296"),
    ("provenance", {"value": "?"}, "60360"),
    ("interface", {"name": "Unlisted"}, "60223"),
    ("active_until_date", "1999-12-31", "200797"),
]


def rejection(call: Any, *args: Any, **more: Any) -> str:
    """The code that a call is rejected with."""
    with pytest.raises(Rejection) as rejected:
        call(*args, **more)
    return rejected.value.code


@pytest.fixture
def world() -> World:
    return World.demo(Config(coverage_in_post=True))


def made(world: World, mms_id: str = MMS, **members: object) -> dict[str, Any]:
    """A portfolio in the demo service."""
    sent = SENT | {"resource_metadata": {"mms_id": {"value": mms_id}}} | members
    return dict(world.portfolios.create(*HERE, sent, now=NOW))


@pytest.mark.parametrize(("member", "value", "code"), CODES)
def test_a_portfolio_is_rejected(member: str, value: object, code: str) -> None:
    """Each documented code that a sent portfolio can draw is drawn on all four ways in, and nothing changes."""
    world = World.demo(Config(coverage_in_post=True))
    world.known = {"interface": frozenset({"Listed"})}
    world.configure(world.config)
    whole = made(world)
    sent = SENT | {member: value}
    assert rejection(world.portfolios.create, *HERE, sent, now=NOW) == code
    assert rejection(world.portfolios.create_of_bib, MMS, sent, now=NOW) == code
    assert rejection(world.portfolios.update, *HERE, whole["id"], sent, now=NOW) == code
    assert rejection(world.portfolios.update_of_bib, MMS, whole["id"], sent, now=NOW) == code
    assert world.portfolios.get(*HERE, whole["id"]) == whole
    assert len(world.portfolios.all) == 1


def test_the_title_is_required_and_checked(world: World) -> None:
    """No MMS id is 60159, an impossible one 60172, a place other than the path 60162, a crossed range 300465."""
    create = world.portfolios.create
    assert rejection(create, *HERE, {"availability": {"value": "11"}}, now=NOW) == "60159"
    assert rejection(create, *HERE, {"resource_metadata": "text"}, now=NOW) == "60159"
    assert rejection(made, world, "12") == "60172"
    elsewhere = {"electronic_collection": {"id": {"value": "61"}, "service": {"value": DEMO_SERVICE}}}
    assert rejection(create, *HERE, SENT | elsewhere, now=NOW) == "60162"
    crossed = {"active_from_date": "2031-01-02", "active_until_date": "2031-01-01"}
    assert rejection(create, *HERE, SENT | crossed, now=NOW) == "300465"


def test_only_known_bibs_if_told() -> None:
    """With `require_known_bibs` a plausible MMS id needs a record, too."""
    world = World.demo(Config(require_known_bibs=True))
    assert rejection(made, world) == "60172"
    assert rejection(world.portfolios.list_of_bib, MMS, Page()) == "402203"
    world.add_bib(MMS, "Known Things")
    assert made(world)["resource_metadata"]["title"] == "Known Things"


def test_what_is_not_there_is_named_by_its_code(world: World) -> None:
    """Each call has its own code for a missing portfolio, service, collection or title."""
    ours, folios = made(world), world.portfolios
    assert rejection(folios.list, "61", "62", Page()) == "60121"
    assert rejection(folios.list, DEMO_COLLECTION, "62", Page()) == "60122"
    assert rejection(folios.create, "61", DEMO_SERVICE, SENT, now=NOW) == "60121"
    assert rejection(folios.create, DEMO_COLLECTION, "62", SENT, now=NOW) == "60122"
    assert rejection(folios.get, *HERE, "53") == "60123"
    assert rejection(folios.get, "61", DEMO_SERVICE, ours["id"]) == "60123"
    assert rejection(folios.update, *HERE, "53", SENT, now=NOW) == "60123"
    assert rejection(folios.delete, *HERE, "53") == "60122"
    for call in (folios.update_of_bib, folios.get_of_bib, folios.delete_of_bib):
        more: dict[str, Any] = {"now": NOW, "sent": SENT} if call == folios.update_of_bib else {}
        assert rejection(call, MMS, "53", **more) == "60123"
        assert rejection(call, "12", ours["id"], **more) == (
            "402203" if call == folios.get_of_bib else "60221"
        )
    assert rejection(folios.create_of_bib, "12", SENT, now=NOW) == "60221"
    assert rejection(folios.list_of_bib, "12", Page()) == "402203"
    assert rejection(folios.list_collections_of_bib, "12", Page()) == "402203"
    assert rejection(folios.get_collection_of_bib, MMS, "61") == "60151"


def test_a_put_replaces_the_whole(world: World) -> None:
    """What a PUT leaves out is reset, the identity is not; it is read back the same on every path."""
    whole = made(world, public_note="old", surprise=[1, {"deep": None}])
    after = world.portfolios.update(*HERE, whole["id"], {"material_type": {"value": "BOOK"}}, now=NOW)
    assert after["availability"] == {"value": "10", "desc": "Not Available"}
    assert after["public_note"] == after["linking_details"]["static_url"] == ""
    assert "surprise" not in after
    assert after["material_type"] == {"value": "BOOK", "desc": "Book"}
    for member in ("id", "link", "resource_metadata", "electronic_collection", "is_standalone"):
        assert after[member] == whole[member]
    assert world.portfolios.get_of_bib(MMS, whole["id"]) == after
    assert world.electronic.service(*HERE).portfolios[whole["id"]] == after
    assert world.tally.updated == {whole["id"]: 1}


def test_an_echo_changes_nothing(world: World) -> None:
    """Sending back what a GET gave leaves the object as it was, unknown members included."""
    coverage = {"local_date_coverage_parameters": [{"from_year": "1999", "from_month": "7"}]}
    whole = made(
        world, surprise={"deep": None}, coverage_details=coverage, activation_date="2024-05-06T01:02:03Z"
    )
    assert whole["activation_date"] == "2024-05-06Z"
    assert world.portfolios.update(*HERE, whole["id"], whole, now=NOW) == whole


def test_coverage_in_a_post_is_ignored_unless_told() -> None:
    """By default the coverage of a POST is lost and that of a PUT is kept."""
    world = World.demo()
    coverage = {
        "coverage_in_use": {"value": "2"},
        "local_date_coverage_parameters": [{"from_year": "1999", "from_issue": "3"}],
    }
    whole = made(world, coverage_details=coverage)
    assert whole["coverage_details"]["local_date_coverage_parameters"] == []
    assert whole["coverage_details"]["coverage_in_use"]["value"] == "0"
    after = world.portfolios.update(*HERE, whole["id"], SENT | {"coverage_details": coverage}, now=NOW)
    assert after["coverage_details"]["local_date_coverage_parameters"] == [
        {"from_year": "1999", "from_issue": "3"}
    ]


def test_a_title_can_have_portfolios_without_a_collection(world: World) -> None:
    """A POST by the title makes a standalone portfolio, or one in the service that the body names."""
    alone = world.portfolios.create_of_bib(MMS, SENT, now=NOW)
    assert alone["is_standalone"]
    assert alone["electronic_collection"]["id"] == {"value": "", "link": None}
    named = {"electronic_collection": {"id": {"value": HERE[0]}, "service": {"value": HERE[1]}}}
    within = world.portfolios.create_of_bib(MMS, SENT | named, now=NOW)
    assert not within["is_standalone"]
    assert world.portfolios.get(*HERE, within["id"]) == within
    assert world.portfolios.list_of_bib(MMS, Page())["total_record_count"] == 2
    nowhere = {"electronic_collection": {"id": {"value": HERE[0]}, "service": {"value": "62"}}}
    assert rejection(world.portfolios.create_of_bib, MMS, SENT | nowhere, now=NOW) == "60165"
    world.portfolios.delete_of_bib(MMS, alone["id"])
    assert list(world.portfolios.all) == [within["id"]]


def test_the_collections_of_a_title(world: World) -> None:
    """A title lists the collections it stands for and those it is in, each once."""
    own = world.electronic.create_collection(
        {
            "public_name": "Own",
            "type": {"value": "0"},
            "resource_metadata": {"mms_id": {"value": MMS}},
        }
    )
    made(world), made(world)
    listed = world.portfolios.list_collections_of_bib(MMS, Page())
    assert [one["id"] for one in listed["electronic_collection"]] == [own["id"], DEMO_COLLECTION]
    assert world.portfolios.get_collection_of_bib(MMS, own["id"]) == own


def test_what_becomes_of_the_title(world: World) -> None:
    """`bib=` retains, suppresses or deletes the title with its last portfolio, and only with that."""
    first, last = made(world), made(world)
    world.portfolios.delete(*HERE, first["id"], bib="delete")
    assert world.bibs.find(MMS) is not None
    world.portfolios.delete(*HERE, last["id"], bib="suppress")
    assert (bib := world.bibs.find(MMS)) is not None
    assert bib.suppressed
    assert rejection(world.portfolios.delete, *HERE, made(world)["id"], bib="burn") == "40166410"
    (left,) = world.portfolios.all
    world.portfolios.delete_of_bib(MMS, left, bib="delete")
    assert rejection(made, world) == "60172"
    assert made(world, "99222222")["id"] != left


def test_pages_have_no_memory(world: World) -> None:
    """Pages follow one another by offset; a deletion in between makes the next page skip one."""
    ids = [made(world, f"99{number:08d}")["id"] for number in range(25)]

    def page(**at: int) -> list[str]:
        return [one["id"] for one in world.portfolios.list(*HERE, Page(**at)).get("portfolio", [])]

    assert page() == ids[:10]
    assert page(limit=0) == page(offset=25) == []
    assert page(limit=100, offset=20) == ids[20:]
    world.portfolios.delete(*HERE, ids[0])
    assert page(offset=10) == ids[11:21]


def test_lists_are_shortened(world: World) -> None:
    """A list item has no links, coverage or type of material, and nulls where it holds back."""
    made(world, license={"value": "070001039"})
    (item,) = world.portfolios.list(*HERE, Page())["portfolio"]
    assert item["license"] is item["library"] is item["pda"] is None
    assert item["resource_metadata"].keys() == {"mms_id", "title"}
    assert not item.keys() & {"linking_details", "coverage_details", "material_type", "po_line", "notes"}


def test_the_link_is_the_path_of_the_title(world: World) -> None:
    """Also a portfolio of a collection links to itself under its bib; `jkey=` stays in its URL."""
    whole = made(world)
    assert whole["link"] == f"/almaws/v1/bibs/{MMS}/portfolios/{whole['id']}"
    assert whole["linking_details"]["static_url"] == "jkey=https://example.org/a"


def test_duplicates_are_counted_by_natural_key(world: World) -> None:
    """Same title, place and address is a duplicate, also where one address is an override; another address is not."""
    first = made(world)
    made(world, linking_details={"static_url_override": "jkey=https://example.org/a"})
    made(world, linking_details={"static_url": "jkey=https://example.org/b"})
    assert natural_key(first) == (MMS, *HERE, "https://example.org/a")
    assert world.portfolios.duplicates() == 1
