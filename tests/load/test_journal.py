"""The journal says where each row stands, whatever happened to the process."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import attrs
import pytest

from alma_async._storage.seal import Seal
from alma_async.errors import ConfigurationError
from alma_async.load import records
from alma_async.load.entries import Entry, Moment, State, Step
from alma_async.load.journal import Ingested, JournalDamaged, JournalError, JournalInUse
from alma_async.load.journal_file import JournalFile
from alma_async.load.matching import Carrier
from alma_async.load.records import schema
from alma_async.settings import state_dir

NOW = Moment(wall=1000.0, mono=50.0, boot="b")


def entry(n, **more):
    return Entry(
        **{
            "n": n,
            "line": n + 1,
            "state": State.PENDING,
            "mms_id": f"99{n}",
            "natural_key": b"k%d" % n,
            **more,
        }
    )


def change(journal, n, **changes):
    journal.write(attrs.evolve(journal.get(n), **changes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "a.load"


def test_rows_survive_closing(path):
    """What was written is there after closing and opening again, field by field."""
    whole = entry(
        1,
        state=State.UNKNOWN,
        step=Step.CREATE,
        payload=b"p",
        portfolio_id="53",
        action="created",
        lost_answers=2,
        may_resend=False,
        sent_by=NOW,
        code="60164",
        message="m",
        tracking_id="T",
    )
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [whole]))
        journal.note({"file": "x"})
    with JournalFile(path) as journal:
        assert journal.entries() == [whole]
        assert journal.meta()["file"] == "x"


def test_a_repeated_key_is_a_duplicate_and_names_the_first(path):
    """A second row with the same key is not to be sent, and says which line it repeats."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1), entry(2, natural_key=b"k1"), entry(3)]))
        states = [(e.state, e.message) for e in journal.entries()]
    assert states == [
        (State.PENDING, None),
        (State.DUPLICATE, "The same title as line 2."),
        (State.PENDING, None),
    ]


def test_an_intent_found_at_start_up_is_of_unknown_outcome(path):
    """A row that was about to be sent when the process died rests from its deadline or from now, whichever is earlier."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1), entry(2), entry(3)]))
        change(journal, 1, state=State.INTENT, sent_by=Moment(wall=900.0, mono=20.0, boot="b"))
        change(journal, 2, state=State.INTENT, sent_by=Moment(wall=1100.0, mono=170.0, boot="b"))
    with JournalFile(path) as journal:
        assert journal.orphaned(NOW) == 2
        first, second, third = journal.entries()
    assert (first.state, second.state, third.state) == (State.UNKNOWN, State.UNKNOWN, State.PENDING)
    assert first.sent_by is not None
    assert first.sent_by.mono == 20.0
    assert second.sent_by == NOW


def test_a_reboot_begins_the_quarantine_anew(path):
    """What rested before a reboot rests again in full, whatever the civil clock says by then."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1), entry(2)]))
        change(journal, 1, state=State.INTENT, sent_by=Moment(wall=900.0, mono=20.0, boot="a"))
        change(journal, 2, state=State.UNKNOWN, sent_by=Moment(wall=900.0, mono=20.0, boot="a"))
        assert journal.orphaned(NOW) == 1
        assert [e.sent_by for e in journal.entries()] == [NOW, NOW]


def test_what_is_left_counts_from_a_moment_that_may_lie_ahead():
    """A row that a dead process might have sent until then rests from then on."""
    then = Moment(wall=100, mono=10, boot="b")
    assert then.left(30, Moment(wall=60, mono=3, boot="b")) == 37
    assert then.left(30, Moment(wall=60, mono=25, boot="b")) == 15
    assert then.left(30, Moment(wall=60, mono=99, boot="b")) == 0
    assert then.left(30, Moment(wall=60, mono=99, boot="another")) == 30


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (
            Moment(wall=0, mono=10, boot="b"),
            Moment(wall=9999, mono=15, boot="b"),
            5,
        ),  # the civil clock was stepped
        (Moment(wall=0, mono=10, boot="b"), Moment(wall=60, mono=300, boot="c"), 0),  # another boot
        (Moment(wall=100, mono=10, boot="b"), Moment(wall=60, mono=3, boot="b"), 0),  # cannot be
        (Moment(wall=100, mono=10, boot=""), Moment(wall=160, mono=300, boot=""), 0),  # boots unknown
    ],
)
def test_elapsed_time_is_never_overstated_by_a_clock(then, now, expected):
    """Within a boot the monotonic clock counts; across boots nothing is known to have passed."""
    assert then.elapsed(now) == expected


