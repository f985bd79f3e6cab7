"""The locked file: shared by real processes, and harmless whatever happens to it."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import random
import stat
import subprocess
import sys
from array import array
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._governance.budget import Budget, DayReport, LocalBudget
from alma_async._governance.file_budget import MachineBudget, machine_budget
from alma_async._governance.rate import LONGEST_HOLD, terms
from tests.governance.examples import MANY
from tests.governance.servers import busiest

T25 = terms(25, per_second=25, margin=0.01)
WALL = 20_000 * 86400 + 43_200.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "budgets" / "x.budget"


async def take(budget: Budget, now: float = 100.0) -> float:
    """When the next call may go."""
    return (await budget.reserve(T25, now=now, cost=1.0, waiting=0)).at


def told(budget: MachineBudget, remaining: int) -> None:
    """An answer came."""
    budget.report(
        DayReport(
            wall=WALL, sent_at=WALL - 0.2, per_second=25, ordinal=budget.spent, bulk=1, remaining=remaining
        )
    )


async def test_figures_of_an_earlier_civil_clock_are_not_believed(path: Path) -> None:
    """A process whose clock was ahead wrote the file, and then the clock was set back: another process begins the day anew."""
    first, second = MachineBudget(path), MachineBudget(path)
    for budget in (first, second):
        await take(budget)
    told(first, 0)
    wall = WALL - 5 * 3600
    assert second.quota.left(spent=2, wall=wall) is None
    second.report(
        DayReport(wall=wall, sent_at=wall - 0.2, per_second=25, ordinal=2, bulk=0, remaining=5000, date=wall)
    )
    assert first.quota.left(spent=2, wall=wall + 6 * 3600) == 5000


async def test_files_are_ours_alone(path: Path) -> None:
    """The file is 0600 in a directory 0700, whatever the umask says."""
    before = os.umask(0)
    try:
        MachineBudget(path)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)] == [0o600, 0o700]


async def test_a_new_file_is_an_empty_budget(path: Path) -> None:
    """Nothing is known of the last second, so the first slot is a window away, and the next are spaced."""
    budget = MachineBudget(path)
    moments = [await take(budget) for _ in range(3)]
    assert moments == pytest.approx([101.01 + n * T25.interval for n in range(3)])


async def test_everything_survives_reopening(path: Path) -> None:
    """A second client of the machine sees pace, hold, count and the day's figures."""
    one, two = MachineBudget(path), MachineBudget(path)
    await take(one)
    told(one, 5000)
    one.hold(104.0)
    assert (two.spent, two.held_until, two.quota.left(spent=two.spent, wall=WALL)) == (1, 104.0, 5000)
    assert two.quota.bulk == 1
    assert await take(two) == 104.0
    assert one.spent == 2


async def test_two_runs_hours_apart_teach_what_others_used_between(path: Path) -> None:
    """The file tells the second one what was left and what we have called; what else is gone is others' need, learned for all."""
    first, begin = MachineBudget(path), WALL
    for calls, hours, remaining in ((3, 0, 90_000), (2, 5, 84_998)):
        budget = MachineBudget(path)
        for _ in range(calls):
            await take(budget, now=100.0 + 3600 * hours)
        wall = begin + 3600 * hours
        budget.report(
            DayReport(
                wall=wall, sent_at=wall, per_second=25, ordinal=budget.spent, bulk=calls, remaining=remaining
            )
        )
        await budget.aclose()
    assert [hour for hour in first.quota.profile if hour >= 0] == [1000.0] * 5


async def test_after_a_boot_the_day_lives_on_and_the_pace_does_not(path: Path) -> None:
    """Monotonic times of another boot mean nothing: an empty pace. Count and day's figures go on."""
    old = MachineBudget(path, boot="old")
    for _ in range(5):
        await take(old, now=9e5)
    told(old, 5000)
    new = MachineBudget(path, boot="new")
    assert new.quota.left(spent=new.spent, wall=WALL) == 5000
    assert await take(new, now=10.0) == pytest.approx(11.01)
    assert new.spent == 6


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 6000, b"SQLite format 3\0" * 400, b"alma-b3\n" + b"\xff" * 6000]
)
async def test_a_damaged_or_foreign_file_is_an_empty_budget(path: Path, damage: bytes) -> None:
    """What is not our record is overwritten, and the first slot is a window away."""
    budget = MachineBudget(path)
    await take(budget)
    path.write_bytes(damage)
    assert await take(budget, now=500.0) == pytest.approx(501.01)
    assert await take(budget, now=502.0) == 502.0


