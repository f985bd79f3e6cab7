"""Tests of the core that take no time worth the name, in real time: what holds in virtual time holds under uvloop."""

from tests.load.test_loader import (  # noqa: F401
    test_a_load_that_cannot_even_begin_is_resumable,
    test_a_refusal_that_no_table_lists_ends_its_row,
    test_a_refused_key_stops_the_load,
    test_another_file_or_service_is_refused,
    test_bad_and_repeated_rows_are_told,
    test_facts_may_not_take_the_journals_own_names,
    test_several_portfolios_of_a_title,
    test_what_alma_refuses_is_told_with_its_code,
    test_what_was_made_and_then_refused_is_for_a_person,
    test_what_was_sent_is_kept_only_if_asked_for,
    titles,
)
