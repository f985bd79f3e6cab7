"""How many examples Hypothesis tries: about two hundred, times what ``ALMA_EXAMPLES`` says."""

from __future__ import annotations

import os

from hypothesis import settings

MANY = settings(
    max_examples=round(200 * float(os.environ.get("ALMA_EXAMPLES", "1"))),
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
)