async def test_a_flipped_byte_never_speeds_up(path: Path) -> None:
    """Each of many single damaged bytes gives an empty budget or the true one, never an earlier slot."""
    budget = MachineBudget(path)
    for _ in range(25):
        await take(budget)
    whole = path.read_bytes()
    true = await take(budget, now=100.0)
    for position in random.Random(1).sample(range(1800), 150):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        assert await take(MachineBudget(path), now=100.0) >= min(true, 101.01) - 1e-9


async def test_a_deleted_file_is_made_anew(path: Path) -> None:
    """Who goes on with a file that lost its name would share with nobody: a new one is opened, empty."""
    one, two = MachineBudget(path), MachineBudget(path)
    await take(one)
    path.unlink()
    assert await take(one, now=200.0) == pytest.approx(201.01)
    assert await take(two, now=200.0) == pytest.approx(201.01 + T25.interval)


async def test_a_replaced_file_is_left_before_the_new_one_gives_a_slot(path: Path) -> None:
    """One process still goes by the deleted file while another has the new one: together never above the limit."""
    one = MachineBudget(path)
    moments = [await take(one)]
    moments += [await take(one, now=moments[-1]) for _ in range(60)]
    path.unlink()
    two, now = MachineBudget(path), moments[-1]
    for _ in range(120):
        moments += sorted([await take(one, now=now), await take(two, now=now)])
        now = moments[-1]
    assert busiest(moments) <= 25


async def test_a_lost_count_takes_the_days_figures_with_it(path: Path) -> None:
    """What is left today is reckoned from our own count of calls: where that is lost, nothing is known of today."""
    budget = MachineBudget(path)
    for _ in range(30):
        await take(budget)
    told(budget, 5000)
    with path.open("rb+") as file:
        file.write(b"nonsense")
    await take(budget, now=500.0)
    assert (budget.spent, budget.quota.left(spent=budget.spent, wall=WALL)) == (1, None)
    assert MachineBudget(path).quota.left(spent=1, wall=WALL) is None


async def test_a_held_lock_never_blocks_the_loop(path: Path) -> None:
    """While another holds the lock a reservation waits without blocking, and what is said meanwhile is not lost."""
    budget = MachineBudget(path)
    slot = await budget.reserve(T25, now=100.0, cost=1.0, waiting=0)
    with path.open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        budget.refund(slot)
        with anyio.move_on_after(0.5) as scope:
            await take(budget)
        assert scope.cancelled_caught
        assert budget.spent == 1
    assert await take(budget) == pytest.approx(101.01)
    assert budget.spent == 1


