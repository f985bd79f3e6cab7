"""Make a record set of bibliographic records in Polaris, of ids given one a line on stdin.

POLARIS_BASE_URL=… POLARIS_ORGANIZATION_ID=3 POLARIS_WORKSTATION_ID=1 POLARIS_DOMAIN=… POLARIS_USER=… \
POLARIS_PASSWORD_FILE=… python examples/polaris_record_set.py "Tides of 2026" < ids.txt
"""

from __future__ import annotations

import sys

import anyio

from alma_async import OutcomeUnknown
from alma_async.polaris import ObjectType, PolarisClient


async def main(name: str) -> None:
    """Create the set, and say what became of it."""
    ids = [int(line) for line in sys.stdin if line.strip()]
    async with PolarisClient.from_env() as polaris:
        try:
            change = await polaris.record_sets.create(name, ObjectType.BIBLIOGRAPHIC, records=ids)
        except OutcomeUnknown as error:
            sys.exit(f"Look before you repeat this: {error}")
    sys.stdout.write(f"Record set {change.record_set_id}: {change.added} of {change.sent} records added.\n")
    sys.stdout.writelines(f"{warning}\n" for warning in change.warnings)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