def test_a_second_process_is_kept_out(path):
    """While one process owns a journal, another gets a clear error, and takes over once the first is gone - also by kill -9."""
    program = (
        "import sys, pathlib, time; from alma_async.load.journal_file import JournalFile;"
        "journal = JournalFile(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with pytest.raises(JournalInUse):
            JournalFile(path)
        owner.kill()
        owner.wait()
        JournalFile(path).close()


def test_files_are_the_owners_alone(path):
    """Journal and lock are 0600 and the directory 0700, whatever the umask."""
    before = os.umask(0)
    try:
        with JournalFile(path) as journal:
            journal.ingest(map(Ingested, [entry(1)]))
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600}, modes


def test_writes_are_fully_synchronous(path):
    """Each change is committed with synchronous=FULL in WAL mode, on one exclusive connection."""
    with JournalFile(path) as journal:
        ask = lambda pragma: journal._db.execute(f"PRAGMA {pragma}").fetchone()[0]  # noqa: E731
        assert (ask("journal_mode"), ask("locking_mode"), ask("synchronous")) == ("wal", "exclusive", 2)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(path, timeout=0).execute("SELECT * FROM meta")


def test_a_failed_write_is_the_journals_error(path):
    """SQLite's failure comes out as JournalError, and the row is as it was."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1)]))
        journal._db.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalError) as caught:
            change(journal, 1, state=State.INTENT)
        assert "readonly" in str(caught.value)
        assert journal.get(1).state is State.PENDING


def test_a_changed_byte_is_noticed(path):
    """A value that was changed under the journal's checksum is refused, also where SQLite sees nothing wrong."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1, portfolio_id="53")]))
        journal.keep(1, b'{"id":"53"}')
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entry SET portfolio_id = '54'")
        db.execute("UPDATE before_image SET n = 2")
    db.close()
    with JournalFile(path) as journal:
        with pytest.raises(JournalError, match="damaged"):
            journal.get(1)
        with pytest.raises(JournalError, match="damaged"):
            journal.body(2)


def test_a_former_state_comes_back(path):
    """What an object was before the load is kept small, and comes back as it was."""
    body = (
        b'{"id":"53","public_note":"a","notes":[],"linking_details":{"static_url":"jkey=https://www.x.example"}}'
        * 20
    )
    with JournalFile(path) as journal:
        journal.keep(7, b"earlier")
        journal.keep(7, body)
        assert journal.body(7) == body
        assert journal.body(8) is None
        journal.check()
        (size,) = journal._db.execute("SELECT length(body) FROM before_image").fetchone()
        assert size < len(body) / 10


@pytest.mark.parametrize("table", ["meta", "entry", "before_image", "existing", "identifier"])
def test_a_missing_record_is_noticed(path, table):
    """A record that is gone is missed, whichever it is, though every other one be well."""
    with JournalFile(path) as journal:
        fill(journal)
        journal.check()
    with sqlite3.connect(path) as db:
        db.execute(f"DROP TRIGGER {table}_DELETE")
        db.execute(
            f"DELETE FROM {table} WHERE rowid = 3" if table in ("entry", "before_image") else DELETE[table]
        )
        db.execute(next(one for one in schema() if f"TRIGGER {table}_DELETE" in one))
    db.close()
    with JournalFile(path) as journal, pytest.raises(JournalError, match="the number of its records"):
        journal.check()


CARRIED = [f"{n:04}-000X" for n in range(38)]
DELETE = {
    "identifier": "DELETE FROM identifier WHERE value = '0003-000X'",
    "meta": "DELETE FROM meta WHERE name = 'action'",
    "existing": "DELETE FROM existing WHERE portfolio_id = '533'",
}


