"""How many examples Hypothesis tries, times what ``ALMA_EXAMPLES`` says: two hundred of values, two thousand of stories.

The cost of a story is Hypothesis' own, about a third of a millisecond a step, whatever the step does. So there are many
short stories rather than few long ones.
"""

from __future__ import annotations

import os
from unittest import TestCase

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine

_TIMES = float(os.environ.get("ALMA_EXAMPLES", "1"))

MANY = settings(max_examples=round(200 * _TIMES), deadline=None, derandomize=True, database=None)


def stories(machine: type[RuleBasedStateMachine]) -> type[TestCase]:
    """The test that tries two thousand orders of the machine's steps."""
    test: type[TestCase] = machine.TestCase
    test.settings = settings(MANY, max_examples=round(2000 * _TIMES), stateful_step_count=20)  # type: ignore[attr-defined]
    return pytest.mark.timeout(60 + 240 * _TIMES)(test)
