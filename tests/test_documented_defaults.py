"""The numbers that the documentation gives for settings are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alma_async import JobLimits, Limits

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
DEFAULTS = {
    "ALMA_PER_SECOND": Limits().per_second,
    "ALMA_IN_FLIGHT": Limits().in_flight,
    "ALMA_MARGIN": Limits().margin,
    "ALMA_MEMBERS": Limits().members,
    "ALMA_JOBS_RUNNING": JobLimits().running,
    "ALMA_JOB_STARTS": JobLimits().starts,
}


def documented() -> dict[str, float]:
    """Each variable of the table of the environment beside the default that its line gives, in the same order."""
    found: dict[str, float] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `ALMA_"):
            _, variables, meaning, *_ = line.split("|")
            numbers = re.findall(r"\((\d+(?:\.\d+)?)\)|default (\d+)", meaning)
            names = re.findall(r"`(ALMA_\w+)`", variables)
            found |= {name: float(a or b) for name, (a, b) in zip(names, numbers, strict=False)}
    return found


@pytest.mark.parametrize("variable", DEFAULTS)
def test_the_default_that_is_documented_is_the_default(variable):
    """A default that changes in the code alone is found here."""
    assert documented()[variable] == DEFAULTS[variable]
