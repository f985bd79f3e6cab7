"""The commands by name, and the one place where errors become exit codes.

Each command is imported when it is called. Exit codes: 0 all done; 1 done, but something was rejected, failed or needs review;
2 wrong use, configuration, key or file; 3 stopped and resumable, or not possible now; 4 a job that may have been started (check
before you repeat); 74 journal, ledger or output cannot be read or written; 75 journal or ledger in use; 130 and 143 interrupted.
Beyond these: 70 for a defect of alma-async, 141 where the reader of the output has closed the pipe.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from contextlib import redirect_stdout
from typing import Final, TextIO, cast

from cyclopts import App, ArgumentCollection, CycloptsError, MissingArgumentError, Parameter
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
    StoreUnavailable,
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
    StoreUnavailable,
)

_ENV: Final = Env("ALMA_", show=False)


def _variables(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Options from variables; a hyphen in the name of a command is an underscore in the name of its variable.

    ``--read-only=false`` counts as not given: it does not hide a variable that says ``1``.
    """
    for argument in arguments:
        if argument.name == "--read-only":
            argument.tokens = [token for token in argument.tokens if token.implicit_value is not False]
    _ENV(app, tuple(command.replace("-", "_") for command in commands), arguments)


def _shown_default(value: object) -> str | None:
    """A default as help shows it; none where the option is off or empty without it."""
    if value is True:
        return "on"
    return f"{value:g}" if isinstance(value, float) and value else str(value) if value else None


def _wrong_use(error: CycloptsError) -> str:
    """What is wrong with a command line, and where its help is."""
    text = str(error)
    if (
        isinstance(error, MissingArgumentError)
        and error.argument
        and not (error.keyword or error.argument.tokens)
    ):
        text = f"{error.argument.name} is missing."
    command = " ".join(("alma-async", *(error.command_chain or ())))
    return f"{text} Help: {command} --help"


app: App = App(
    name="alma-async",
    help="Alma's electronic resources, sets and jobs from the shell, within the institution's allowance.",
    help_epilogue=(
        "The key comes from ALMA_API_KEY or a file. Every option has a variable: "
        "--wait-for-quota of load is ALMA_LOAD_WAIT_FOR_QUOTA. ALMA_LOG=debug logs details."
    ),
    help_format="plaintext",
    version=__version__,
    config=_variables,
    # An option is off unless it is given: those that are on by default name their own negative.
    default_parameter=Parameter(negative_bool="", negative_iterable="", show_default=_shown_default),
    suppress_keyboard_interrupt=False,
)

_COMMANDS: Final = {
    "demo": ("demo:demo", "Load the sample list into a simulated Alma; needs no account."),
    "load": ("load:load", "Load a file of rows into the portfolios of one service."),
    "sync": ("load:sync", "Load a complete list; report, deactivate or delete what it does not name."),
    "resume": ("load:resume", "Continue an interrupted load; without a name, list the journals."),
    "loads": ("load:loads", "List the loads in the store: state, owner, progress."),
    "undo": ("load:undo", "Undo a load, from its journal."),
    "verify": ("verify:verify", "Compare a load's journal with what Alma holds now."),
    "compare": ("compare:compare", "Compare a list with a service; change nothing."),
    "export": ("export:export", "Write a service as a list that load takes back."),
    "quota": ("quota:quota", "Show the remaining calls and what this installation reserves."),
    "doctor": ("doctor:doctor", "Check key, address, rights in each area, clock and state directory."),
    "probe": ("probe:probe", "Find out what this Alma does where no document says it."),
    "worker": ("worker:worker", "Carry out tasks of the store: loads, jobs, what follows a job's end."),
    "sim": ("sim:sim", "Serve a simulated Alma, and a Polaris beside it, on this machine."),
}


def _of_objects(kind: str, *, deletes: str) -> dict[str, tuple[str, str]]:
    """The commands of the area of one kind of electronic objects."""
    return {
        "list": (f"electronic:list_{kind}s", "List all, one line each."),
        "get": (f"electronic:get_{kind}", "Get one, with all fields."),
        "create": (f"electronic:create_{kind}", "Create one from an object in JSON."),
        "update": (f"electronic:update_{kind}", "Replace one by an object in JSON."),
        "delete": (f"electronic:delete_{kind}", deletes),
    }