def fill(journal):
    """Some of everything that a journal holds."""
    journal.note({"action": "upsert", "ingested": "1"})
    journal.ingest(map(Ingested, (entry(n, payload=b"p%d" % n) for n in range(1, 41))))
    journal.add_existing((f"53{n}", f"99{n}", "11") for n in range(40))
    for n in range(40):
        journal.add_carriers(
            [(Carrier(f"53{n}", f"99{n}", f"https://journals.example/{n}"), CARRIED[n : n + 1])]
        )
    for n in range(1, 21):
        journal.keep(n, b'{"id":"53%d","public_note":"as it was"}' % n)
        change(journal, n, state=State.DONE, portfolio_id=f"54{n}", action="created", sent_by=NOW)


def told(path):
    """All that a load believes of a journal, once it has checked it."""
    with JournalFile(path) as journal:
        journal.check()
        entries = journal.entries()
        meta = {name: value for name, value in journal.meta().items() if name != "service_read"}
        held = (
            [bool(journal.existing([], [f"53{n}"])) for n in range(45)],
            [journal.body(n) for n in range(45)],
        )
        return (
            entries,
            meta,
            held,
            [journal.carriers([one])[one] for one in CARRIED],
            sorted(journal.unread()),
        )


@pytest.fixture(params=["closed", "killed"])
def damageable(path, request):
    """The files of a journal that was closed, or whose process was killed: bytes by name, and a place to damage them."""
    with JournalFile(path) as journal:
        fill(journal)
        if request.param == "killed":
            change(journal, 30, state=State.INTENT, sent_by=NOW)
            files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    if request.param == "closed":
        files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert ("a.load-wal" in files) == (request.param == "killed")
    fast = TemporaryDirectory(dir=next(filter(os.path.isdir, ("/dev/shm", gettempdir()))))  # no fsync there

    place = Path(fast.name)

    def put(name=None, content=b""):
        for old in place.iterdir():
            old.unlink()
        for each, whole in files.items():
            (place / each).write_bytes(content if each == name else whole)
        return place / "a.load"

    yield files, put
    fast.cleanup()


def noticed(path, whole, what):
    """Whether a damage is noticed; one that is not may change nothing that is believed."""
    try:
        believed = told(path)
    except (JournalError, ConfigurationError):
        return True
    assert believed == whole, what
    return False


def test_a_flipped_bit_is_noticed_or_harmless(damageable):
    """Of 500 flipped bits none makes the journal tell anything else than it was told."""
    files, put = damageable
    whole, rng, found = told(put()), random.Random(5), 0
    names = sorted(files)
    for _ in range(250):
        name = rng.choices(names, weights=[len(files[each]) for each in names])[0]
        at, bit = rng.randrange(len(files[name])), 1 << rng.randrange(8)
        content = bytearray(files[name])
        content[at] ^= bit
        found += noticed(put(name, bytes(content)), whole, f"bit {bit} of byte {at} of {name}")
    assert found > 40


def test_a_cut_is_noticed_or_harmless(damageable):
    """Cut off at any page, or without one of its files, a journal never tells less than it was told."""
    files, put = damageable
    whole, found = told(put()), 0
    for name, content in files.items():
        for length in range(0, len(content), 4096):
            found += noticed(
                put(name, content[:length]), whole, f"{name} cut to {length} of {len(content)} bytes"
            )
    for name in files:
        path = put()
        if name != path.name:  # where there is none, a new one begins
            path.with_name(name).unlink()
            found += noticed(path, whole, f"without {name}")
    assert found > len(files)


def test_an_older_copy_is_refused(path):
    """A journal restored from a backup in the place of the newer one would send again what was sent since."""
    with JournalFile(path) as journal:
        fill(journal)
    older = path.read_bytes()
    with JournalFile(path) as journal:
        change(journal, 30, state=State.DONE, portfolio_id="99")
    path.write_bytes(older)
    with pytest.raises(JournalError, match="its end"):
        JournalFile(path)


