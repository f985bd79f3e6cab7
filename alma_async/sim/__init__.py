"""A simulated Alma, and a simulated Polaris beside it, to develop and to test against.

It shares no code with the client, so one mistake cannot hide in both. It counts calls as Alma does, rejects as
Alma rejects, lets jobs take their time, sends webhooks at their end, makes faults on request, and listens on this machine only:

    async with sim.serve(sim.World.demo()) as server:
        print(server.base_url, server.world.tally)

Objects are answered in JSON whatever is asked for; errors also in XML.
"""

from __future__ import annotations

from alma_async.sim.config import Config, Dates, Latency
from alma_async.sim.faults import Fault, FaultPlan, Faults, Fired, Rule
from alma_async.sim.job_runs import Counter, Job, Run
from alma_async.sim.polaris_world import (
    POLARIS_DOMAIN,
    POLARIS_KEY,
    POLARIS_ORGANIZATION,
    POLARIS_PASSWORD,
    POLARIS_USER,
    POLARIS_WORKSTATION,
    Door,
    PolarisWorld,
    Staff,
)
from alma_async.sim.server import Clock, Server, serve
from alma_async.sim.tally import Tally, busiest_fixed_second, busiest_second
from alma_async.sim.thresholds import Thresholds
from alma_async.sim.virtual_time import VirtualTimeLoop
from alma_async.sim.webhooks import Webhook, sign
from alma_async.sim.world import (
    DEMO_COLLECTION,
    DEMO_IMPORT,
    DEMO_JOB,
    DEMO_SERVICE,
    INSTITUTION,
    World,
)

__all__ = [
    "DEMO_COLLECTION",
    "DEMO_IMPORT",
    "DEMO_JOB",
    "DEMO_SERVICE",
    "INSTITUTION",
    "POLARIS_DOMAIN",
    "POLARIS_KEY",
    "POLARIS_ORGANIZATION",
    "POLARIS_PASSWORD",
    "POLARIS_USER",
    "POLARIS_WORKSTATION",
    "Clock",
    "Config",
    "Counter",
    "Dates",
    "Door",
    "Fault",
    "FaultPlan",
    "Faults",
    "Fired",
    "Job",
    "Latency",
    "PolarisWorld",
    "Rule",
    "Run",
    "Server",
    "Staff",
    "Tally",
    "Thresholds",
    "VirtualTimeLoop",
    "Webhook",
    "World",
    "busiest_fixed_second",
    "busiest_second",
    "serve",
    "sign",
]
