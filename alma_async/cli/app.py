"""The commands by name, and the one place where errors become exit codes.

Decides which command a line means; each is imported when it is called. Exit codes: 0 all done; 1 done, but rows were refused or
need review; 2 wrong use, configuration, key or file; 3 stopped, resumable; 74 journal I/O error; 75 journal in use; 130 and 143
interrupted. Beyond these: 70 for a defect of our own, 141 where the reader of our output went away.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

from cyclopts import App, CycloptsError
from cyclopts.config import Env

from alma_async.cli.console import log_at, say
from alma_async.errors import (
    AlmaError,
    DeadlineExceeded,
    NotSent,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)
from alma_async.version import __version__

__all__ = ["app", "run"]

_PASSING: Final = (DeadlineExceeded, NotSent, OutcomeUnknown, QuotaExhausted, RateLimited, ServerFault)

app = App(
    name="alma-async",
    help="Alma's electronic resources from the shell, within the institution's allowance.",
    help_epilogue=(
        "The key comes from ALMA_API_KEY or a file. Every option has a variable: "
        "--until-done of load is ALMA_LOAD_UNTIL_DONE. ALMA_LOG=debug tells more."
    ),
    help_format="plaintext",
    version=__version__,
    config=Env("ALMA_", show=False),
    suppress_keyboard_interrupt=False,
)

_COMMANDS: Final = {
    "demo": ("demo:demo", "Load the sample list into a simulated Alma; needs no account."),
    "load": ("load:load", "Load a file of rows into the portfolios of one service."),
    "resume": ("load:resume", "Go on with an interrupted load; without a name, list the journals."),
    "quota": ("quota:quota", "Show the remaining calls and what this installation reserves."),
    "sim": ("sim:sim", "Serve a simulated Alma on this machine."),
}
_AREAS: Final = {
    "collections": "Electronic collections.",
    "services": "Electronic services of a collection.",
    "portfolios": "Portfolios of a service.",
}

for _name, (_path, _help) in _COMMANDS.items():
    app.command(f"alma_async.cli.{_path}", name=_name, help=_help)
for _name, _help in _AREAS.items():
    _area = App(name=_name, help=_help)
    _area.command(f"alma_async.cli.electronic:list_{_name}", name="list", help="All, one line each.")
    _area.command(f"alma_async.cli.electronic:get_{_name[:-1]}", name="get", help="One, whole.")
    app.command(_area)


def run(tokens: list[str]) -> int:
    """Run one command line; the exit code. What goes wrong is told in one message on stderr."""
    try:
        log_at(os.environ.get("ALMA_LOG") or "warning")
        code = app(tokens, exit_on_error=False, result_action="return_value") or 0
        sys.stdout.flush()  # here, where a reader that went away is still told apart
        return int(code)
    except CycloptsError:
        return 2  # told already
    except AlmaError as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            say(line)
        return _code_of(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush into
        return 141
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last word of the process
        say(f"This is a defect of alma-async ({type(error).__name__}: {error}). ALMA_LOG=debug shows where.")
        if os.environ.get("ALMA_LOG", "").lower() == "debug":
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line)
        return 70


def _code_of(error: AlmaError) -> int:
    from alma_async.load.journal import JournalError, JournalInUse

    if isinstance(error, JournalError):
        return 74
    if isinstance(error, JournalInUse):
        return 75
    return 3 if isinstance(error, _PASSING) else 2
