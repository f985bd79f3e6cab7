"""``Store``: the PostgreSQL database that several machines share, and the connections of one
process to it.

What must be true for all machines is there: an institution's budget, its job ledger, journals of
loads, received webhooks. Decides who waits for a connection and for how long; leaves what a
connection is to ``_storage.postgres``, and what is asked of it to the budget, the ledger and the
journal.

A database may stand still or vanish at any time. So the work on each connection is done in a thread
of its own, and who asks for it waits for that thread no longer than it wants to. It never waits for
a query that was cancelled: the connection is left, and the next one is made. Threads also leave the
event loop free to be any: psycopg's own asyncio does not run on the usual loop of Windows.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import attrs

from alma_async._clock import Clock, Thread, shielded
from alma_async._secret import Secret, secretive
from alma_async._storage.failures import Away, Busy, Damaged, StorageFailed, Stranger
from alma_async.errors import AlmaError, ConfigurationError, StoreUnavailable
from alma_async.settings import Check, check_all, secret_file

if TYPE_CHECKING:
    from alma_async._storage.postgres import Link

__all__ = ["Connection", "Store", "StoreCheck", "institution_of"]

T = TypeVar("T")

# Chosen: seconds within which a database is expected to answer a command of a person, or what a
# program asks of it once. A role's statements take five at most (``store init``).
_WITHIN: Final = 10.0
_TO_CLOSE: Final = 1.0  # chosen: seconds
_PAUSE: Final = 30.0  # chosen: seconds after which a database that is away may be asked again

_ARGUMENTS: Final = {
    "url": Check("a URL of PostgreSQL", lambda value: isinstance(value, (str, Secret)) and bool(value)),
    "clock": Check("a Clock", lambda value: callable(value.now)).or_none(),
}


@attrs.frozen(kw_only=True)
class StoreCheck:
    """What ``Store.check`` found.

    ``version`` is the schema's (0: there is none yet), ``needed`` this client's. ``server`` is PostgreSQL's own version,
    ``encrypted`` whether this connection is, ``offset`` the seconds that the server's clock is
    ahead of this machine's, ``seconds`` the time that one question took. ``may_change_schema``: the role may, which one
    for clients need not.
    """

    place: str
    version: int
    needed: int
    server: str
    role: str
    encrypted: bool
    may_change_schema: bool
    offset: float
    seconds: float

    @property
    def is_ready(self) -> bool:
        """Whether this client works with the schema."""
        return self.needed <= self.version <= self.needed + 1


class Store:
    """A PostgreSQL database that several machines share: ``AlmaClient(…, store=Store(url))``.

    Made with ``alma-async store init``. Nothing is connected before it is needed.

    :param url: ``postgresql://user:password@host/database``, or what else libpq takes; it is never
        shown. Better is a URL without a password, and one in ``.pgpass`` or ``PGPASSFILE``.
    :raises ConfigurationError: where it is no such URL, or the extra ``store`` is not installed.
    """

    @secretive
    def __init__(self, url: str | Secret, *, clock: Clock | None = None) -> None:
        check_all(_ARGUMENTS, locals())
        self._url = Secret.of(url)
        self.clock: Clock = clock or Clock()
        _require_psycopg()
        from alma_async._storage.postgres import place_of

        with translated(None):
            self.place: str = place_of(self._url.reveal())
        self._open: set[Connection] = set()  # those that were used, and are not closed
        self.shared: Connection = self.connection("shared")
        """For questions that come now and then, one after the other."""

    @classmethod
    @secretive
    def from_env(cls, environ: Mapping[str, str] | None = None, *, clock: Clock | None = None) -> Self | None:
        """The store of ``ALMA_STORE``, or of the file that ``ALMA_STORE_FILE`` names; None where
        neither is set.

        :raises ConfigurationError: where the file cannot be read, or it is no URL.
        """
        env = os.environ if environ is None else environ
        if url := env.get("ALMA_STORE", "").strip():
            return cls(Secret.of(url), clock=clock)
        if path := env.get("ALMA_STORE_FILE"):
            return cls(secret_file("ALMA_STORE_FILE", path, kind=Secret.of), clock=clock)
        return None

    def __repr__(self) -> str:
        return f"<Store {getattr(self, 'place', 'not made')}>"

    async def init(self, *, role: str | None = None) -> list[str]:
        """Make the schema ``alma_async``, or bring it up to this version; what was carried out.

        To be done by a role that may create a schema; safe to repeat, and while clients work.

        :param role: an existing role that clients use: gets the rights that they need, and the time
            limits for its statements
        :raises ConfigurationError: where this role may not do so.
        :raises StoreUnavailable: where the database does not answer.
        """
        from alma_async._storage.postgres import grant, migrate

        def work(link: Link) -> list[str]:
            done = migrate(link)
            return done if role is None else done + grant(link, role)

        with translated(self):
            connection = Connection(self, "init", making=True)
            try:
                return await connection.do(work, within=_WITHIN * 6, whole=True)
            finally:
                await connection.aclose()

    async def check(self) -> StoreCheck:
        """What there is, without changing anything.

        :raises ConfigurationError: where the role may not connect.
        :raises StoreUnavailable: where the database does not answer.
        """
        from alma_async._storage.postgres import VERSION

        with translated(self):
            connection = Connection(self, "check", making=True)
            try:
                await connection.do(_said_clock, within=_WITHIN)
                began = self.clock.now()
                server_clock = await connection.do(_said_clock, within=_WITHIN)
                seconds, wall = self.clock.now() - began, self.clock.wall()
                facts = await connection.do(_facts, within=_WITHIN)
            finally:
                await connection.aclose()
        return StoreCheck(
            place=self.place,
            needed=VERSION,
            offset=server_clock - (wall - seconds / 2),
            seconds=seconds,
            **facts,
        )

    def connection(self, name: str) -> Connection:
        """A connection of its own for one purpose, opened when it is first used."""
        return Connection(self, name)

    def reveal(self) -> str:
        """The URL, for the one place that connects."""
        return self._url.reveal()

    async def aclose(self) -> None:
        """Close the connections. What is under way on one is waited for a second at most; what has not begun fails. A store
        that is used again opens them again. A cancellation goes on after that.
        """
        await shielded(self._close())

    async def _close(self) -> None:
        for connection in list(self._open):
            await connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Connection:
    """One connection of a store, used by one piece of work at a time, in a thread of its own."""

    def __init__(self, store: Store, name: str, *, making: bool = False) -> None:
        self._store, self._name, self._making = store, name, making
        self._link: Link | None = None
        self._thread: Thread | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()  # a link that is opened while its thread is left is not used

    def __repr__(self) -> str:
        return f"<Connection {self._name} to {self._store.place}>"

    @property
    def store(self) -> Store:
        """The store that it is to."""
        return self._store

    async def do(self, work: Callable[[Link], T], *, within: float, whole: bool = False) -> T:
        """Do work on the connection, after all that came before it; what it raises is raised here.

        After a failure of the connection the next work is given a new one.

        :param within: seconds to wait for it, the connecting included
        :param whole: a cancellation goes on after the work, or after that time
        :raises Away: where the database does not answer in time, or cannot be reached. What came of
            the work is not known then, unless it wrote nothing.
        :raises Busy, Damaged, StorageFailed, Stranger: see ``_storage.postgres``.
        """
        from alma_async._storage.postgres import failures

        if self._pid != os.getpid():  # after a fork: the parent's connection is not ours
            self._link, self._thread, self._pid = None, None, os.getpid()
        self._store._open.add(self)
        thread = self._thread = self._thread or Thread(self._store.clock, name=f"alma_async {self._name}")

        def run() -> T:
            try:
                with failures():
                    return work(self._linked(thread))
            except Away:
                self._leave(thread)
                raise

        try:
            return await thread.do(run, within=within, whole=whole)
        except TimeoutError:
            pass
        self._leave(thread)
        raise Away(f"no answer within {within:g} s")

    async def aclose(self) -> None:
        """Close it once what is under way on it is done, after a second at most; what has not begun fails. Used again, it is
        opened again.
        """
        self._store._open.discard(self)
        with self._lock:
            thread, self._thread, link, self._link = self._thread, None, self._link, None
        if thread is None or self._pid != os.getpid():
            return
        try:
            if link is not None:
                with suppress(TimeoutError):
                    await thread.do(link.close, within=_TO_CLOSE, whole=True)
        finally:
            thread.end()

    def _linked(self, thread: Thread) -> Link:
        """In the thread: the open link. What a thread that was left opens is closed by it."""
        if thread is not self._thread:
            raise Away("the connection was left")
        if self._link is None:
            link = _connect(self._store, making=self._making)
            with self._lock:
                if thread is self._thread:
                    self._link = link
                    return link
            link.close()
            raise Away("the connection was left")
        return self._link

    def _leave(self, thread: Thread) -> None:
        """Leave the thread and its link; nobody waits for them any more."""
        with self._lock:
            if thread is not self._thread:
                return
            link, self._thread, self._link = self._link, None, None
        if link is not None:
            link.abandon()
        thread.end(link.close if link is not None else None)


@secretive
def _connect(store: Store, *, making: bool) -> Link:
    from alma_async._storage.postgres import connect

    return connect(store.reveal(), making=making)


def institution_of(scope: str) -> str:
    """How a store names an institution: by a digest of the client's scope."""
    return hashlib.sha256(scope.encode()).hexdigest()[:32]


