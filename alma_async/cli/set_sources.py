"""``sets combine``, ``filter``, ``from-logical``, ``from-import`` and ``in-network``: new sets of what is there already.

Decides the content of a new set where the command does not say: that of the set it is made of; bibs where it is made of an
import, or of a set of another zone. All of them fill after the answer, so each can wait for that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async.alma.client import AlmaClient
from alma_async.alma.models.sets import AlmaSet
from alma_async.cli.connection import FROM_ENVIRONMENT, Connection
from alma_async.cli.console import say
from alma_async.cli.sets import UNDESCRIBED, Described
from alma_async.cli.tables import DryRun, Json, show_answer
from alma_async.errors import ConfigurationError
from alma_async.wire.messages import Request

__all__ = ["combine_sets", "filter_set", "set_from_import", "set_from_logical", "set_in_network"]

_BIBS: Final = "BIB_MMS"


@Parameter(name="*", group=Group("Filling", sort_key=6))
@attrs.frozen(kw_only=True)
class Filling:
    """Whether to stay until the set has filled."""

    wait: Annotated[bool, Parameter(negative="", help="wait until it has filled, after it was made")] = False
    timeout: Annotated[float | None, Parameter(validator=Number(gte=0), help="seconds to --wait at most")] = (
        None
    )

    def made(
        self,
        connection: Connection,
        make: Callable[[AlmaClient], Awaitable[AlmaSet | Request]],
        *,
        json: bool,
    ) -> int:
        """Run a command that makes a set.

        :raises ConfigurationError: for a limit to a wait that was not asked for.
        """
        if self.timeout is not None and not self.wait:
            raise ConfigurationError("--timeout is for --wait; nothing was sent.")

        async def filled(alma: AlmaClient) -> AlmaSet | Request:
            alma_set = await make(alma)
            if not self.wait or not isinstance(alma_set, AlmaSet):
                return alma_set
            say(f"Set {alma_set.id} is made and fills.")
            return await alma.sets.wait_until_filled(alma_set.id, timeout=self.timeout)

        return show_answer(connection, filled, json=json)


def combine_sets(
    name: str,
    operator: Literal["AND", "OR", "NOT"],
    set1: str,
    set2: str,
    /,
    *,
    filling: Filling = Filling(),
    described: Described = UNDESCRIBED,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Make a set of two others. It fills after the answer.

    :param name: no other set has it
    :param operator: in both, in either, or in the first but not in the second
    :param set1: the id of the first
    :param set2: the id of the second
    """

    async def combined(alma: AlmaClient) -> AlmaSet | Request:
        return await alma.sets.combine(
            await described.like(name, alma, set1), operator, set1, set2, dry_run=dry_run
        )

    return filling.made(connection, combined, json=json)


def filter_set(
    name: str,
    set_id: str,
    rule: str,
    /,
    *,
    filling: Filling = Filling(),
    described: Described = UNDESCRIBED,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Make a set of those members of another that an indication rule finds. It fills after the answer.

    :param name: no other set has it
    :param set_id: the id of the other set
    :param rule: the name of the indication rule, as Alma's configuration shows it
    """

    async def filtered(alma: AlmaClient) -> AlmaSet | Request:
        return await alma.sets.create_filtered(
            await described.like(name, alma, set_id), set_id, rule, dry_run=dry_run
        )

    return filling.made(connection, filtered, json=json)


def set_from_logical(
    name: str,
    set_id: str,
    /,
    *,
    filling: Filling = Filling(),
    described: Described = UNDESCRIBED,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Make an itemized set of what a logical one finds now. It fills after the answer.

    :param name: no other set has it
    :param set_id: the id of the logical set
    """

    async def frozen(alma: AlmaClient) -> AlmaSet | Request:
        return await alma.sets.create_from_logical(
            await described.like(name, alma, set_id), set_id, dry_run=dry_run
        )

    return filling.made(connection, frozen, json=json)


def set_from_import(
    name: str,
    instance: str,
    population: str,
    /,
    *,
    filling: Filling = Filling(),
    described: Described = UNDESCRIBED,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Make a set of records that one run of a metadata import brought.

    :param name: no other set has it
    :param instance: the id of the run
    :param population: one that the run names in its actions, such as TOTAL_RECORDS_IMPORTED
    """
    alma_set = described.as_set(name, content=_BIBS)

    def imported(alma: AlmaClient) -> Awaitable[AlmaSet | Request]:
        return alma.sets.create_from_import(alma_set, instance, population, dry_run=dry_run)

    return filling.made(connection, imported, json=json)


def set_in_network(
    name: str,
    set_id: str,
    /,
    *,
    filling: Filling = Filling(),
    described: Described = UNDESCRIBED,
    dry_run: DryRun = False,
    json: Json = False,
    connection: Connection = FROM_ENVIRONMENT,
) -> int:
    """Make a set in the Network Zone, of the records that those of a set of an institution are linked to.

    :param name: no other set has it
    :param set_id: the id of the itemized set of the Institution Zone; the key is one of the Network Zone
    """
    alma_set = described.as_set(name, content=_BIBS)

    def linked(alma: AlmaClient) -> Awaitable[AlmaSet | Request]:
        return alma.sets.create_in_network(alma_set, set_id, dry_run=dry_run)

    return filling.made(connection, linked, json=json)
