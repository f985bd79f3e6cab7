"""List the portfolios of an electronic service, with what remains of the day's calls.

ALMA_API_KEY=… ALMA_REGION=eu python examples/list_portfolios.py COLLECTION_ID SERVICE_ID
"""

from __future__ import annotations

import sys

import anyio

from alma_async import AlmaClient, Priority


async def main(collection_id: str, service_id: str) -> None:
    """Print id and title of each portfolio."""
    async with AlmaClient.from_env() as alma:
        background = alma.with_options(priority=Priority.BULK)
        async for portfolio in background.electronic.portfolios.list(collection_id, service_id):
            sys.stdout.write(f"{portfolio.id}\t{portfolio.resource_metadata.title}\n")
        sys.stdout.write(f"{alma.quota().remaining} calls remain today\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