def test_an_owner_who_was_replaced_writes_nothing(path):
    """Where the lock failed and another process signed the journal, the first one's next commit is refused."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1)]))
        journal._db.execute("UPDATE owner SET nonce = x'00'")
        with pytest.raises(JournalInUse, match="taken over"):
            change(journal, 1, state=State.INTENT)
        assert journal.get(1).state is State.PENDING


def test_links_and_open_directories_are_refused(path, tmp_path):
    """No link is followed, and nothing is written where everybody could put a file."""
    path.parent.mkdir()
    (tmp_path / "elsewhere").touch()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="cannot be opened"):
        JournalFile(path)
    path.unlink()
    path.parent.chmod(0o777)
    with pytest.raises(JournalError, match="can be written by other users"):
        JournalFile(path)


def test_other_files_are_refused(path):
    """A file that is no journal, or of another version, is refused instead of written into."""
    path.parent.mkdir()
    path.write_bytes(b"mms_id,url\n" * 200)
    with pytest.raises(JournalError):
        JournalFile(path)
    path.unlink()
    JournalFile(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigurationError, match="version"):
        JournalFile(path)


def test_unwritable_places_are_named(tmp_path):
    """A path that cannot be a journal gives one clear error."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match="cannot be opened"):
        JournalFile(tmp_path / "file" / "a.load")


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE VIEW looked AS SELECT 1",
        "CREATE TRIGGER t AFTER UPDATE ON owner BEGIN DELETE FROM meta; END",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON entry (line)",
        "DROP TRIGGER entry_INSERT",
        "DROP INDEX entry_open",
        "ALTER TABLE entry ADD COLUMN more",
        (
            "DROP TABLE meta; CREATE VIEW meta (name, value, checksum) AS "
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT n, n, n FROM r"
        ),
    ],
)
def test_a_journal_holds_no_program(path, planted):
    """A view, a trigger, a table more or less: what is not our schema is refused before anything of it is read."""
    JournalFile(path).close()
    db = sqlite3.connect(path)
    db.executescript(planted)
    db.close()
    with pytest.raises(ConfigurationError, match="not a journal of this version"):
        JournalFile(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "x"),
        ("step", 5),
        ("differences", b"\x03\x00"),
        ("differences", b"no packing"),
        ("differences", "a text"),
        ("differences", records.packed(b"[[1,2,3,4,5,6]]")),
        ("differences", records.packed(b"{")),
        ("differences", records.packed(bytes(2**26))),
    ],
)
def test_a_record_that_fits_its_seal_is_still_checked(path, column, value):
    """A record that is sealed as ours and cannot be is damage all the same, and nothing grows without bound."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1)]))
    db = sqlite3.connect(path, isolation_level=None)
    names = [one[1] for one in db.execute("PRAGMA table_info(entry)")]
    (found,) = db.execute("SELECT * FROM entry").fetchall()
    columns = [value if name == column else old for name, old in zip(names[:-1], found, strict=False)]
    forged = (*columns, Seal.of(state_dir())(columns))
    db.execute(f"REPLACE INTO entry VALUES ({', '.join('?' * len(names))})", forged)
    db.execute("UPDATE owner SET entry = 1")
    db.close()
    with JournalFile(path) as journal, pytest.raises(JournalError, match="damaged"):
        journal.get(1)


_ENDLESS = """
import sys
from pathlib import Path
from alma_async._storage.sqlite import Layout, connect, failures
db = connect(Path(sys.argv[1]), Layout(1, ()))
try:
    print("begun", flush=True)
    with failures():
        db.execute("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT count(*) FROM r").fetchall()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_whatever_sqlite_is_doing_an_interrupt_ends_it(path):
    """A file that makes SQLite work without end does not take Ctrl-C away from the person who waits."""
    path.parent.mkdir(mode=0o700)
    child = subprocess.Popen([sys.executable, "-c", _ENDLESS, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=30) == ("interrupted\n", None)
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("table", ["entry", "before_image", "meta"])
def test_a_forged_record_with_a_seal_of_another_secret_is_refused(path, table, tmp_path):
    """Who can write the file cannot write what we would have written: another portfolio's id under a seal of their own."""
    with JournalFile(path) as journal:
        journal.ingest(map(Ingested, [entry(1, portfolio_id="53", action="updated", state=State.DONE)]))
        journal.keep(1, b"{}")
        journal.note({"action": "upsert"})
    db = sqlite3.connect(path, isolation_level=None)
    names = [one[1] for one in db.execute(f"PRAGMA table_info({table})")]
    (found, *_) = db.execute(f"SELECT * FROM {table}").fetchall()
    planted = {"portfolio_id": "54", "body": records.packed(b'{"id":"54"}'), "value": "delete"}
    columns = [planted.get(name, old) for name, old in zip(names[:-1], found, strict=False)]
    forged = (*columns, Seal.of(tmp_path / "elsewhere")(columns))
    assert forged != found
    places = ", ".join("?" * len(names))
    db.execute(
        f"UPDATE {table} SET ({', '.join(names)}) = ({places}) WHERE {names[0]} = ?", (*forged, found[0])
    )
    db.close()
    with JournalFile(path) as journal, pytest.raises(JournalError, match="damaged"):
        journal.check()


@pytest.mark.parametrize("commits", [1, 20])
def test_a_log_that_was_left_behind_is_named(path, tmp_path, commits):
    """A journal of a killed process that is moved without its write-ahead log is refused, naming that file; with it, it goes on."""
    there = tmp_path / "there"
    there.mkdir(mode=0o700)
    with JournalFile(path) as journal:
        for n in range(1, commits + 1):
            journal.ingest(map(Ingested, [entry(n)]))
        files = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    for name in (path.name, f"{path.name}.lock"):
        (there / name).write_bytes(files[name])
    with pytest.raises(JournalError, match=rf"{path.name}-wal is missing"):
        JournalFile(there / path.name)
    for name, content in files.items():
        (there / name).write_bytes(content)
    with JournalFile(there / path.name) as journal:
        assert journal.entries()[-1].n == commits


def test_the_log_stays_small(path):
    """However many commits there are while it is open, the write-ahead log takes less than a megabyte."""
    with JournalFile(path) as journal:
        for n in range(1, 401):
            journal.ingest(map(Ingested, [entry(n)]))
        assert path.with_name(f"{path.name}-wal").stat().st_size < 2**20


@pytest.mark.parametrize(("column", "value"), [("state", "dona"), ("action", "cpeated")])
def test_counts_of_what_cannot_be_are_damage(tmp_path, column, value):
    """Rows are counted without their seals; a state or action that there is not is damage, for whoever asks."""
    with JournalFile(tmp_path / "a.load") as journal:
        journal.ingest(map(Ingested, [Entry(n=1, line=2, state=State.DONE, action="created")]))
        journal._db.execute(f"UPDATE entry SET {column} = ?", (value,))
        with pytest.raises(JournalError, match="damaged"):
            journal.counts()


def test_where_no_secret_can_be_kept_the_error_names_the_state_directory(path, tmp_path, monkeypatch):
    """A journal is sealed with a secret of the state directory: where that cannot be written, it is that which is named."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALMA_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(JournalError, match="The secret that seals journals cannot be kept") as caught:
        JournalFile(path)
    assert "ALMA_STATE_DIR" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE owner SET commits = 'x'",
        "UPDATE owner SET commits = x'00'",
        "DELETE FROM owner",
        "UPDATE entry SET message = CAST(x'ff' AS TEXT)",
        "UPDATE entry SET wall = 'soon', state = 'unknown'",
        "UPDATE meta SET value = CAST(x'fe' AS TEXT)",
    ],
)
def test_what_no_seal_holds_is_damage_too(path, damage):
    """Records of other types than were written, and texts that are none, are damage, by name, wherever they are read first."""
    path.parent.mkdir()
    with JournalFile(path) as journal:
        journal.note({"rows": "1"})
        journal.ingest(map(Ingested, [entry(1)]))
    with closing(sqlite3.connect(path)) as db:
        db.execute(damage)
        db.commit()
    with (
        pytest.raises(JournalDamaged, match=r"a\.load is damaged"),
        JournalFile(path, reading=True) as journal,
    ):
        journal.check()
    with pytest.raises(JournalDamaged), JournalFile(path) as journal:
        journal.orphaned(NOW)
        journal.last_sent(NOW)
        journal.meta()
        journal.entries()
