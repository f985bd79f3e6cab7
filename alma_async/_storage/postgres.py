"""One connection to PostgreSQL, and the schema of the store. Synchronous: each connection is used
by one thread at a time.

Decides how a connection is made, which schemas are ours, what a failure of the database means, and
how a connection that does not answer is left. Leaves the threads to ``store``, and what is in a
table to the budget, the ledger and the journal.

* Where the database is, TLS, passwords and certificates are libpq's: URL, ``PG…`` variables,
  ``.pgpass``, service files. Nothing of the URL but host and database is shown.
* Nothing stands in the session: no ``SET``, no prepared statement, no ``LISTEN``. So it works
  through a pooler in transaction mode.
* The numbered files in ``migrations`` make the schema ``alma_async``; each is carried out once, by
  one client at a time (an advisory lock), and only forward. A client of version *v* works with the
  schemas *v* and *v* + 1, so that machines can be upgraded one after the other.
* Cancelling a query of a server that stands still takes some eleven seconds, whatever the time-out
  (measured). So nothing is cancelled: the socket is shut, and the thread that waits there ends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from importlib.resources import files
from typing import Any, Final, LiteralString, TypeAlias

import attrs
import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from alma_async._storage.failures import Away, Busy, Damaged, StorageFailed, Stranger
from alma_async._storage.seal import Seal

__all__ = ["VERSION", "Link", "connect", "failures", "grant", "migrate", "place_of"]

Columns: TypeAlias = tuple[Any, ...]

_FILES: Final = tuple(
    sorted(
        (one for one in (files("alma_async._storage") / "migrations").iterdir() if one.name.endswith(".sql")),
        key=lambda one: one.name,
    )
)

VERSION: Final = len(_FILES)
"""Of the schema that this client makes."""

# Chosen: what libpq does where neither the URL nor the environment says otherwise. A connection that
# died without a word is noticed within half a minute.
_USUAL: Final = {
    "connect_timeout": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "alma_async",
}
_LOCK: Final = int.from_bytes(blake2b(b"alma_async", digest_size=7).digest(), "big")


def place_of(url: str) -> str:
    """The database that a URL names, as people know it: host and name, nothing secret.

    :raises Stranger: where it is no URL of PostgreSQL, or a password in it may have been taken for
        another part; what it says is not shown.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise Stranger(_NO_URL) from None
    host, port = str(parts.get("host") or parts.get("hostaddr") or ""), str(parts.get("port") or "")
    name = str(parts.get("dbname") or parts.get("service") or "")
    authority, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path or (port and not port.replace(",", "").isdigit()):
        raise Stranger(_UNESCAPED)
    return f"{host}{f':{port}' if port else ''}/{name}"


_NO_URL: Final = "the address is no URL of PostgreSQL such as postgresql://user@host/database"
_UNESCAPED: Final = (
    "in the URL a character of the user or password is not escaped: write %40 for @, %2F for /, %3A for :, "
    "%3F for ?, %23 for #, %25 for %"
)


