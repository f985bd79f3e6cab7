"""Tests of the core that take no time worth the name, in real time: what holds in virtual time holds under uvloop."""

from tests.test_session import (  # noqa: F401
    test_a_refusal_with_any_code_is_a_refusal,
    test_a_refused_key_is_not_tried_again,
    test_a_stale_page_of_a_proxy_is_a_bad_answer,
    test_a_witness_knows_every_attempt,
    test_errors_say_code_and_tracking_id,
)
