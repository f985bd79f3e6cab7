"""``sim``: serves the simulated Alma on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final, Literal

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from alma_async import sim as simulator
from alma_async.cli.console import show
from alma_async.cli.signals import attend
from alma_async.errors import ConfigurationError

__all__ = ["KEY", "sim"]

KEY: Final = "sim-demo"

# Faults that every client meets one day, without those that end the day.
_KINDS: Final = ("reject", "server_error", "html_200", "cut_before", "cut_after", "truncate")

Positive = Annotated[float, Parameter(validator=Number(gte=0))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]


def sim(
    *,
    host: str = "127.0.0.1",
    port: int = 8799,
    rate: float = 25,
    quota: int = 100_000,
    foreign: Positive = 0.0,
    latency: Positive = 0.2,
    jitter: Positive = 0.0,
    faults: Share = 0.0,
    fault: Sequence[str] = (),
    window: Literal["fixed", "sliding", "bucket"] = "fixed",
    put: Literal["replaces", "keeps"] = "replaces",
    coverage_in_post: bool = False,
    write_answers: Literal["whole", "without_coverage", "short"] = "whole",
    leave_out_empty: bool = False,
    odd_fields: Share = 0.0,
    set_jobs: bool = False,
    combined_names: Literal["required", "optional", "given"] = "required",
    combine_seconds: Positive = 0.0,
    list_lag: Positive = 0.0,
    gateway_timeout: Positive | None = None,
    job_seconds: Positive | None = None,
    running_code: Literal["402222", "402223", "either"] = "402222",
    runs_kept: Positive | None = None,
    date_off: float = 0.0,
    date_share: Share = 1.0,
    date_missing: Share = 0.0,
    environment: Literal["sandbox", "production"] = "sandbox",
    retry_after: Annotated[int, Parameter(validator=Number(gte=0))] | None = None,
    seed: int = 0,
    allow_any_key: bool = False,
) -> int:
    """Serve a simulated Alma, and a Polaris beside it, on this machine, until Ctrl-C.

    :param host: the address it listens at: 127.0.0.1 or ::1
    :param port: the port it listens at; 0 chooses a free one
    :param rate: calls a second, for all clients together; 0 sets no limit
    :param quota: calls that a day allows
    :param foreign: calls a second that other integrations make
    :param latency: seconds that each answer takes
    :param jitter: at most so many seconds more, at random
    :param faults: share of the calls that fail: rejected, an error, cut off before or after their
        effect
    :param fault: NAME=SHARE, repeated: the share of the calls with one fault, such as
        routing_error=0.05; a wrong name prints all names
    :param window: how calls a second are counted: by the second of the clock, over the last second,
        or by a token bucket
    :param put: what an update does with the fields it leaves out: clears them, or keeps them (then
        an empty text clears)
    :param coverage_in_post: keep the coverage of a new portfolio; by default it is ignored
    :param write_answers: which fields the answers to creates and updates have; short are those of a
        list
    :param leave_out_empty: leave empty fields out of answers, as newer versions of Alma do
    :param odd_fields: share of the optional fields in an unusual form: a date with a time, "True",
        12.0, a code as plain text
    :param set_jobs: let a set made of others name the run of the job that fills it
    :param combined_names: whether combined sets need a name, may have one, or are always named by
        Alma
    :param combine_seconds: seconds that combining two sets takes
    :param list_lag: seconds until lists show a new set or run
    :param gateway_timeout: seconds after which the gateway answers ROUTING_ERROR while the call is
        still processed; by default never
    :param job_seconds: seconds that each run of a job takes; by default minutes, at random
    :param running_code: the code for too many running jobs; the other one stands for too many
        starts
    :param runs_kept: seconds after its end for which a run is known; by default for ever
    :param date_off: seconds that the Date of answers is ahead of the clock
    :param date_share: share of the answers whose Date is off; the others are right
    :param date_missing: share of the answers without a Date
    :param environment: which kind of environment it says it is
    :param retry_after: seconds that the header Retry-After of each 429 and 503 names; by default
        there is none
    :param seed: the seed of all that is random: the same seed, the same faults
    :param allow_any_key: accept keys that do not begin with sim-
    """
    config = simulator.Config(
        rate=rate or None,
        quota=quota,
        foreign=foreign,
        latency=simulator.Latency(base=latency, jitter=jitter),
        faults=_plan(faults, fault, seed),
        window=window,
        put=put,
        coverage_in_post=coverage_in_post,
        write_answers=write_answers,
        empty_members=not leave_out_empty,
        odd_fields=odd_fields,
        set_jobs=set_jobs,
        running_code=running_code,
        runs_kept=runs_kept,
        date=simulator.Dates(off=date_off, share=date_share, missing=date_missing),
        environment=environment.upper(),
        retry_after=retry_after,
        combined_names=combined_names,
        combine_seconds=combine_seconds,
        list_lag=list_lag,
        gateway_timeout=gateway_timeout,
        seed=seed,
        allow_any_key=allow_any_key,
    )
    world = simulator.World.demo(config)
    if job_seconds is not None:
        world.jobs.all |= {job.id: attrs.evolve(job, duration=job_seconds) for job in world.jobs.all.values()}
    anyio.run(attend, partial(_serve, host, port, world))
    return 0  # a server ends by an interrupt


def _plan(faults: float, named: Sequence[str], seed: int) -> simulator.FaultPlan:
    """The usual faults in equal parts, and those that were named.

    :raises ConfigurationError: for an unknown name, or what is no share.
    """
    shares = dict.fromkeys(_KINDS, faults / len(_KINDS)) if faults else {}
    try:
        for one in named:
            name, _, share = one.partition("=")
            shares[name] = float(share)
        return simulator.FaultPlan.named(shares, seed=seed)
    except ValueError as error:
        raise ConfigurationError(f"--fault is NAME=SHARE, such as stall=0.05: {error}") from None


async def _serve(host: str, port: int, world: simulator.World) -> None:
    try:
        async with simulator.serve(world, host=host, port=port) as server:
            for line in _usage(server.base_url):
                show(line)
            sys.stdout.flush()
            await anyio.sleep_forever()
    except OSError as error:
        failure = os.strerror(error.errno) if error.errno else str(error)
        advice = "Choose another --port; 0 is any that is free."
    except ValueError as error:
        failure, advice = str(error).rstrip("."), ""
    raise ConfigurationError(
        f"The simulator cannot listen on {host!r}, port {port}: {failure}.", advice=advice
    )


def _usage(base_url: str) -> list[str]:
    return [
        f"export ALMA_BASE_URL={base_url}",
        f"export ALMA_API_KEY={KEY}",
        f"# collection {simulator.DEMO_COLLECTION}, service {simulator.DEMO_SERVICE}",
        f"export POLARIS_BASE_URL={base_url}",
        f"export POLARIS_ORGANIZATION_ID={simulator.POLARIS_ORGANIZATION}",
        f"export POLARIS_WORKSTATION_ID={simulator.POLARIS_WORKSTATION}",
        f"export POLARIS_API_KEY={simulator.POLARIS_KEY}",
    ]
