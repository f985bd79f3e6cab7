"""A create that is answered with another record's portfolio is of unknown outcome: it is read back, and nothing is doubled."""

from __future__ import annotations

import copy

import pytest

from alma_async.load.journal_file import JournalFile
from tests.conftest import institution
from tests.load.test_loader import each_once, held, load_into, titles

__all__ = ["titles"]


@pytest.mark.parametrize("lie", ["object", "id", "record"])
async def test_the_answer_of_another_create(titles, tmp_path, monkeypatch, lie):
    """Each answer shows the object of the create before it, or the id of the first, or another record."""
    async with institution() as (server, alma):
        kind, before = type(server.world.portfolios), []
        create = kind.create

        def lying(*given, **how):
            made = create(*given, **how)
            before.append(copy.deepcopy(made))
            shown = copy.deepcopy(made)
            if lie == "record":
                shown["resource_metadata"]["mms_id"]["value"] = "9999"
            elif len(before) > 1:
                shown = shown | {"id": before[0]["id"]} if lie == "id" else before[-2]
            return shown

        monkeypatch.setattr(kind, "create", lying)
        load = load_into(alma, tmp_path)
        report = await load.run(titles(8))
        assert (report.created, report.review, report.exit_code) == (8, 0, 0)
        assert held(server) == each_once(8)
        assert (await load.verify()).exit_code == 0
    with JournalFile(tmp_path / "j" / "a.load", reading=True) as journal:
        entries = journal.entries()
    assert len({entry.portfolio_id for entry in entries}) == 8
