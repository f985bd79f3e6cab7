"""Guarded starts from the shell, with each exit code."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async import sim
from alma_async.cli.jobs import parameters
from alma_async.errors import ConfigurationError
from tests.cli.conftest import Served, Shell
from tests.cli.test_load import until

JOB = sim.DEMO_JOB
SUBMIT = ("jobs", "submit", JOB, "--param")


def quick(world: sim.World, *, seconds: float = 0.0, failed: float = 0.0) -> str:
    """Let the job take so long and fail on that share of 4 portfolios; the id of a set of them."""
    job = world.jobs.all[JOB]
    processed, failing = job.counters
    counters = (processed, attrs.evolve(failing, share=failed))
    world.jobs.add(attrs.evolve(job, duration=seconds, counters=counters))
    for n in range(4):
        sent = {"resource_metadata": {"mms_id": {"value": f"99100000{n}"}}, "availability": {"value": "11"}}
        world.portfolios.create(sim.DEMO_COLLECTION, sim.DEMO_SERVICE, sent, now=0.0)
    sent = {"name": "All", "type": {"value": "ITEMIZED"}, "content": {"value": "PORTFOLIO"}}
    set_id: str = world.sets.create(sent, now=0.0)["id"]
    members = {"members": {"member": [{"id": one} for one in world.portfolios.all]}}
    world.sets.manage(set_id, {"op": "add_members"}, members, now=0.0)
    return f"set_id={set_id}"


def test_a_run_that_succeeded_is_0(shell: Shell, served: Served) -> None:
    """With --wait the run's end and counters are told, and as one object with --json."""
    with served() as world:
        on = quick(world)
        ran = shell(*SUBMIT, on, "--param", "job_name=Tides", "--wait", "--json")
        told = json.loads(ran.out)
        assert (ran.code, told["status"], told["failed"]) == (0, "COMPLETED_SUCCESS", 0)
        assert told["counters"]["label.processed.records"] == 4
        (run,) = world.jobs.runs
        assert (told["instance_id"], run.name.startswith("Tides ")) == (run.id, True)
        text = shell(*SUBMIT, on, "--wait").out
        assert re.search(r"^label\.processed\.records +4$", text, re.MULTILINE)


def test_failures_that_a_success_hides_are_1(shell: Shell, served: Served) -> None:
    """A run that succeeded by its status but failed on records ends with 1."""
    with served() as world:
        ran = shell(*SUBMIT, quick(world, failed=0.5), "--wait", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["succeeded"], told["failed"]) == (1, True, 2)


def test_a_run_that_failed_is_1(shell: Shell, served: Served) -> None:
    """A run whose status is no success ends with 1."""
    with served() as world:
        quick(world)
        ran = shell(*SUBMIT, "set_id=95999", "--wait", "--json")
    assert (ran.code, json.loads(ran.out)["status"]) == (1, "FAILED")


def test_without_wait_it_is_only_started(shell: Shell, served: Served) -> None:
    """Without --wait the run is told and the command ends with 0, however long the job takes."""
    with served() as world:
        ran = shell(*SUBMIT, quick(world, seconds=1e6), "--json")
        (run,) = world.jobs.runs
    assert (ran.code, json.loads(ran.out)["instance_id"]) == (0, run.id)


def test_running_jobs_hold_the_fourth_back(shell: Shell, served: Served) -> None:
    """While three run, --no-queue ends with 3; so does waiting at the end of its --timeout, and Alma is never asked to refuse."""
    with served() as world:
        on = quick(world, seconds=1e6)
        for _ in range(3):
            assert shell(*SUBMIT, on).code == 0
        for manner in (("--no-queue",), ("--timeout", "0")):
            ran = shell(*SUBMIT, on, *manner)
            assert (ran.code, ran.out) == (3, "")
            assert "running" in ran.err
        assert (len([*world.jobs.runs]), dict(world.jobs.rejected)) == (3, {})