# Each area: its help, and its commands with theirs.
_AREAS: Final = {
    "collections": (
        "Electronic collections.",
        _of_objects("collection", deletes="Delete one that has no services."),
    ),
    "services": (
        "Electronic services of a collection.",
        _of_objects("service", deletes="Delete one that has no portfolios."),
    ),
    "portfolios": ("Portfolios of a service.", _of_objects("portfolio", deletes="Delete one.")),
    "sets": (
        "Sets and their members.",
        {
            "list": ("sets:list_sets", "List all or some, one line each."),
            "get": ("sets:get_set", "Get one, without its members."),
            "create": ("sets:create_set", "Create one: itemized and empty, or logical."),
            "combine": ("sets:combine_sets", "Create one of two others."),
            "filter": (
                "sets:filter_set",
                "Create one of the members of another that an indication rule finds.",
            ),
            "from-logical": ("sets:set_from_logical", "Create one of what a logical set finds now."),
            "from-import": ("sets:set_from_import", "Create one of what an import loaded."),
            "in-network": (
                "sets:set_in_network",
                "Create one in the Network Zone, of a set of an institution.",
            ),
            "update": ("sets:update_set", "Change name, description, note or visibility of one."),
            "delete": ("sets:delete_set", "Delete one; its members are not deleted."),
            "members": ("sets:list_members", "List all members, one line each."),
            "add": ("sets:add_members", "Add members."),
            "remove": ("sets:remove_members", "Remove members."),
            "replace": ("sets:replace_members", "Make these the members."),
        },
    ),
    "jobs": (
        "Jobs, their runs, and starting them within Alma's limits.",
        {
            "list": ("jobs:list_jobs", "List all or some, one line each."),
            "get": ("jobs:get_job", "Get one, with all fields."),
            "submit": ("jobs:submit_job", "Start one as soon as the limits allow; --wait waits for its end."),
            "guard": ("jobs:show_guard", "Show what runs, and when each may start again; free a slot."),
            "instances": ("jobs:list_instances", "List the runs of one."),
            "instance": ("jobs:get_instance", "Get one run, with its counters."),
            "wait": ("jobs:await_run", "Wait for the end of one run; ends with 1 where it failed."),
            "events": ("jobs:list_events", "List what a run rejected."),
            "matches": ("jobs:list_matches", "List what an import matched."),
            "download": (
                "jobs:download_records",
                "Download the records that an import loaded, 8 MiB at most.",
            ),
        },
    ),
    "store": (
        "The PostgreSQL database that several machines share. ALMA_STORE or ALMA_STORE_FILE says which.",
        {
            "init": ("store:init_store", "Make the schema, or bring it up to this version."),
            "check": (
                "store:check_store",
                "Show version, role, encryption, clock and speed; change nothing.",
            ),
        },
    ),
    "polaris": (
        "Innovative Polaris: record sets. The login comes from POLARIS_USER, POLARIS_PASSWORD and so on, or from files.",
        {
            "create-record-set": ("polaris:create_record_set", "Create a record set of the ids in a file."),
            "get": ("polaris:get_record_set", "Get one record set, without its contents."),
            "records": ("polaris:list_records", "List the records of a record set, one line each."),
            "status": ("polaris:show_status", "Show the version of the server."),
        },
    ),
}

for _name, (_path, _help) in _COMMANDS.items():
    app.command(f"alma_async.cli.{_path}", name=_name, help=_help)
for _name, (_help, _commands) in _AREAS.items():
    _area = App(name=_name, help=_help)
    for _command, (_path, _help) in _commands.items():
        _area.command(f"alma_async.cli.{_path}", name=_command, help=_help)
    app.command(_area)


def _use_full_help(tokens: list[str]) -> None:
    """Show the whole help of a command that is asked for it; lists show one line, for which nothing is imported."""
    if not {*app.help_flags}.isdisjoint(tokens):
        command = app.parse_commands([token for token in tokens if token not in app.help_flags])[1][-1]
        if (function := command.default_command) is not None:
            command.help = None
            # The lines of a paragraph are wrapped to the terminal, not as the source wraps them.
            function.__doc__ = re.sub(r"(?<=\S)\n +(?=[^:\s])", " ", function.__doc__ or "")


def run(tokens: list[str]) -> int:
    """Run one command line; its exit code. An error is one message on stderr."""
    open_streams()
    with redirect_stdout(cast("TextIO", Output(sys.stdout))):
        return _run(tokens)


def _run(tokens: list[str]) -> int:
    try:
        log_at(os.environ.get("ALMA_LOG") or "warning")
        _use_full_help(tokens)
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value") or 0
        sys.stdout.flush()  # here, where a closed pipe can still be handled
        return int(code)
    except CycloptsError as error:
        say(_wrong_use(error))
        return 2
    except AlmaError as error:
        message = str(error)
        for line in (message, *(note for note in getattr(error, "__notes__", ()) if note not in message)):
            say(line)
        return _code_of(error)
    except Unwritten as error:
        object_id = getattr(sys.stdout, "shown_id", "")
        drop(sys.stdout)
        whose = f" The result is of the id {object_id}." if object_id else ""
        if whose or not error.gone:
            say(
                f"The result cannot be written to standard output ({error}). What was done in Alma stays done.{whose}"
            )
        return 141 if error.gone else 74
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the process ends here
        say(f"This is a defect of alma-async ({type(error).__name__}: {error}). ALMA_LOG=debug shows where.")
        if os.environ.get("ALMA_LOG", "").lower() == "debug":
            for line in "".join(traceback.format_exception(error)).splitlines():
                say(line)
        return 70


def _code_of(error: AlmaError) -> int:
    from alma_async._guard import LedgerBusy, LedgerError
    from alma_async.load.journal import JournalError, JournalInUse
    from alma_async.load.register import ServiceInUse
    from alma_async.load.surplus import BeyondBound

    if isinstance(error, (JournalInUse, LedgerBusy, ServiceInUse)):
        return 75
    if isinstance(error, (JournalError, LedgerError)):
        return 74
    if isinstance(error, BeyondBound):
        return 1
    return 3 if isinstance(error, _PASSING) else 2