def _said_clock(link: Link) -> float:
    ((now,),) = link.execute("SELECT extract(epoch FROM clock_timestamp())::double precision").fetchall()
    return float(now)


def _facts(link: Link) -> dict[str, Any]:
    ((server, role, encrypted, may),) = link.execute(
        "SELECT current_setting('server_version'), current_user::text, "
        "COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), "
        "has_database_privilege(current_database(), 'CREATE')"
    ).fetchall()
    return {
        "version": link.version,
        "server": server,
        "role": role,
        "encrypted": encrypted,
        "may_change_schema": may,
    }


@contextmanager
def translated(store: Store | None) -> Iterator[None]:
    """The database's failures become errors of the store, once, here.

    :raises StoreUnavailable: where it is away, busy or broken
    :raises ConfigurationError: where it is not a store that this client may use
    """
    error: AlmaError
    name = "The store" if store is None else f"The store {store.place}"
    try:
        yield
        return
    except Stranger as found:
        advice = (
            "Make it, or bring it up to date, with `alma-async store init` (`store init --tasks` for workers); "
            "`alma-async store check` shows what there is."
        )
        if store is None:
            advice = "Correct ALMA_STORE, the file that ALMA_STORE_FILE names, or store=."
        said = str(found).rstrip("?.")
        error = ConfigurationError(f"{name} cannot be used: {said}.", advice=found.advice or advice)
    except (Busy, Damaged, StorageFailed, Away) as found:
        why = str(found) or "another transaction holds what is needed"
        error = StoreUnavailable(f"{name} failed: {why.rstrip('?.')}.", retry_at=_soon(store), firm=False)
    raise error from None


def _soon(store: Store | None) -> datetime:
    clock = Clock() if store is None else store.clock
    return clock.utc() + timedelta(seconds=_PAUSE)


def _require_psycopg() -> None:
    """:raises ConfigurationError: where it is not installed."""
    try:
        import_module("psycopg")
    except ImportError as error:
        missing = error.name or str(error)
    else:
        return
    raise ConfigurationError(
        f"A store needs psycopg, which cannot be imported ({missing}): pip install 'alma-async[store]'."
    )
