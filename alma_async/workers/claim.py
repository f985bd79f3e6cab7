"""Of two messages about one title, one waits: a claim in the store, over all machines.

Each message has a journal of its own, so two of them know nothing of each other: both would find no
portfolio of the title and make one. So the title is claimed before it is read, until what the
message asks has ended. A claim that nobody renewed for longer than Alma may apply what it was sent is
nobody's: whoever claims the title then reads it, and sees what came of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alma_async.store import Store, translated

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["claimed", "released"]

_WITHIN: Final = 10.0  # chosen: seconds for one question to the store
# Seconds: an attempt's deadline (a minute and a half at most), the quarantine (five minutes, assumed), and as much again.
_HELD: Final = 900.0


async def claimed(store: Store, institution: str, what: str, key: str) -> bool:
    """Claim what a message is about, or renew the claim; False while another message has it.

    :raises StoreUnavailable: where the store is away.
    """
    query = (
        "INSERT INTO alma_async.claim AS held (institution, what, key) VALUES (%s, %s, %s) ON CONFLICT (institution, what) "
        "DO UPDATE SET key = excluded.key, at = alma_async.clock() "
        "WHERE held.key = excluded.key OR held.at < alma_async.clock() - %s RETURNING key"
    )
    return await _once(store, query, (institution, what, key, _HELD)) == [(key,)]


async def released(store: Store, institution: str, what: str, key: str) -> None:
    """What the message asked has ended."""
    query = "DELETE FROM alma_async.claim WHERE institution = %s AND what = %s AND key = %s RETURNING key"
    await _once(store, query, (institution, what, key))


async def _once(store: Store, query: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
    def work(link: Link) -> list[tuple[object, ...]]:
        return link.execute(query, values).fetchall()

    with translated(store):
        return await store.shared.do(work, within=_WITHIN, whole=True)
