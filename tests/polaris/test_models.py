"""Answers as values: odd spellings, odd dates, unknown members."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alma_async import BadAnswer
from alma_async.polaris.models import (
    AuthorityRecord,
    BibliographicRecord,
    ItemRecord,
    LoginAnswer,
    ObjectType,
    PatronRecord,
    Record,
    RecordSet,
    RecordSetChange,
    ServerStatus,
    record_class,
    structure,
)

RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "recorded" / "polaris"


@pytest.mark.parametrize("spelling", ["RecordSetId", "RecordSetID", "recordSetID"])
def test_every_spelling_of_the_id(spelling):
    """The answer to a creation and all others spell one member in two ways; both are read."""
    change = structure({spelling: 7, "NumberOfRecordsAdded": 2, "Warnings": ["w"]}, RecordSetChange)
    assert (change.record_set_id, change.added, change.removed, change.warnings) == (7, 2, 0, ("w",))


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("2016-09-23T11:49:00.24-04:00", "2016-09-23T11:49:00.240000-04:00"),
        ("2013-03-26T10:41:11.103", "2013-03-26T10:41:11.103000"),
        ("2000-11-29T00:00:00-05:00", "2000-11-29T00:00:00-05:00"),
        ("0001-01-01T00:00:00-05:00", None),
        ("0001-01-01T00:00:00", None),
        (None, None),
    ],
)
def test_every_form_of_a_date(told, read):
    """With an offset or without, with two or three decimals: read as it is told; the year 1 is no date."""
    found = structure({"RecordSetID": 1, "CreationDate": told}, RecordSet).creation_date
    assert (found and found.isoformat()) == read


def test_unknown_members_do_no_harm():
    """What is not known is neither lost nor an error, and null is as good as absent."""
    raw = {"RecordSetID": 1, "Name": None, "Colour": {"a": [1]}, "ObjectTypeID": 99}
    read = structure(raw, RecordSet)
    assert (read.name, read.raw, read.object_type_id, read.object_type) == (None, raw, 99, None)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ([], "not an object"),
        ({}, "is missing"),
        ({"RecordSetID": "x"}, "record_set_id"),
        ({"RecordSetID": True}, "record_set_id"),
        ({"RecordSetID": 1, "Name": ["a"]}, "name"),
        ({"RecordSetID": 1, "CreationDate": "soon"}, "creation_date"),
        ({"RecordSetID": 1, "CreationDate": 5}, "creation_date"),
    ],
)
def test_what_does_not_fit_is_named(raw, told):
    """Any other shape is a bad answer that says which member is wrong."""
    with pytest.raises(BadAnswer, match=told):
        structure(raw, RecordSet)


def test_what_sets_are_of():
    """Each type has the class of its records; weeding sets are of items, and what is not known is a plain record."""
    assert [record_class(int(kind)) for kind in ObjectType] == [
        AuthorityRecord,
        BibliographicRecord,
        ItemRecord,
        PatronRecord,
        ItemRecord,
    ]
    assert record_class(5) is record_class(None) is record_class([]) is Record


def test_personal_data_and_tokens_are_not_shown():
    """The name, street or barcode of a patron and the token of a login are in no repr."""
    patron = structure(
        {"RecordID": 1, "PatronName": "Roe, Jo", "Street": "Quay 1", "Barcode": "219"}, PatronRecord
    )
    assert patron.patron_name == "Roe, Jo"
    login = structure({"AccessToken": "tok", "AccessSecret": "sec"}, LoginAnswer)
    assert (login.access_token, login.access_secret) == ("tok", "sec")
    shown = repr(patron) + repr(login)
    assert not [secret for secret in ("Roe", "Quay", "219", "tok'", "sec'") if secret in shown]


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not beside this checkout")
def test_recorded_answers_are_read():
    """Every recorded answer is read whole: no member of a record is unknown but the one that is left in ``raw``."""

    def recorded(name):
        return json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))

    assert structure(recorded("post_recordsets_200"), RecordSetChange).added == 1
    assert structure(recorded("get_recordset_200"), RecordSet).creation_date is not None
    assert structure(recorded("get_recordset_ownerInfoOnly_200"), RecordSet).creation_date is None
    assert structure(recorded("post_staffuser_200"), LoginAnswer).site_domain == "polaris"
    assert structure(recorded("post_apikey_200"), LoginAnswer).access_token == ""
    assert structure(recorded("appservices_status"), ServerStatus).version == "7.8.47125.0"
    for name in ("authority", "bib", "item", "patron"):
        page = recorded(f"get_recordset_records_{name}_200")
        for raw in page["Records"]:
            record = structure(raw, record_class(page["ObjectTypeID"]))
            names = {field.replace("_", "") for field in record.__slots__}
            names |= {"recordid"}
            assert {member.lower() for member in raw} - names <= {"nonfilingtuple"}
