"""The store: a real PostgreSQL that is made, upgraded, frozen, killed and refused, and nobody waits for it in vain."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback

import anyio
import psycopg
import pytest

from alma_async import AlmaError, ConfigurationError, Secret, Store, StoreUnavailable
from alma_async._storage import postgres as storage
from alma_async._storage.sqlite import Away, Busy, StorageFailed, Stranger
from examples.local_postgres import Cluster

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def own():
    """A server of the test's own, which it may freeze and kill."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
async def connected():
    """A connection to the store at a URL, closed at the end of the test."""
    made = []

    def connect(url):
        made.append(Store(url))
        return made[-1].connection("a test")

    yield connect
    for store in made:
        await store.aclose()


def clock_of(link):
    return link.execute("SELECT alma_async.clock()").fetchall()[0][0]


async def test_a_store_is_made_once_and_by_one_client_at_a_time(postgres):
    """Five clients make the same schema at the same time: each step is carried out once."""
    url, done = postgres.database(), []

    async def make():
        done.extend(await Store(url).init())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(make)
    assert done == sorted(set(done))
    assert len(done) == storage.VERSION
    check = await Store(url).check()
    assert check.is_ready
    assert check.version == check.needed
    assert not check.encrypted
    assert abs(check.offset) < 1


async def test_what_is_no_store_is_named_with_the_command_that_makes_one(postgres, connected):
    """An empty database, an older schema and one that is too new are told apart; the next version is taken."""
    empty, store_url = postgres.database(), postgres.database(like="postgres")
    check = await Store(empty).check()
    assert (check.version, check.is_ready) == (0, False)
    with pytest.raises(Stranger):
        await connected(empty).do(clock_of, within=5)
    with psycopg.connect(store_url, autocommit=True) as db:
        for version, known in ((storage.VERSION + 1, True), (storage.VERSION + 2, False)):
            db.execute("INSERT INTO alma_async.migration (version, name) VALUES (%s, 'later')", (version,))
            assert (await Store(store_url).check()).is_ready is known
        with pytest.raises(Stranger, match="upgrade alma-async"):
            await connected(store_url).do(clock_of, within=5)
        with pytest.raises(ConfigurationError, match="upgrade alma-async") as told:
            await Store(store_url).init()
        assert "store init" not in str(told.value)
        db.execute("DELETE FROM alma_async.migration WHERE version >= %s", (storage.VERSION,))
        with (
            pytest.raises(Stranger, match=f"version {storage.VERSION - 1}")
            if storage.VERSION > 1
            else pytest.raises(Stranger)
        ):
            await connected(store_url).do(clock_of, within=5)


async def test_a_role_for_clients_works_and_changes_no_table(postgres, connected):
    """The role that ``init`` gives its rights to can use the store, cannot make a table, and has limits of time."""
    url = postgres.database(like="postgres")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE ROLE worker LOGIN")
    name = url.rpartition("/")[2]
    mine = postgres.url(name, user="worker")
    with pytest.raises(ConfigurationError, match="store init"):
        await Store(mine).init()
    assert "rights for worker" in await Store(url).init(role="worker")
    connection = connected(mine)
    assert await connection.do(clock_of, within=5) > 1_700_000_000
    with pytest.raises(Stranger):
        await connection.do(lambda link: link.execute("CREATE TABLE alma_async.mine (n integer)"), within=5)
    with pytest.raises(Stranger):
        await connection.do(lambda link: link.execute("UPDATE alma_async.secret SET secret = ''"), within=5)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE alma_async.later AS SELECT 7 AS n")
    assert await connection.do(
        lambda link: link.execute("SELECT n FROM alma_async.later").fetchall(), within=5
    ) == [(7,)]
    ((limit,),) = await connection.do(
        lambda link: link.execute("SHOW statement_timeout").fetchall(), within=5
    )
    assert limit == "5s"
    with pytest.raises(ConfigurationError) as caught:
        await Store(url).init(role="nobody-of-that-name")
    assert 'CREATE ROLE "nobody-of-that-name" LOGIN' in str(caught.value)
    assert "store init" not in str(caught.value)


