"""The command ``alma-async``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

_EXTRA: Final = ("cyclopts", "rich")


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default); the exit code."""
    try:
        from alma_async.cli.app import run

        return run(sys.argv[1:] if tokens is None else list(tokens))
    except KeyboardInterrupt:  # before any command handles signals
        return 130
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        sys.stderr.write("The command needs its extra: pip install 'alma-async[cli]'\n")
        return 2
