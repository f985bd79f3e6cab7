"""The commands by name, and the one place where errors become exit codes.

Decides which command a line means; each is imported when it is called. Exit codes: 0 all done; 1 done, but something was refused,
failed or needs review; 2 wrong use, configuration, key or file; 3 stopped, resumable, or not now; 4 a job that may have been
started (look before repeating); 74 journal, ledger or output cannot be read or written;
75 journal or ledger in use; 130 and 143 interrupted. Beyond these: 70 for a defect of our own, 141 where the reader of our
output went away.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import redirect_stdout
from typing import Final, TextIO, cast

from cyclopts import App, ArgumentCollection, CycloptsError
from cyclopts.config import Env

from alma_async._version import __version__
from alma_async.cli.console import Output, Unwritten, drop, log_at, open_streams, say
from alma_async.errors import (
    AlmaError,
    DeadlineExceeded,
    JobOverlap,
    JobThresholdReached,
    NotSent,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)

__all__ = ["app", "run"]

_PASSING: Final = (
    DeadlineExceeded,
    JobOverlap,
    JobThresholdReached,
    NotSent,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)

_ENV: Final = Env("ALMA_", show=False)


def _variables(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Options from variables; a hyphen in a command's name is an underscore in that of a variable, which can hold none."""
    _ENV(app, tuple(command.replace("-", "_") for command in commands), arguments)


app: App = App(
    name="alma-async",
    help="Alma's electronic resources, sets and jobs from the shell, within the institution's allowance.",
    help_epilogue=(
        "The key comes from ALMA_API_KEY or a file. Every option has a variable: "
        "--until-done of load is ALMA_LOAD_UNTIL_DONE. ALMA_LOG=debug tells more."
    ),
    help_format="plaintext",
    version=__version__,
    config=_variables,
    suppress_keyboard_interrupt=False,
)

_COMMANDS: Final = {
    "demo": ("demo:demo", "Load the sample list into a simulated Alma; needs no account."),
    "load": ("load:load", "Load a file of rows into the portfolios of one service."),
    "resume": ("load:resume", "Go on with an interrupted load; without a name, list the journals."),
    "undo": ("load:undo", "Take a load back, from its journal."),
    "verify": ("verify:verify", "Compare a load's journal with what Alma holds now."),
    "quota": ("quota:quota", "Show the remaining calls and what this installation reserves."),
    "doctor": ("doctor:doctor", "Check key, address, rights in each area, clock and state directory."),
    "sim": ("sim:sim", "Serve a simulated Alma, and a Polaris beside it, on this machine."),
}
# Each area: what it is, and its commands with what they do.
_AREAS: Final = {
    "collections": (
        "Electronic collections.",
        {
            "list": ("electronic:list_collections", "All, one line each."),
            "get": ("electronic:get_collection", "One, whole."),
            "create": ("electronic:create_collection", "A new one, from an object in JSON."),
            "update": ("electronic:update_collection", "Replace it by an object in JSON."),
            "delete": ("electronic:delete_collection", "Delete it; it has no services."),
        },
    ),
    "services": (
        "Electronic services of a collection.",
        {
            "list": ("electronic:list_services", "All, one line each."),
            "get": ("electronic:get_service", "One, whole."),
            "create": ("electronic:create_service", "A new one, from an object in JSON."),
            "update": ("electronic:update_service", "Replace it by an object in JSON."),
            "delete": ("electronic:delete_service", "Delete it; it has no portfolios."),
        },
    ),
    "portfolios": (
        "Portfolios of a service.",
        {
            "list": ("electronic:list_portfolios", "All, one line each."),
            "get": ("electronic:get_portfolio", "One, whole."),
            "create": ("electronic:create_portfolio", "A new one, from an object in JSON."),
            "update": ("electronic:update_portfolio", "Replace it by an object in JSON."),
            "delete": ("electronic:delete_portfolio", "Delete it."),
        },
    ),
    "sets": (
        "Sets and their members.",
        {
            "list": ("sets:list_sets", "All or some, one line each."),
            "get": ("sets:get_set", "One, without its members."),
            "create": ("sets:create_set", "A new one: itemized and empty, or logical."),
            "combine": ("sets:combine_sets", "A new one of two others."),
            "filter": (
                "sets:filter_set",
                "A new one of those that an indication rule finds in another.",
            ),
            "from-logical": ("sets:set_from_logical", "A new one of what a logical set finds now."),
            "from-import": ("sets:set_from_import", "A new one of what an import brought."),
            "in-network": (
                "sets:set_in_network",
                "A new one in the Network Zone, of an institution's.",
            ),
            "update": ("sets:update_set", "Change its name or description."),
            "delete": ("sets:delete_set", "Delete it; what was in it stays."),
            "members": ("sets:list_members", "All members, one line each."),
            "add": ("sets:add_members", "Add members."),
            "remove": ("sets:remove_members", "Take members out."),
            "replace": ("sets:replace_members", "Make these the members."),
        },
    ),
    "jobs": (
        "Jobs, their runs, and starting them within Alma's limits.",
        {
            "list": ("jobs:list_jobs", "All or some, one line each."),
            "get": ("jobs:get_job", "One, whole."),
            "submit": ("jobs:submit_job", "Start one as soon as it may be; --wait waits for its end."),
            "guard": (
                "jobs:show_guard",
                "What runs, and when the next start of each is free; frees a slot.",
            ),
            "instances": ("jobs:list_instances", "The runs of one."),
            "instance": ("jobs:get_instance", "One run, with its counters."),
            "wait": ("jobs:await_run", "Wait for the end of one run; 1 where it failed."),
            "events": ("jobs:list_events", "What a run rejected."),
            "matches": ("jobs:list_matches", "What an import matched."),
            "download": (
                "jobs:download_records",
                "The records that an import loaded, as a file of 8 MiB at most.",
            ),
        },
    ),
    "polaris": (
        "Innovative Polaris: record sets. The login comes from POLARIS_USER, POLARIS_PASSWORD and so on, or from files.",
        {
            "create-record-set": ("polaris:create_record_set", "Make a record set of the ids in a file."),
            "get": ("polaris:get_record_set", "One record set, without its contents."),
            "records": ("polaris:list_records", "What is in a record set, one line each."),
            "status": (
                "polaris:show_status",
                "Whether the server is there, and its version.",
            ),
        },
    ),
}

