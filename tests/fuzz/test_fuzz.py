"""Whatever is fed to what reads: nothing but the library's own errors comes out."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.corpus import NASTY, mutated
from tests.fuzz.targets import TARGETS


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", TARGETS)
def test_only_our_errors_come_out(name):
    """Nasty pieces by themselves, and a fixed number of mutations, end in a result or an error of ours."""
    target = TARGETS[name]()
    for content in NASTY if target.count > 50 else NASTY[:6]:
        target.feed(content)
    for seed in range(target.count):
        content = mutated(random.Random(f"{name} {seed}"), target.seeds)
        try:
            target.feed(content)
        except BaseException as error:
            error.add_note(f"python -m tests.fuzz {name} --seed {seed} --count 1")
            raise


def test_a_planted_defect_is_found(monkeypatch):
    """A parser that lets another error out is noticed."""
    monkeypatch.setattr("alma_async.load.readers.xlsx._DAMAGE", ())
    target = TARGETS["workbook"]()
    with pytest.raises(Exception, match=r"."):
        for seed in range(300):
            target.feed(mutated(random.Random(seed), target.seeds))