async def test_without_the_file_a_static_share(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the file cannot be used any more, each process takes a quarter of the rate and says so once."""
    budget = MachineBudget(path)
    await budget.aclose()
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        moments = [await take(budget) for _ in range(5)]
        budget.hold(1e9)
    assert moments[4] - moments[0] == pytest.approx(4 * 4 * T25.interval)
    assert len(caplog.records) == 1
    assert budget.figures().share == 0.25
    path.rmdir()
    assert await take(budget, now=300.0) == pytest.approx(301.01)
    assert budget.figures().share == 1


async def test_closing_is_no_end(path: Path) -> None:
    """A budget that was closed opens again when it is used again."""
    budget = MachineBudget(path)
    await take(budget)
    await budget.aclose()
    await budget.aclose()
    assert await take(budget) == pytest.approx(101.01 + T25.interval)


async def test_a_fork_opens_its_own_file(path: Path) -> None:
    """Parent and child of a fork exclude each other: the child's lock is its own."""
    budget = MachineBudget(path)
    await take(budget)
    parent_fd = budget._open_file()._file
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        fcntl.flock(parent_fd, fcntl.LOCK_EX)
        os.write(writer, b"shared" if budget._lock(100.0) else b"apart")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"apart"
    os.close(reader)
    os.close(writer)


def test_the_chooser_falls_back_to_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no file can be written a client gets a budget of its own, and the log says so; one name, one file."""
    first = machine_budget("institution", directory=tmp_path)
    assert isinstance(first, MachineBudget)
    assert repr(first) == repr(machine_budget("institution", directory=tmp_path))
    assert repr(first) != repr(machine_budget("another", directory=tmp_path))
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert isinstance(machine_budget("institution", directory=tmp_path / "file"), LocalBudget)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("open_to_others", [True, False])
async def test_without_a_file_from_the_start_the_same_share(tmp_path: Path, *, open_to_others: bool) -> None:
    """A client that cannot use the file when it is made takes a quarter of the rate, too, and shows it."""
    place = tmp_path / "state"
    if open_to_others:
        place.mkdir()
        place.chmod(0o777)
    else:
        place.touch()
    budget = machine_budget("institution", directory=place)
    first, *later = [await take(budget) for _ in range(9)]
    assert later[-1] - first == pytest.approx(4 * 8 * T25.interval)
    at_once = budget.reserve_now(T25, now=later[-1], cost=1.0)
    assert at_once is not None
    assert at_once.at == pytest.approx(later[-1] + 4 * T25.interval)
    assert budget.figures().share == 0.25


def test_a_linked_file_is_refused(path: Path, tmp_path: Path) -> None:
    """A symbolic link in place of the file is not followed."""
    path.parent.mkdir(parents=True, mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        MachineBudget(path)


_floats = st.floats(allow_nan=True, allow_infinity=True)


@MANY
@given(
    tat=_floats,
    held=_floats,
    ring=st.lists(_floats, max_size=40),
    figures=st.lists(_floats, min_size=3, max_size=3),
)
def test_hostile_values_slow_us_at_most(
    tmp_path_factory: pytest.TempPathFactory, tat: float, held: float, ring: list[float], figures: list[float]
) -> None:
    """Whatever a well-formed record claims: slots stay evenly spaced, and come within little more than an hour."""
    path = tmp_path_factory.mktemp("hostile") / "budgets" / "x.budget"
    budget = MachineBudget(path)
    anyio.run(take, budget)
    assert budget._pace is not None
    budget._pace.tat, budget._pace.held_until, budget._pace.ring = tat, held, array("d", ring)
    budget._quota.seen_at, budget._quota.skew, budget._quota.stopped_until = figures
    budget._write_pace(budget._pace)
    budget._write_day(budget._quota)
    victim = MachineBudget(path)

    async def many() -> list[float]:
        moments = [await take(victim, now=1000.0)]
        for _ in range(30):
            moments.append(await take(victim, now=moments[-1]))
        return moments

    moments = anyio.run(many)
    assert 1000.0 <= moments[0] <= 1065.0 + LONGEST_HOLD
    assert all(b - a >= T25.interval - 1e-9 for a, b in pairwise(moments))
    assert busiest(moments, window=1.0) <= 25
    assert not math.isnan(victim.quota.next_reset(WALL))


WORKER = """
import json, sys, time
from pathlib import Path
import anyio
from alma_async._clock import Clock
from alma_async._governance.governor import Governor
from alma_async._governance.file_budget import MachineBudget
from alma_async.settings import Limits, Priority

async def main(path, seconds):
    clock = Clock()
    governor = Governor(Limits(), budget=MachineBudget(Path(path)), clock=clock)
    end = clock.now() + seconds
    async def work():
        while clock.now() < end:
            with await governor.acquire(priority=Priority.NORMAL) as permit:
                await permit.slot()
                permit.sent()
                print(clock.now(), flush=True)
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(work)

anyio.run(main, sys.argv[1], float(sys.argv[2]))
"""


def worker(path: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that calls as fast as it may, and prints when."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def moments_of(process: subprocess.Popen[str]) -> list[float]:
    """What it printed; the last line may be cut off by its death."""
    output, _ = process.communicate()
    return [json.loads(line) for line in output.splitlines() if line.count(".") == 1 and len(line) > 5]


def test_four_processes_share_one_budget(path: Path) -> None:
    """Four processes together never exceed the limit, one killed outright leaves it to the others, and none of them starves."""
    victim, *processes = [worker(path, seconds) for seconds in (60.0, 4.0, 4.0, 4.0, 4.0)]
    try:
        assert victim.stdout is not None
        killed = [float(victim.stdout.readline()) for _ in range(10)]
    finally:
        victim.kill()  # SIGKILL: whatever it held, the kernel takes back
    killed += moments_of(victim)
    shares = [moments_of(process) for process in processes]
    everything = sorted(moment for share in [*shares, killed] for moment in share)
    assert busiest(everything) <= 25
    assert all(len(share) >= 2 for share in shares)
