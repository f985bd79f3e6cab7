"""What several tests of the world ask: with which code was that rejected?"""

from __future__ import annotations

from typing import Any

import pytest

from alma_async.sim.codes import Rejection


def rejection(call: Any, *args: Any, **more: Any) -> str:
    """The code that a call is rejected with."""
    with pytest.raises(Rejection) as rejected:
        call(*args, **more)
    return rejected.value.code
