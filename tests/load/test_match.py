"""One, none, or nobody can say - and never a guess."""

from __future__ import annotations

import pytest

from alma_async.load.matching import Adopt, Ambiguous, Candidate, NoMatch, One, Verdict, decide, verdict

A, B, C = Candidate("1", "u"), Candidate("2", "v"), Candidate("3", "u")


@pytest.mark.parametrize(
    ("url", "candidates", "rows", "expected"),
    [
        ("u", [], 1, NoMatch()),
        ("u", [A], 1, One("1")),
        ("other", [A], 1, One("1")),
        ("u", [A, B], 1, One("1")),
        ("v", [A, B], 2, One("2")),
        ("w", [A, B], 1, Ambiguous(("1", "2"))),
        ("u", [A, B, C], 1, Ambiguous(("1", "3"))),
        ("w", [A], 2, Ambiguous(("1",))),
        ("", [A, B], 1, Ambiguous(("1", "2"))),
    ],
)
def test_match(url, candidates, rows, expected):
    """A lone portfolio and a lone row mean each other; otherwise only an equal URL decides, and only once."""
    assert decide(url, candidates, rows_of_title=rows) == expected


@pytest.mark.parametrize(
    ("candidates", "attempts", "policy", "expected"),
    [
        ([A], 1, "resend", Adopt("1")),
        ([A, B], 1, "resend", Adopt("1")),
        ([A], 9, "never", Adopt("1")),
        ([], 1, "resend", Verdict.RESEND),
        ([], 3, "resend", Verdict.REVIEW),
        ([], 1, "review", Verdict.REVIEW),
        ([], 1, "never", Verdict.REJECT),
        ([], 9, "never", Verdict.REJECT),
        ([B], 1, "never", Verdict.REVIEW),
        ([B], 1, "resend", Verdict.REVIEW),
        ([A, C], 1, "resend", Verdict.REVIEW),
    ],
)
def test_reconcile(candidates, attempts, policy, expected):
    """Only a single portfolio with the row's URL is adopted; only nothing at all is sent again, and not for ever."""
    assert verdict("u", candidates, lost_answers=attempts, most=3, policy=policy) == expected
