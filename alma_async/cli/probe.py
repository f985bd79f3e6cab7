"""``probe``: what an institution's Alma does where no document says it, found out with consent and one portfolio."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, cast

from alma_async._text import counted, duration
from alma_async._version import __version__
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import agreed, json_line, say, show
from alma_async.errors import ConfigurationError

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient
    from alma_async.load import Probed
    from alma_async.settings import Environment

__all__ = ["probe"]

_INTERRUPTED: Final = (130, 143)


def probe(
    *,
    collection: str,
    service: str,
    mms_id: str,
    yes: bool = False,
    show_institution: bool = False,
    json: bool = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Find out what this Alma does where no document says it: how updates treat fields left out and empty values, whether creates
    take coverage, how much answers show, and calls for 100 bib records.

    Makes one inactive portfolio in a service, changes it some ten times, and deletes it: some 40 calls. Only on a
    sandbox, unless --expect production. What an earlier probe left when it was cut off is deleted first. Loads, their prices and
    doctor use what is found out. Ends with 1 where something could not be.

    :param collection: id of the electronic collection
    :param service: id of its service, in which the portfolio is made
    :param mms_id: the bib record that the portfolio is of
    :param yes: do not ask; needed where there is no terminal
    :param show_institution: print the institution's code, too
    :param json: one JSON object
    """
    expect = connection.environment(os.environ).get("ALMA_EXPECT", "").strip().lower() or "sandbox"
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
            expect=cast("Environment", expect),
            on_wait=_say_wait,
        )
        return _report(found, json=json, institution=show_institution)

    code = connection.run(work)
    if code in _INTERRUPTED:
        say("Interrupted. If a portfolio was made, the next probe deletes it.")
    return code


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