async def test_an_owner_without_rights_on_roles_makes_the_store_and_says_what_is_left(postgres, connected):
    """The role of the clients gets its rights; its limits of time are named for whoever may set them."""
    url = postgres.database()
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE ROLE owner_only LOGIN")
        db.execute("CREATE ROLE its_clients LOGIN")
        db.execute(
            psycopg.sql.SQL("ALTER DATABASE {} OWNER TO owner_only").format(psycopg.sql.Identifier(name))
        )
    done = await Store(postgres.url(name, user="owner_only")).init(role="its_clients")
    assert "rights for its_clients" in done
    assert "ALTER ROLE its_clients SET statement_timeout = '5s'" in done[-1]
    assert await connected(postgres.url(name, user="its_clients")).do(clock_of, within=5) > 1_700_000_000


async def test_nobody_waits_for_a_database_that_stands_still(own, connected):
    """Each wait for a frozen server ends when its time is over, a cancelled one at once; the thread behind it ends, too."""
    url = own.url()
    await Store(url).init()
    connection = connected(url)
    await connection.do(clock_of, within=5)
    before = threading.active_count()
    with own.frozen():
        began = anyio.current_time()
        with pytest.raises(Away):
            await connection.do(clock_of, within=0.3)
        assert anyio.current_time() - began < 1
        with anyio.move_on_after(0.2):  # a new connection, which is not answered
            await connection.do(clock_of, within=5)
        with pytest.raises(StoreUnavailable) as refused:
            with anyio.fail_after(30):
                await Store(url).check()
        assert refused.value.retry_at is not None
        assert anyio.current_time() - began < 10
    await connection.do(clock_of, within=5)
    await connection.aclose()
    for _ in range(100):
        if threading.active_count() <= before:
            break
        await anyio.sleep(0.05)
    assert threading.active_count() <= before


async def test_a_connection_comes_back_after_the_server_was_killed(own, connected):
    """Killed with -9 and started again: the work under way fails, the next is done on a new connection."""
    await Store(own.url()).init()
    connection = connected(own.url())
    await connection.do(clock_of, within=5)
    own.kill()
    with pytest.raises(Away):
        await connection.do(clock_of, within=5)
    own.start()
    assert await connection.do(clock_of, within=5)


async def test_what_other_transactions_hold_is_busy(store_url, connected):
    """A lock that another transaction holds is told from a database that is away."""
    with psycopg.connect(store_url) as db:
        db.execute("LOCK TABLE alma_async.migration")

        def work(link):
            with link.transaction():
                link.execute("SET LOCAL lock_timeout = '50ms'")
                link.execute("LOCK TABLE alma_async.migration")

        db.rollback()
        connection = connected(store_url)
        await connection.do(clock_of, within=5)
        db.execute("LOCK TABLE alma_async.migration")
        with pytest.raises(Busy):
            await connection.do(work, within=5)


