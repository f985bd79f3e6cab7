"""``probe``: what an institution's Alma does where no document says it, found out with consent and
one portfolio.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from alma_async._http.json_text import loads
from alma_async._text import counted, duration
from alma_async._version import __version__
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import agreed, json_line, say, show
from alma_async.cli.ids import read_text
from alma_async.errors import ConfigurationError

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient
    from alma_async.load import Probed

__all__ = ["probe"]

_INTERRUPTED: Final = (130, 143)


def probe(
    *,
    collection: str | None = None,
    service: str | None = None,
    mms_id: str | None = None,
    facts: str | None = None,
    yes: bool = False,
    show_institution: bool = False,
    json: bool = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Find out what this Alma does where no document says it: how updates treat fields left out and
    empty values, whether creates take coverage, how much answers show, and calls for 100 records.

    Makes one inactive portfolio in a service, changes it some ten times, and deletes it: some 40
    calls. Only on a sandbox, unless --expect production. What an earlier probe left when it was cut
    off is deleted first. Loads, their prices and doctor use what is found out. Ends with 1 where
    something could not be.

    :param collection: id of the electronic collection
    :param service: id of its service, in which the portfolio is made
    :param mms_id: the bib record that the portfolio is of
    :param facts: instead of all that: keep what --json printed for the same institution elsewhere,
        in its sandbox or on another machine; sends nothing
    :param yes: do not ask; needed where there is no terminal
    :param show_institution: print the institution's code, too
    :param json: one JSON object
    """
    if facts is not None:
        if collection or service or mms_id:
            raise ConfigurationError("--facts needs no place and no record: it makes nothing.")
        return connection.run(partial(_keep, file=facts))
    if not (collection and service and mms_id):
        raise ConfigurationError("--collection, --service and --mms-id say where the portfolio is made.")
    expect = connection.expect or "sandbox"
    question = (
        f"Make a portfolio of record {mms_id} in service {service} of collection {collection} ({expect}), change it some ten times "
        "and delete it?"
    )
    if not (yes or agreed(question, unasked=False)):
        raise ConfigurationError("Nothing was sent.", advice="--yes does not ask.")

    async def work(alma: AlmaClient) -> int:
        from alma_async.load import probe as probing  # it brings the loads

        found = await probing(
            alma,
            collection_id=collection,
            service_id=service,
            mms_id=mms_id,
            expect=expect,
            on_wait=_say_wait,
        )
        return _report(found, json=json, institution=show_institution)

    code = connection.run(work)
    if code in _INTERRUPTED:
        say("Interrupted. What was made is deleted, at the latest by the next probe.")
    return code


async def _keep(alma: AlmaClient, *, file: str) -> int:
    """Keep the facts in a file; its exit code."""
    from alma_async.load import keep_facts  # it brings the loads

    try:
        facts = loads(read_text(file).encode())
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise ConfigurationError(f"{file} holds no JSON object, as probe --json prints it.")
    for line in (await keep_facts(alma, facts)).lines():
        show(f"  {line}")
    return 0


def _say_wait(seconds: float) -> None:
    say(
        f"The answer to a create was lost, or an earlier probe was cut off: it may still be carried out. "
        f"Searching again in {duration(round(seconds))}."
    )


def _report(found: Probed, *, json: bool, institution: bool) -> int:
    for portfolio_id in found.removed:
        say(f"Deleted: the portfolio {portfolio_id}, which an earlier probe had left.")
    if json:
        named: dict[str, Any] = {"institution": found.institution} if institution else {}
        json_line({**named, **found.summary()})
        return found.exit_code
    whose = f"{found.institution}, " if institution else ""
    show(f"{whose}{found.environment}, {found.known.probed}, alma-async {__version__}")
    for line in found.known.lines():
        show(f"  {line}")
    if found.unknown:
        show(f"not found out: {', '.join(found.unknown)}")
    show(f"{counted(found.calls, 'call')} in {duration(found.seconds)}.")
    return found.exit_code
