"""A user's own job, as Alma's user interface shows it: what is read of it, and what is none."""

from __future__ import annotations

import pytest

from alma_async import ConfigurationError
from alma_async.load import InputError, JobTemplate, LoadOptions

URL = "https://api-eu.hosted.exlibrisgroup.com/almaws/v1/conf/jobs/M50?op=run\n"
XML = """<?xml version="1.0" encoding="UTF-8"?>
<job><parameters>
  <parameter><name>task_note</name><value>Open &amp; shut</value></parameter>
  <parameter><name>task_empty</name><value></value></parameter>
  <parameter><name>set_id</name><value>815</value></parameter>
  <parameter><name>job_name</name><value>Mine</value></parameter>
</parameters></job>
"""
JSON = """{"parameter": [
  {"name": {"value": "task_note"}, "value": "Open & shut"}, {"name": "task_empty", "value": ""},
  {"name": {"value": "set_id"}, "value": 815}, {"name": {"value": "job_name"}, "value": "Mine"}]}"""


@pytest.mark.parametrize("body", [XML, JSON])
@pytest.mark.parametrize(("head", "job"), [(URL, None), ("", "M50"), (URL, "M50")])
def test_all_goes_as_it_is_but_the_set_and_the_name(body, head, job, tmp_path):
    path = tmp_path / "job.txt"
    path.write_text(f"\ufeff{head}{body}", encoding="utf-8")
    template = JobTemplate.read(path, job_id=job)
    assert template.job_id == "M50"
    assert template.over("4711", "A load") == {
        "task_note": "Open & shut", "task_empty": "", "set_id": "4711", "job_name": "A load",
    }  # fmt: skip
    assert JobTemplate.restored(template.written) == template


@pytest.mark.parametrize(
    ("text", "job", "why"),
    [
        (XML, None, "does not say which job"),
        (URL + XML, "M51", "names job M50, not M51"),
        (URL.replace("M50", "S50") + XML, None, "not the id of a manual job"),
        (URL + XML.replace("set_id", "set"), None, "takes no set"),
        (URL + "<job/>", None, "takes no set"),
        (URL + '{"parameter": []}', None, "takes no set"),
        (URL + XML.replace("task_empty", "task_note"), None, "task_note is there twice"),
        (URL, None, "cannot be read"),
        (URL + XML[:200], None, "cannot be read"),
        (URL + JSON[:80], None, "cannot be read"),
        (URL + '{"parameter": [{"name": {"value": "set_id"}, "value": [1]}]}', None, "is no value"),
        (URL + '<!DOCTYPE job [<!ENTITY a "b">]><job/>', None, "declares"),
    ],
)
def test_what_is_no_job_on_a_set(text, job, why):
    with pytest.raises(ConfigurationError, match=why):
        JobTemplate.of(text, job_id=job)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        JobTemplate.read(tmp_path / "none.xml")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({}, "actions activate, deactivate"),
        ({"action": "create"}, "actions activate, deactivate"),
        ({"action": "activate", "since": "a.load"}, "since"),
        ({"action": "activate", "plan": "a.load"}, "plan"),
        ({"action": "activate", "allow_duplicates": True}, "allow_duplicates"),
        ({"action": "delete", "bib": "suppress"}, "bib"),
    ],
)
def test_what_cannot_go_with_a_job(how, why):
    with pytest.raises(ConfigurationError, match=why):
        LoadOptions(via_job=JobTemplate.of(URL + XML), **how)


def test_without_a_job_all_can_be_undone():
    with pytest.raises(ConfigurationError, match="no_undo"):
        LoadOptions(action="delete", no_undo=True)