@attrs.define(eq=False)
class Link:
    """One open connection. ``seal`` seals the store's records."""

    db: psycopg.Connection[Columns]
    seal: Seal = attrs.field(init=False, repr=False)
    version: int = 0

    def execute(self, statement: str, values: Any = ()) -> psycopg.Cursor[Columns]:
        """One statement, which is a transaction of its own outside ``transaction``."""
        return self.db.execute(statement.encode(), values or None)

    def execute_for(self, role: str, statement: LiteralString) -> None:
        """A statement in which ``{role}`` is the name of a role.

        :raises Stranger: where there is no such role
        """
        name = sql.Identifier(role)
        try:
            self.db.execute(sql.SQL(statement).format(role=name))
            return
        except errors.UndefinedObject as error:
            why = _said(error)
        raise Stranger(why, advice=f"Make the role first, with CREATE ROLE {name.as_string()} LOGIN.")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and durable when it ends."""
        with self.db.transaction():
            yield

    @property
    def is_lost(self) -> bool:
        """Whether the server is gone from its other end."""
        return bool(self.db.closed)

    def abandon(self) -> None:
        """Leave it, also while another thread waits for an answer: that one fails at once."""
        with suppress(OSError, psycopg.Error):
            handle = socket.socket(fileno=self.db.pgconn.socket)
            try:
                handle.shutdown(socket.SHUT_RDWR)
            finally:
                handle.detach()

    def close(self) -> None:
        """Close it."""
        with suppress(psycopg.Error):
            self.db.close()


def connect(url: str, *, making: bool = False) -> Link:
    """Connect, and see that the schema is one that this client knows.

    :param making: it need not be
    :raises Away, Stranger:
    """
    with failures():
        named = conninfo_to_dict(url)
        usual = {name: value for name, value in _USUAL.items() if name not in named}
        db = psycopg.connect(make_conninfo(url, **usual), autocommit=True, prepare_threshold=None)
    # whatever the role's default is: each statement sees what was committed before it
    db.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    link = Link(db)
    try:
        with failures():
            link.version = _version(link)
            if not making:
                require_known(link.version)
                ((secret,),) = link.execute("SELECT secret FROM alma_async.secret").fetchall()
                link.seal = Seal(bytes(secret))
    except BaseException:
        link.close()
        raise
    return link


def require_known(version: int) -> None:
    """See that this client works with a schema of this version.

    :raises Stranger: where it does not; it says what to do.
    """
    if not version:
        raise Stranger("it has no schema alma_async yet, or one that this role may not use")
    if version < VERSION:
        raise Stranger(f"its schema is of version {version}, and this client needs {VERSION}")
    if version > VERSION + 1:
        newer = f"its schema is of version {version}, newer than this client, which knows {VERSION}"
        raise Stranger(f"{newer}: upgrade alma-async", advice="Upgrade alma-async on this machine.")


def _version(link: Link) -> int:
    if link.execute("SELECT to_regclass('alma_async.migration')").fetchone() == (None,):
        return 0
    ((version,),) = link.execute("SELECT max(version) FROM alma_async.migration").fetchall()
    return version or 0


def migrate(link: Link) -> list[str]:
    """Make the schema, or bring it up to this client's version; the names of what was carried out.

    :raises Away, Stranger, StorageFailed:
    """
    done = list[str]()
    with failures(), link.transaction():
        link.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        link.execute("CREATE SCHEMA IF NOT EXISTS alma_async")
        link.execute(
            "CREATE TABLE IF NOT EXISTS alma_async.migration (version integer PRIMARY KEY, name text NOT NULL, "
            "at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        before = _version(link)
        require_known(max(before, VERSION))
        for version, file in enumerate(_FILES, 1):
            if version > before:
                link.db.execute(file.read_text(encoding="utf-8").encode())
                link.execute(
                    "INSERT INTO alma_async.migration (version, name) VALUES (%s, %s)", (version, file.name)
                )
                done.append(file.name)
    link.version = max(before, VERSION)
    return done


# What a role needs that clients use: no right to make or change a table, and not for long.
_GRANTS: Final = (
    "GRANT USAGE ON SCHEMA alma_async TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA alma_async TO {role}",
    # those of later versions of the schema, too, so that an upgrade need not name the role again
    "ALTER DEFAULT PRIVILEGES IN SCHEMA alma_async GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON alma_async.migration, alma_async.secret FROM {role}",
)
_TIMES: Final = (
    "ALTER ROLE {role} SET statement_timeout = '5s'",
    "ALTER ROLE {role} SET lock_timeout = '2s'",
    "ALTER ROLE {role} SET idle_in_transaction_session_timeout = '10s'",
)


def grant(link: Link, role: str) -> list[str]:
    """Give a role what clients need; what was carried out, and what another role has to do.

    :raises Away, Stranger, StorageFailed:
    """
    with failures(), link.transaction():
        for statement in _GRANTS:
            link.execute_for(role, statement)
        try:
            with link.transaction():
                for statement in _TIMES:
                    link.execute_for(role, statement)
        except errors.InsufficientPrivilege:
            late = "; ".join(one.format(role=role) for one in _TIMES)
            return [f"rights for {role}", f"not done, for a role that may change {role}: {late}"]
    return [f"rights for {role}"]


@contextmanager
def failures() -> Iterator[None]:
    """PostgreSQL's failures become ours, once, here.

    :raises Busy: where another transaction was in the way
    :raises Away: where the database cannot be reached any more
    :raises Stranger: where it is not our store, or the role may not use it
    :raises StorageFailed: for all else
    """
    try:
        yield
        return
    except (psycopg.Error, OSError) as error:
        kind, why = _kind(error), _said(error)
    raise kind(why)


def _kind(error: Exception) -> Callable[[str], Exception]:
    if isinstance(error, _IN_THE_WAY):
        return Busy
    if isinstance(error, _STRANGE):
        return Stranger
    if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
        return Damaged
    state = getattr(error, "sqlstate", None)
    if state is None and any(one in str(error) for one in _NOT_LET_IN):
        return partial(Stranger, advice=_LET_IN)
    if (
        state is None
    ):  # libpq itself, which has lost the server or never found it, or a value that it cannot send
        lost = isinstance(error, (OSError, psycopg.InterfaceError, psycopg.OperationalError))
        return Away if lost else StorageFailed
    return Away if state[:2] in _AWAY or state in _AWAY else StorageFailed


# What a server says to who connects, which comes without a code; in another language it counts as away.
_NOT_LET_IN: Final = (
    *("password authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist"),
    "server does not support SSL",
)
_LET_IN: Final = (
    "Correct user, password, database or TLS in the store's URL (or .pgpass, or the PG… variables)."
)
_IN_THE_WAY: Final = (*(errors.LockNotAvailable, errors.SerializationFailure, errors.DeadlockDetected),)
_STRANGE: Final = (
    *(errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction, errors.InvalidSchemaName),
    *(errors.InsufficientPrivilege, errors.InvalidCatalogName, errors.InvalidAuthorizationSpecification),
    *(errors.InvalidPassword, errors.UndefinedObject),
)
# Connection exceptions, a shutdown or crash of the server, too many connections, a disk that is full;
# a statement or a transaction that took longer than the role may take; a standby that does not take writes.
_AWAY: Final = frozenset({"08", "53", "57", "58", "25006", "25P03", "25P04"})


def _said(error: Exception) -> str:
    """What PostgreSQL or libpq said, in one line."""
    diagnosed = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join(str(diagnosed or error).split()) or type(error).__name__
