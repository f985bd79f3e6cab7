"""Of two messages about one title, one waits: a claim in the store, over all machines.

Each message has a journal of its own, so two of them know nothing of each other: both would find no
portfolio of the title and make one. So the title is claimed before it is read, until what the
message asks has ended. A claim is another's to take once its message is gone: it has not been
claimed anew for a while, nobody works on its journal, and what that may have sent has rested for
the quarantine. The journal then has another epoch, so that a message that was only paused sends
nothing; and whoever claims the title reads it, and sees what came of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from alma_async.load.postgres_journal import abandoned, is_busy
from alma_async.store import Store, translated

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["claimed", "released"]

T = TypeVar("T")

_WITHIN: Final = 10.0  # chosen: seconds for one question to the store
_HELD: Final = 900.0  # chosen: seconds from the claim to the opening of the journal, at most

_CLAIM: Final = (
    "INSERT INTO alma_async.claim AS held (institution, what, key) VALUES (%s, %s, %s) ON CONFLICT (institution, what) "
    "DO UPDATE SET at = alma_async.clock() WHERE held.key = excluded.key RETURNING at"
)
_OLD: Final = "SELECT key FROM alma_async.claim WHERE institution = %s AND what = %s AND at < alma_async.clock() - %s FOR UPDATE"
_RELEASE: Final = "DELETE FROM alma_async.claim WHERE institution = %s AND what = %s AND key = %s AND at = %s"
_TAKE: Final = "UPDATE alma_async.claim SET key = %s, at = alma_async.clock() WHERE institution = %s AND what = %s RETURNING at"


async def claimed(
    store: Store, institution: str, what: str, key: str, *, journal: Callable[[str], str], quarantine: float
) -> float | None:
    """Claim what a message is about, or renew the claim; its moment, or None while another message has it.

    :param journal: the name of the journal of the message with this key
    :param quarantine: seconds after which Alma applies nothing any more that it was sent
    :raises StoreUnavailable: where the store is away.
    """

    def work(link: Link) -> float | None:
        with link.transaction():
            if (made := link.execute(_CLAIM, (institution, what, key)).fetchone()) is not None:
                return float(made[0])
            old = link.execute(_OLD, (institution, what, _HELD)).fetchone()
            if old is None or not abandoned(link, journal(str(old[0])), quarantine=quarantine):
                return None
            ((at,),) = link.execute(_TAKE, (key, institution, what)).fetchall()
            return float(at)

    return await _do(store, work)


async def released(store: Store, institution: str, what: str, key: str, *, at: float, journal: str) -> None:
    """Give up the claim of that moment, unless its message is under way, or what it sent has not ended.
    The same message, where it came again meanwhile, has renewed the claim and keeps it.
    """

    def work(link: Link) -> None:
        if not is_busy(link, journal):
            link.execute(_RELEASE, (institution, what, key, at))

    await _do(store, work)


async def _do(store: Store, work: Callable[[Link], T]) -> T:
    with translated(store):
        return await store.shared.do(work, within=_WITHIN, whole=True)
