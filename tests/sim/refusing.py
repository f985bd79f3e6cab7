"""What several tests of the world ask: with which code was that refused?"""

from __future__ import annotations

from typing import Any

import pytest

from alma_async.sim.codes import Refusal


def refusal(call: Any, *args: Any, **more: Any) -> str:
    """The code that a call is refused with."""
    with pytest.raises(Refusal) as refused:
        call(*args, **more)
    return refused.value.code