def test_starts_of_the_hour_tell_when_the_next_is_free(shell: Shell, served: Served) -> None:
    """After five starts within the hour the moment of the next is told, with --no-queue and to whoever waits."""
    with served() as world:
        on = quick(world)
        for _ in range(5):
            assert shell(*SUBMIT, on).code == 0
        assert re.search(r"Free again at \d{4}-.* UTC", shell(*SUBMIT, on, "--no-queue").err)
        waited = shell(*SUBMIT, on, "--timeout", "1")
        assert waited.code == 3
        assert re.search(r"Waiting until [\d:]{8} UTC", waited.err)
        assert len([*world.jobs.runs]) == 5


def test_a_key_starts_once(shell: Shell, served: Served) -> None:
    """Under the same --key a second command is told of the first one's run."""
    with served() as world:
        on = quick(world)
        first, second = (json.loads(shell(*SUBMIT, on, "--key", "tides", "--json").out) for _ in range(2))
        assert len([*world.jobs.runs]) == 1
    assert first["instance_id"] == second["instance_id"]


def test_not_ended_in_time_is_4(shell: Shell, served: Served) -> None:
    """A run that outlasts --timeout goes on, and a repeat would start another: 4, and how to look at it is told."""
    with served() as world:
        ran = shell(*SUBMIT, quick(world, seconds=1e6), "--wait", "--timeout", "0.2")
        (run,) = world.jobs.runs
    assert (ran.code, ran.out) == (4, "")
    assert f"alma-async jobs instance {JOB} {run.id}" in ran.err


def test_a_lost_answer_is_4_and_a_repeat_does_not_double(shell: Shell, served: Served) -> None:
    """Where the run may have been started the command ends with 4 and says until when; the same command again finds it."""
    lost = sim.Rule(sim.Fault("cut_after"), method="POST", path=f"jobs/{JOB}")
    with served(faults=sim.FaultPlan(rules=[lost]), list_lag=2.0) as world:
        on = quick(world)
        ran = shell(*SUBMIT, on, "--timeout", "0.5")
        assert (ran.code, ran.out) == (4, "")
        assert re.search(r"may still appear until [\d:]{8} UTC", ran.err)
        ran = shell(*SUBMIT, on, "--json")
        (run,) = world.jobs.runs
    assert ran.code == 0
    assert (json.loads(ran.out)["instance_id"], json.loads(ran.out)["adopted"]) == (run.id, True)


def test_another_parameter_under_the_same_key_is_2(shell: Shell, served: Served) -> None:
    """A key that was used with other parameters is no key for these: told by the parameter's name, and nothing is sent."""
    with served() as world:
        assert shell(*SUBMIT, quick(world), "--key", "night").code == 0
        ran = shell(*SUBMIT, "set_id=4711", "--key", "night")
        assert len([*world.jobs.runs]) == 1
    assert (ran.code, ran.out) == (2, "")
    assert "set_id (another value)" in ran.err


def test_a_dry_run_is_what_is_sent(shell: Shell, served: Served) -> None:
    """--dry-run shows the very request, the name of the run included, and sends nothing."""
    with served() as world:
        on = quick(world)
        asked = (*SUBMIT, on, "--param", "job_name=Tides", "--key", "night")
        ran = shell(*asked, "--dry-run", "--json")
        assert (ran.code, len(world.tally.received)) == (0, 0)
        planned = {one["name"]["value"]: one["value"] for one in json.loads(ran.out)["body"]["parameter"]}
        assert shell(*asked, "--dry-run").out.startswith(f"POST /almaws/v1/conf/jobs/{JOB}?op=run\n")
        shell(*asked)
        (run,) = world.jobs.runs
        assert dict(run.parameters) == planned


