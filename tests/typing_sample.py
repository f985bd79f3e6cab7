"""What checkers must see of the public face, and what they must refuse; read by the type checker alone, never run.

An ignore that is not needed is an error, so each line with one is a mistake that is found.
"""

from __future__ import annotations

from typing import assert_type

import alma_async
from alma_async import AlmaClient, AlmaSet, Portfolio

from alma_async import AlmaCliemt  # type: ignore[attr-defined]  # isort: skip
from alma_async._http.messages import Request
from alma_async.load import Lode  # type: ignore[attr-defined]
from alma_async.polaris import PolarisClient, PolarisKlient  # type: ignore[attr-defined]

alma_async.Portfolioo  # type: ignore[attr-defined]  # noqa: B018
AlmaCliemt, Lode, PolarisKlient  # noqa: B018


async def a_dry_run_may_be_a_variable(
    alma: AlmaClient, portfolio: Portfolio, alma_set: AlmaSet, dry: bool
) -> None:
    """The three forms of each write."""
    portfolios, sets = alma.electronic.portfolios, alma.sets
    assert_type(await portfolios.update("61", "62", portfolio), Portfolio)
    assert_type(await portfolios.update("61", "62", portfolio, replace=True, dry_run=True), Request)
    assert_type(await portfolios.update("61", "62", portfolio, dry_run=dry), Portfolio | Request)
    assert_type(await portfolios.create("61", "62", portfolio, dry_run=dry), Portfolio | Request)
    assert_type(await portfolios.delete("61", "62", "53", dry_run=dry), Request | None)
    assert_type(await alma.electronic.collections.delete("61", dry_run=dry), Request | None)
    assert_type(await sets.combine(alma_set, "AND", "1", "2", dry_run=dry), AlmaSet | Request)
    await sets.add_members("1", ["2"], dry_run=dry)
    assert_type(await portfolios.patch("61", "62", "53", public_note="a", availability="10"), Portfolio)
    assert_type(await portfolios.patch("61", "62", "53", dry_run=dry), Portfolio | Request | None)
    await portfolios.patch("61", "62", "53", publik_note="a")  # type: ignore[call-overload]
    await alma.electronic.services.patch("61", "62", activate_new_portfolios="no")  # type: ignore[call-overload]


def the_environment_is_typed(dry: bool) -> None:
    """Arguments that win over the environment are those of the client."""
    assert_type(AlmaClient.from_env(region="eu", language="de"), AlmaClient)
    AlmaClient.from_env(regoin="eu")  # type: ignore[call-arg]
    AlmaClient.from_env(region=5)  # type: ignore[arg-type]
    assert_type(PolarisClient.from_env(organization_id=3), PolarisClient)
    PolarisClient.from_env(organisation_id=3)  # type: ignore[call-arg]
