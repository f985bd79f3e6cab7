"""``python -m tests.fuzz [TARGET …] [--seconds N] [--seed N] [--count N]``: other mutations than those of ``make test``."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import traceback
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter

from tests.fuzz.corpus import mutated
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Feed each target for so many seconds; the input of a defect is kept as a file."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=10_000)
    parser.add_argument("--count", type=int, default=10**9)
    asked = parser.parse_args()
    logging.disable()
    defects = 0
    for name in asked.targets:
        target, begun, fed = TARGETS[name](), perf_counter(), 0
        for seed in count(asked.seed):
            if perf_counter() - begun > asked.seconds or fed >= asked.count:
                break
            content, fed = mutated(random.Random(f"{name} {seed}"), target.seeds), fed + 1
            try:
                target.feed(content)
            except Exception:  # noqa: BLE001 - that is what is looked for
                defects += 1
                kept = Path(gettempdir()) / f"fuzz-{name}-{seed}"
                kept.write_bytes(content)
                sys.stdout.write(f"{name} --seed {seed}: {kept}\n{traceback.format_exc(limit=-3)}\n")
                break
        sys.stdout.write(f"{name}: {fed} inputs\n")
    return min(defects, 1)


if __name__ == "__main__":
    sys.exit(main())
