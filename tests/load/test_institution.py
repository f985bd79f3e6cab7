"""What loads learn of an institution: kept for it alone, and used for the price of the next load."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from alma_async import sim
from alma_async.load import Load, Row, institution
from alma_async.load.institution import FactsFile, InstitutionFacts, Observed
from alma_async.load.kept import KeptFile
from alma_async.load.row import Coverage
from tests.conftest import institution as simulated

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
SHORT = InstitutionFacts(post_answer="short", post_coverage=False, put_answer="whole")


def rows(start):
    return [
        Row(
            line=n + 2,
            lines=(n + 2,),
            mms_id=f"99{n:06}",
            values={"url": f"https://journals.example/{n}"},
            coverage=(Coverage(from_year="1999"),) if n % 3 else None,
        )
        for n in range(start, start + 60)
    ]


def load(alma, tmp_path, name):
    return Load(alma, collection_id=C, service_id=S, journal=tmp_path / f"{name}.load")


async def priced(server, alma, tmp_path, start):
    """The price of a load, and the calls that it took by the server's count."""
    with await load(alma, tmp_path, start).plan(rows(start)) as plan:
        before = len(server.world.tally.received)
        report = await load(alma, tmp_path, start).run(rows(start))
    assert report.created == 60
    return plan.price, len(server.world.tally.received) - before


@pytest.mark.parametrize("post", ["whole", "without_coverage", "short"])
@pytest.mark.parametrize("put", ["whole", "short"])
@pytest.mark.parametrize("takes", [True, False])
async def test_a_price_is_a_range_until_a_load_has_shown(tmp_path, post, put, takes):
    """However Alma answers, the first price leaves room for it, and the next one is what the load takes."""
    switches = {"post_answers": post, "write_answers": put, "coverage_in_post": takes}
    async with simulated(latency=0.05, **switches) as (server, alma):
        price, took = await priced(server, alma, tmp_path, 0)
        assert price.least <= took <= price.most
        assert price.least < price.most
        price, took = await priced(server, alma, tmp_path, 500)
        if takes:  # no PUT was sent, so what is answered to one is not known, nor asked for
            assert price.least == price.calls == took
        else:
            assert price.least == price.calls == price.most == took


async def test_each_institution_has_its_own_facts(tmp_path):
    """Two that have the same address are told apart, by their labels or keys."""
    answers = {"first": "short", "second": "whole"}
    for name, answer in answers.items():
        async with simulated(post_answers=answer, client={"institution": name}) as (server, alma):
            await load(alma, tmp_path, name).run(rows(0))
            assert FactsFile.of(alma.scope).read().post_answer == answer
            assert server.world.tally.received


async def test_facts_of_another_institution_are_found_out(tmp_path):
    """Planted: one file for all. The price of the second institution is not what its load takes then."""

    def of(_scope):
        return FactsFile(KeptFile(Path(tmp_path / "all" / "known.json"), ["all"]))

    with patch.object(institution.FactsFile, "of", of):
        async with simulated(post_answers="short") as (server, alma):
            await priced(server, alma, tmp_path, 0)
        async with simulated() as (server, alma):
            price, took = await priced(server, alma, tmp_path, 1000)
    assert not price.least <= took <= price.most


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: b"0" * 16 + text[16:],
        lambda _: b"",
        lambda text: text.replace(b"short", b"whole"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_not_used(spoil, caplog):
    """What it says is not believed, and said so; the next load writes it anew."""
    kept = FactsFile.of("https://alma.example#one")
    kept.learn(lambda _: SHORT)
    assert kept.read() == SHORT
    kept.file.path.write_bytes(spoil(kept.file.path.read_bytes()))
    assert kept.read() == InstitutionFacts()
    assert "not what was written" in caplog.text
    kept.learn(lambda _: SHORT)
    assert kept.read() == SHORT


def test_the_file_of_another_institution_is_not_used():
    """Also where it was copied under the name of this one."""
    one, other = FactsFile.of("https://alma.example#one"), FactsFile.of("https://alma.example#other")
    one.learn(lambda _: SHORT)
    assert other.read() == InstitutionFacts()
    other.file.path.write_bytes(one.file.path.read_bytes())
    assert other.read() == InstitutionFacts()


def test_what_varies_is_not_known():
    """An answer that was once whole and once short says nothing of the next."""
    seen = Observed()
    seen.add(post_answer="whole", put_answer="whole")
    seen.add(post_answer="short", put_answer="whole")
    seen.add(post_answer="short")
    assert seen.over(SHORT) == InstitutionFacts(post_answer=None, post_coverage=False, put_answer="whole")