def test_a_run_can_be_left_without_a_name(shell: Shell, served: Served) -> None:
    """With --no-name no job_name is sent that was not given, and the run is told without one."""
    with served() as world:
        ran = shell(*SUBMIT, quick(world), "--no-name", "--json")
        (run,) = world.jobs.runs
    assert (ran.code, json.loads(ran.out)["name"]) == (0, "")
    assert "job_name" not in dict(run.parameters)


@pytest.mark.slow
def test_interrupted_during_the_submission_its_name_is_told(shell: Shell, served: Served) -> None:
    """Ctrl-C while Alma has the submission: 130, what may have been started is told by its name, and a repeat takes it up."""
    slow = sim.Rule(sim.Fault("slow", delay=3.0), method="POST", path=f"jobs/{JOB}")
    with served(faults=sim.FaultPlan(rules=[slow])) as world:
        on = quick(world)
        process = shell.start(*SUBMIT, on)
        until(lambda: len([*world.jobs.runs]) == 1)
        process.send_signal(signal.SIGINT)
        ran = shell.wait(process)
        (run,) = world.jobs.runs
        again = shell(*SUBMIT, on, "--json")
        assert len([*world.jobs.runs]) == 1
    assert (ran.code, ran.out) == (130, "")
    assert dict(run.parameters)["job_name"] in ran.err
    assert json.loads(again.out)["instance_id"] == run.id


@pytest.mark.parametrize(("failed", "code"), [(0.0, 0), (0.5, 1)])
def test_a_run_can_be_waited_for_later(shell: Shell, served: Served, failed: float, code: int) -> None:
    """``jobs wait`` shows the end of a run that was started before, by job or by ALL, and tells its failures with 1."""
    with served() as world:
        started = json.loads(shell(*SUBMIT, quick(world, failed=failed), "--json").out)["instance_id"]
        for job in (JOB, "ALL"):
            ran = shell("jobs", "wait", job, started, "--json")
            told = json.loads(ran.out)
            assert (ran.code, told["id"], told["status"]["value"]) == (code, started, "COMPLETED_SUCCESS")


def test_a_wait_ends_with_its_timeout(shell: Shell, served: Served) -> None:
    """A run that outlasts --timeout is told with 3; a timeout that is none, with its option."""
    with served() as world:
        started = json.loads(shell(*SUBMIT, quick(world, seconds=1e6), "--json").out)["instance_id"]
        ran = shell("jobs", "wait", JOB, started, "--timeout", "0.1")
        assert (ran.code, ran.out) == (3, "")
        ran = shell("jobs", "wait", JOB, started, "--timeout", "-1")
        assert (ran.code, "--timeout" in ran.err) == (2, True)


@pytest.mark.slow
def test_an_interrupted_wait_leaves_the_run_told(shell: Shell, served: Served) -> None:
    """Ctrl-C while waiting ends with 130; the run was told before, and goes on."""
    with served() as world:
        process = shell.start(*SUBMIT, quick(world, seconds=1e6), "--wait")
        assert process.stderr is not None
        told = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ran = shell.wait(process)
        (run,) = world.jobs.runs
    assert (ran.code, ran.out, ran.err) == (130, "", "")
    assert run.id in told


@pytest.mark.slow
def test_who_waits_in_line_can_leave(shell: Shell, served: Served) -> None:
    """Ctrl-C in the line ends with 130, starts nothing, and leaves no place in the line behind."""
    with served() as world:
        on = quick(world, seconds=1e6)
        for _ in range(3):
            shell(*SUBMIT, on)
        process = shell.start(*SUBMIT, on)
        assert process.stderr is not None
        assert "Waiting. The next poll is at " in process.stderr.readline()
        until(lambda: json.loads(shell("jobs", "guard", "--json").out)["jobs"][0]["waiting"] == 1)
        process.send_signal(signal.SIGINT)
        assert shell.wait(process).code == 130
        assert json.loads(shell("jobs", "guard", "--json").out)["jobs"][0]["waiting"] == 0
        assert len([*world.jobs.runs]) == 3


