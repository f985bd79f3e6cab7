"""Tests of the core that take no time worth the name, in real time: what holds in virtual time holds under uvloop."""

from tests.governance.test_governor import (  # noqa: F401
    test_a_busy_program_still_sends,
    test_a_loop_that_died_without_cleaning_up,
    test_a_permit_is_for_one_send,
    test_an_unused_permit_is_no_call,
    test_cancellation_at_every_step,
    test_closing_sends_everybody_away,
    test_dead_deadlines_are_cleared_away,
    test_repr_says_where_everybody_is,
    test_sent_and_then_cancelled_counts_as_spent,
    test_two_runs_in_a_row,
)