async def test_the_password_is_never_shown(monkeypatch, tmp_path):
    """Not in a repr, an error, its traceback with locals, or a message about what is no URL."""
    word = "pw-canary-5b1f"
    for url in (
        f"postgresql://someone:{word}@127.0.0.1:1/library?connect_timeout=1",
        f"postgresql://someone:{word}@[broken",
        f"host=127.0.0.1 port=1 password={word} connect_timeout=1",
        f"nonsense {word}",
        f"postgresql://someone:{word}/x@127.0.0.1:1/library",
        f"postgresql://someone:x@{word}@127.0.0.1:1/library",
        f"postgresql://someone:1/{word}@127.0.0.1:1/library",
        f"postgresql://someone:1?{word}@127.0.0.1:1/library",
    ):
        shown = []
        try:
            store = Store(url)
            shown += [repr(store), str(store), repr(vars(store)), store.place]
            await store.check()
        except AlmaError as raised:
            error = raised
            shown += [str(error), repr(error)]
            while error is not None:
                seen = traceback.TracebackException.from_exception(error, capture_locals=True)
                shown += [f"{seen} {frame.locals}" for frame in seen.stack if frame.filename != __file__]
                error = error.__context__
        assert shown
        assert word not in "".join(shown)
    file = tmp_path / "url"
    file.write_text(f"postgresql://someone:{word}@127.0.0.1:1/library\n")
    monkeypatch.setenv("ALMA_STORE_FILE", str(file))
    store = Store.from_env()
    assert store is not None
    assert store.place == "127.0.0.1:1/library"
    monkeypatch.setenv("ALMA_STORE_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="ALMA_STORE_FILE"):
        Store.from_env()
    assert Secret.of(word).reveal() == word


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://me:p%40w%2F@db.example.org/a%40b", "db.example.org/a@b"),
        ("host=@socket dbname=a@b", "@socket/a@b"),
        (
            "postgresql://me@one.example:5432,two.example:5433/x?sslpassword=a@b",
            "one.example,two.example:5432,5433/x",
        ),
    ],
)
def test_an_address_that_is_written_well_is_taken(url, place):
    """Escaped characters, sockets without a file, several hosts, and words of libpq are no unescaped password."""
    assert Store(url).place == place


async def test_a_connection_that_comes_too_late_is_not_used(store_url, connected, monkeypatch):
    """Who waited for it has gone on; the next work is given another one, and the late one is closed."""
    made, began, go_on = [], threading.Event(), threading.Event()

    def connect(*args, **how):
        link = storage_connect(*args, **how)
        made.append(link)
        if not began.is_set():
            began.set()
            go_on.wait(5)
        return link

    storage_connect = storage.connect
    monkeypatch.setattr(storage, "connect", connect)
    connection = connected(store_url)
    with pytest.raises(Away):
        await connection.do(lambda link: made.append("used"), within=0.6)
    assert began.is_set()
    assert await connection.do(clock_of, within=5)
    go_on.set()
    for _ in range(100):
        if made[0].db.closed:
            break
        await anyio.sleep(0.02)
    assert made[0].db.closed
    assert "used" not in made
    assert not made[1].db.closed


async def test_what_the_database_cannot_take_does_not_lose_the_connection(store_url, connected):
    """A text that no text of PostgreSQL can be is a failure of that work alone."""
    connection = connected(store_url)
    with pytest.raises(StorageFailed):
        await connection.do(lambda link: link.execute("SELECT %s", ("a\0b",)), within=5)
    first = await connection.do(lambda link: link.db.info.backend_pid, within=5)
    with pytest.raises(StorageFailed):
        await connection.do(lambda link: link.execute("SELECT 1 / 0"), within=5)
    assert await connection.do(lambda link: link.db.info.backend_pid, within=5) == first


async def test_a_store_keeps_no_connection_that_was_closed(store_url):
    """However many clients come and go over one store; what is used again is closed with it again."""
    store = Store(store_url)
    for _ in range(3):
        connection = store.connection("a test")
        await connection.do(clock_of, within=5)
        await connection.aclose()
    assert store._open == set()
    await connection.do(clock_of, within=5)
    await store.aclose()
    assert store._open == set()
    assert connection._link is None


async def test_a_closing_that_is_cancelled_ends_its_thread(store_url):
    """No thread of a connection is left, whatever cancels who closes it."""
    connection = Store(store_url).connection("cancelled")
    await connection.do(clock_of, within=5)
    busy = asyncio.ensure_future(connection.do(lambda _: time.sleep(0.5), within=5))  # noqa: TID251
    await anyio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.aclose(), 0.1)
    await busy
    with anyio.fail_after(2):
        while any(one.name == "alma_async cancelled" for one in threading.enumerate()):
            await anyio.sleep(0.02)
