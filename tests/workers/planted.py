"""Each rule of the engine's use, planted the other way, is found: ``python -m tests.workers.planted``, two minutes."""

from __future__ import annotations

import os
import subprocess
import sys

PLANTS = {
    "": None,
    "no loop": "test_a_worker_outlives_its_database",
    "no sweep": "test_the_task_of_a_killed_worker_goes_on_in_another_one_behind_any_backlog",
    "no answer for cancellations": "test_a_stopped_worker_hands_its_tasks_back_at_once",
    "never drained": "test_a_stopped_worker_hands_its_tasks_back_at_once",
    "lock": "test_a_task_that_waits_holds_up_none_behind_it",
    "a client for each task": "test_all_tasks_of_a_worker_share_one_client",
    "slow poll": "test_a_task_waits_for_the_moment_that_its_error_knows",
}


def main() -> int:
    """Run the tests with each rule broken; 1 where a broken rule is not found."""
    missed = 0
    for plant, finder in PLANTS.items():
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/workers/test_engine.py", "-k", finder or "test"],
            env={**os.environ, "PLANT": plant},
            capture_output=True,
            text=True,
            check=False,
        )
        found = bool(done.returncode)
        missed += found is (finder is None)
        print(f"{plant or 'nothing planted'}: {'found' if found else 'all passed'}", flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