for _name, (_path, _help) in _COMMANDS.items():
    app.command(f"alma_async.cli.{_path}", name=_name, help=_help)
for _name, (_help, _commands) in _AREAS.items():
    _area = App(name=_name, help=_help)
    for _command, (_path, _told) in _commands.items():
        _area.command(f"alma_async.cli.{_path}", name=_command, help=_told)
    app.command(_area)


def _tell_in_full(tokens: list[str]) -> None:
    """Have a command that is asked for help say all of it; in lists a line does, for which nothing is imported."""
    if not {*app.help_flags}.isdisjoint(tokens):
        command = app.parse_commands([token for token in tokens if token not in app.help_flags])[1][-1]
        if command.default_command is not None:
            command.help = None


def run(tokens: list[str]) -> int:
    """Run one command line; the exit code. What goes wrong is told in one message on stderr."""
    open_streams()
    with redirect_stdout(cast("TextIO", Output(sys.stdout))):
        return _run(tokens)


def _run(tokens: list[str]) -> int:
    try:
        log_at(os.environ.get("ALMA_LOG") or "warning")
        _tell_in_full(tokens)
        code = app(tokens, exit_on_error=False, result_action="return_value") or 0
        sys.stdout.flush()  # here, where a reader that went away is still told apart
        return int(code)
    except CycloptsError:
        return 2  # told already
    except AlmaError as error:
        for line in (str(error), *getattr(error, "__notes__", ())):
            say(line)
        return _code_of(error)
    except Unwritten as error:
        drop(sys.stdout)
        if error.gone:
            return 141
        say(f"The result cannot be written to standard output ({error}). What was done in Alma stays done.")
        return 74
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last word of the process
        say(f"This is a defect of alma-async ({type(error).__name__}: {error}). ALMA_LOG=debug shows where.")
        if os.environ.get("ALMA_LOG", "").lower() == "debug":
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line)
        return 70


def _code_of(error: AlmaError) -> int:
    from alma_async._guard import LedgerBusy, LedgerError
    from alma_async.load.journal import JournalError, JournalInUse
    from alma_async.load.register import ServiceInUse

    if isinstance(error, (JournalInUse, LedgerBusy, ServiceInUse)):
        return 75
    if isinstance(error, (JournalError, LedgerError)):
        return 74
    return 3 if isinstance(error, _PASSING) else 2