@pytest.mark.parametrize("wrong", ["set_id", "=1", "a=1 a=2"])
def test_parameters_that_are_none_are_2(shell: Shell, served: Served, wrong: str) -> None:
    """A parameter without name or value, or given twice, is told before anything is sent."""
    with served() as world:
        ran = shell(*("jobs", "submit", JOB), *(token for one in wrong.split() for token in ("--param", one)))
        assert (ran.code, len(world.tally.received)) == (2, 0)
    assert "nothing was sent" in ran.err


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_an_empty_key_is_2(shell: Shell, served: Served, more: tuple[str, ...]) -> None:
    """A key from a variable that is not set would make every run the same: it is refused, and nothing is sent."""
    with served() as world:
        ran = shell(*SUBMIT, "set_id=1", "--key", "", *more)
        assert (ran.code, ran.out, len(world.tally.received)) == (2, "", 0)
    assert "key must be" in ran.err


@pytest.mark.parametrize("manner", [("--no-queue",), ("--timeout", "0"), ("--timeout", "1")])
@pytest.mark.parametrize("held_by", ["running", "starts"])
def test_no_text_of_the_shell_speaks_python(
    shell: Shell, served: Served, held_by: str, manner: tuple[str, ...]
) -> None:
    """Why no start is free, and what to do, is told without an argument of the Python methods."""
    with served() as world:
        on = quick(world, seconds=1e6 if held_by == "running" else 0.0)
        for _ in range(3 if held_by == "running" else 5):
            assert shell(*SUBMIT, on).code == 0
        ran = shell(*SUBMIT, on, *manner)
    assert ran.code == 3
    assert held_by in ran.err
    assert not re.search(r"\w=\w|True|priority", ran.err)


def test_a_blip_at_the_first_look_is_waited_out(shell: Shell, served: Served) -> None:
    """One page of a proxy before the start does not end the command, unless it may not wait; what it waits for is told."""
    page = sim.Rule(sim.Fault("html_200"), path="conf/test")
    with served(faults=sim.FaultPlan(rules=[page])) as world:
        on = quick(world)
        assert shell(*SUBMIT, on, "--no-queue").code != 0
        assert [*world.jobs.runs] == []
    with served(faults=sim.FaultPlan(rules=[attrs.evolve(page, times=2)])) as world:
        ran = shell(*SUBMIT, quick(world))
        assert (ran.code, len([*world.jobs.runs])) == (0, 1)
    assert "waits out a failure" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [("jobs", "list"), (*SUBMIT, "set_id=1", "--wait"), ("quota",)])
def test_ctrl_c_while_the_command_starts_is_130(
    shell: Shell, served: Served, tokens: tuple[str, ...]
) -> None:
    """From its first import to its first call, an interrupted command ends with 130 and shows no traceback."""
    program = (
        "import sys; from alma_async.cli import main; print('ready', file=sys.stderr, flush=True); "
        "sys.exit(main(sys.argv[1:]))"
    )
    with served(latency=5.0) as world:
        for delay in (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0):
            process = subprocess.Popen(
                [sys.executable, "-c", program, *tokens],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stderr is not None
            assert process.stderr.readline() == "ready\n"
            time.sleep(delay)  # noqa: TID251 - a person's finger
            process.send_signal(signal.SIGINT)
            ran = shell.wait(process)
            assert (delay, ran.code, ran.out) == (delay, 130, "")
            assert "Traceback" not in ran.err
        assert [*world.jobs.runs] == []


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: "=" not in name), st.text()))
def test_values_may_hold_anything(wanted: dict[str, str]) -> None:
    """The first equals sign parts name and value; whatever follows is the value."""
    assert parameters([f"{name}={value}" for name, value in wanted.items()]) == wanted


def test_no_name_no_parameter() -> None:
    """A value without a name is refused by the parser itself."""
    with pytest.raises(ConfigurationError, match="NAME=VALUE"):
        parameters(["=x"])
