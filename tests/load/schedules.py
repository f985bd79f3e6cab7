"""Seeded stories of one load under harsh conditions, in virtual time, and an independent judgement of each.

The loader, its journal on a disk, the session, the governor, the dialect and the codec are the real ones; only the wire
is a model (``wire``). The process dies at any await and any commit, is restarted (sometimes after a reboot, with another
civil clock), is stopped and resumed, until nothing is open. What is then true of the institution is compared with the file.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from unittest.mock import patch

import anyio
import attrs
import orjson

from alma_async import AlmaClient, Limits, LocalBudget, Store, Timeouts, sim
from alma_async._clock import Clock
from alma_async._core.pager import PAGE, Pager
from alma_async._http.messages import Request
from alma_async.load import (
    BeyondBound,
    Load,
    LoadOptions,
    after_create,
    identifier_index,
    ingest,
    sqlite_journal,
)
from alma_async.load.entries import Action, Entry, State
from alma_async.load.facts import BY_LIST, SERVICE_READ, SURPLUS, SURPLUS_KEPT
from alma_async.load.identifier_index import KeptIndex, RecordIdentifiers
from alma_async.load.institution import FactsFile
from alma_async.load.journal_file import JournalFile
from alma_async.load.options import Missing
from alma_async.load.outage import ROW_FAILURES
from alma_async.load.row import BadRow, Clear, Coverage, InputError, Row, RowProblem
from alma_async.load.row_task import MOST_LOST_ANSWERS
from alma_async.load.verify import Audit, Mark
from tests.load.wire import LATEST, STALEST, Service, added
from tests.wires import BASE, EPOCH, FAULTS, Wire

T = TypeVar("T")

C, S = sim.DEMO_COLLECTION, sim.DEMO_SERVICE
PATIENCE: Final = Timeouts(read=15.0, write=20.0)
QUARANTINE: Final = LATEST + STALEST + 1.0
MOST_COMMITS: Final = 5000  # of one life; some 100 are usual
CURSES: Final = ("unlisted", "unreadable", "no route before", "strange fault before")
LIVES: Final = 12  # after so many the institution and the machine are calm, and the load must come to its end
NEW, HELD, REFUSED, CURSED, OTHERS = "991", "992", "993", "994", "995"  # how the MMS ids of titles begin
ABSENT = "996"  # titles that only an ISSN names which no record has
FOUND: Final = ("carried", "carried", "carried", "shared")  # rows that only an ISSN names
NAMELESS: Final = (*FOUND, "suggested", "absent")
_DAY: Final = 86_400.0
_WHOLE: Final = 1  # each fourth story is of a list that is complete
_JULY: Final = {"from_year": "1999", "from_month": "07"}


class Dead(BaseException):
    """The process is no more; nothing that it still does has any effect."""


@attrs.define
class Story:
    """What became of one schedule, or of many. What must be nothing: lost, doubled, undurable, wrong, unfinished, hasty (calls
    within a pause that was asked for), and untold: what ``verify`` does not find though it is so, or finds though it is not.
    """

    schedules: int = 0
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    undurable: int = 0
    wrong: int = 0
    unfinished: int = 0
    untold: int = 0
    hasty: int = 0
    review: int = 0
    crashes: int = 0
    sends: int = 0
    fired: Counter[str] = attrs.field(factory=Counter)
    died: Counter[str] = attrs.field(factory=Counter)
    trace: str = ""
    told: str = ""  # of one that is broken: how its rows ended, and all that arrived

    def __iadd__(self, other: Self) -> Self:
        for field in attrs.fields(Story):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        self.trace = other.trace
        self.told = other.told
        return self

    @property
    def broken(self) -> dict[str, int]:
        """The promises that were not kept."""
        names = ("lost", "doubled", "undurable", "wrong", "unfinished", "untold", "hasty")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


@attrs.define
class Disk:
    """What a power cut leaves of the journal: what was committed under full synchronisation, else less."""

    path: Path
    db: sqlite3.Connection | None = None
    sure: bool = False
    release: Callable[[], None] | None = None  # what the kernel does when a process is dead
    others: dict[int, Callable[[], None]] = attrs.field(factory=dict)  # the same of other open journals
    unsure: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=4))

    def committed(self) -> None:
        if self.sure:
            self.unsure.clear()
        elif self.db is not None:
            with suppress(sqlite3.ProgrammingError):  # it is not open
                self.unsure.append(self.db.serialize())

    def opened(self, db: sqlite3.Connection, release: Callable[[], None]) -> None:
        self.db, self.release = db, release
        self.sure = db.execute("PRAGMA synchronous").fetchone() >= (2,)

    def power_cut(self, rng: random.Random) -> None:
        if self.unsure:
            self.path.with_name(f"{self.path.name}-wal").unlink(missing_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("r+b") as lock:
                lock.write(bytes(8))  # what was not waited for
            self.path.write_bytes(rng.choice(self.unsure))
            self.unsure.clear()


@attrs.define(eq=False)
class Machine(Clock):
    """One life of the process: its clock, its disk's commits, and the moment it dies."""

    rng: random.Random
    disk: Disk
    chance: float
    skew: float
    boots: int
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    died: str = ""
    commits: int = 0

    def wall(self) -> float:
        return EPOCH + self.now() + self.skew

    def boot(self) -> str:
        return f"boot {self.boots}"

    def die(self, where: str) -> None:
        self.died = self.died or where
        self.scope.cancel()

    def point(self, where: str) -> None:
        if self.rng.random() < self.chance:
            self.die(where)

    async def aside(self, work: Callable[[], T]) -> T:
        self.point("before a commit")
        if self.died:
            raise Dead
        done = work()
        self.commits += 1
        if self.commits > MOST_COMMITS:
            raise RuntimeError("the load does not come to an end")
        self.disk.committed()
        self.point("after a commit")
        if self.died:
            raise Dead
        return done


def _row(line: int, title: str, url: str, note: str, month: str | None = None) -> Row:
    values, since = {"url": url, "public_note": note}, Coverage(from_year="1999", from_month=month)
    return Row(line=line, lines=(line,), mms_id=title, values=values, coverage=(since,))


def _issn(n: int) -> str:
    """The n-th valid ISSN."""
    body = f"{2_000_000 + n:07}"
    check = -sum(int(digit) * weight for digit, weight in zip(body, range(8, 1, -1), strict=True)) % 11
    return f"{body[:4]}-{body[4:]}{'X' if check == 10 else check}"


def _file(rng: random.Random, count: int, kinds: tuple[str, ...]) -> tuple[Row | BadRow, ...]:
    """Titles of every kind: new, held already, twice in the file, several portfolios of one title, refused, answered with
    a code that nobody knows each time, unreadable, and named by an ISSN alone.
    """
    rows: list[Row | BadRow] = []
    kinds += (*["new"] * 4, "held", "held", "twin", "again", "refused", "bad", rng.choice(("new", "cursed")))
    while len(rows) < count:
        line, kind = len(rows) + 2, rng.choice(kinds)
        url = f"https://journals.example/{line}"
        earlier = [row for row in rows if isinstance(row, Row)]
        if kind == "bad":
            rows.append(BadRow(line=line, lines=(line,), problems=(RowProblem(line, "url", "is no URL"),)))
        elif kind == "again" and earlier:
            rows.append(attrs.evolve(rng.choice(earlier), line=line, lines=(line,)))
        elif kind == "twin" and (sure := [row for row in earlier if row.title != "suggested"]):
            rows.append(_row(line, str(rng.choice(sure).mms_id), url, "a twin"))
        else:
            start = {"held": HELD, "refused": REFUSED, "cursed": CURSED, "absent": ABSENT}.get(kind, NEW)
            start = HELD if kind in ("carried", "shared", "suggested") else start
            note, month = rng.choice(("a note", "another")), rng.choice((None, "03", "11"))
            row = _row(line, f"{start}{line:05}", url, note, month)
            clear = {"authentication_note": Clear.CLEAR} if rng.random() < 0.3 else {}
            found = (
                next((one for one in earlier if one.title == "carried"), None) if kind == "shared" else None
            )
            names = (found.identifiers if found else (_issn(line),)) if kind in NAMELESS else ()
            row = attrs.evolve(row, values={**row.values, **clear}, identifiers=names)
            rows.append(attrs.evolve(row, title=kind) if names else row)
    return tuple(rows)


def _switches(rng: random.Random) -> sim.Config:
    """What Alma leaves open, one way or the other."""
    return sim.Config(
        put=rng.choice(("replaces", "keeps")),
        coverage_in_post=rng.random() < 0.5,
        write_answers=rng.choice(("whole", "whole", "without_coverage", "short")),
        post_answers=rng.choice((None, "short", "short")),
        post_adds=rng.choice(("nothing", "the same", "the same", "of the record")),
        empty_members=rng.random() < 0.5,
        months_as_objects=rng.random() < 0.3,
        odd_fields=rng.choice((0.0, 0.0, 0.2)),
        date=sim.Dates(
            off=rng.choice((0.0, 0.0, 7200.0, -86400.0, 3e9)),
            share=rng.random(),
            missing=rng.choice((0.0, 0.3)),
        ),
    )


def _is_tame(row: Row | BadRow) -> bool:
    """Whether the row ends well where nothing fails."""
    return (
        isinstance(row, Row)
        and not str(row.mms_id).startswith((REFUSED, CURSED))
        and row.title not in ("absent", "suggested")
    )


def _month(statement: Any) -> str | None:
    """The month in what the institution holds, in either form."""
    month = statement.get("from_month")
    return (month["value"] if isinstance(month, dict) else month) or None


def _key(row: Row) -> tuple[str, str]:
    return str(row.mms_id), f"jkey={row.values['url']}"


@attrs.define
class Tale:
    """One schedule: a file, an institution, a disk, and the lives of the processes that load the one into the other."""

    rng: random.Random
    path: Path
    rows: int
    later: float
    story: Story = attrs.field(factory=lambda: Story(schedules=1))
    remote: Service = attrs.field(init=False)
    file: tuple[Row | BadRow, ...] = attrs.field(init=False)  # as it is meant
    given: tuple[Row | BadRow, ...] = attrs.field(
        init=False
    )  # without the MMS ids that identifiers stand for
    batch: int = 100
    disk: Disk = attrs.field(init=False)
    action: Action = attrs.field(init=False)
    planted: set[tuple[str, str]] = attrs.field(factory=set)
    page: int = PAGE
    patience: Timeouts = PATIENCE
    whole: random.Random | None = None  # chance of the stories of a list that is complete
    missing: Missing | None = None
    bound: str = "100%"
    left: frozenset[str] = frozenset()  # portfolios that a complete list does not name
    beyond: bool = False

    def __attrs_post_init__(self) -> None:
        rng = self.rng
        # Each seed has some faults only: together they hide each other.
        chances = {name: rng.uniform(0.0, most) for name, most in FAULTS.items() if rng.random() < 0.4}
        nameless = rng.choice((FOUND, NAMELESS)) if rng.random() < 0.4 else ()
        self.file, self.disk = _file(rng, self.rows, nameless), Disk(self.path)
        if self.whole is not None and self.whole.random() < 0.6:  # else nothing goes in most stories
            self.file = tuple(row for row in self.file if _is_tame(row))
        self.given = tuple(
            attrs.evolve(row, mms_id=None) if isinstance(row, Row) and row.identifiers else row
            for row in self.file
        )
        titles = {str(row.mms_id) for row in self._wanted()}
        of_kind = lambda start: frozenset(title for title in titles if title.startswith(start))  # noqa: E731
        cursed = {title: rng.choice(CURSES) for title in sorted(of_kind(CURSED))}
        self.remote = Service(
            rng=rng, chances=chances, refused_titles=of_kind(REFUSED), cursed_titles=cursed, later=self.later
        )
        self.remote.world.configure(_switches(rng))
        self.remote.retry_after = rng.choice((None, None, 30, 900))
        self.remote.connecting = rng.choice((0.0, 0.2, 0.5))
        if nameless:
            self._record()
        actions: tuple[Action, ...] = ("upsert", "upsert", "upsert", "create")
        self.action = rng.choice(actions)
        held = [_key(row) for row in {row.mms_id: row for row in reversed(self._wanted())}.values()]
        held = sorted(key for key in held if key[0].startswith(HELD))
        others = [(f"{OTHERS}{n:05}", "jkey=https://others.example/") for n in range(self.rows + 2)]
        if rng.random() < 0.3:  # so many others that titles are asked for one by one
            held += others
            self.page = 2
        elif rng.random() < 0.5:  # a list of several pages
            held += others[:3]
            rng.shuffle(held)
            self.page = 3
            self.remote.exchanging = rng.choice((0.0, 0.3))
        if self.whole is not None:
            held = self._complete(held, others)
        for title, url in held:
            self._plant(title, url)
        self.left = frozenset(
            one_id
            for one_id, one in self.remote.world.portfolios.all.items()
            if one["resource_metadata"]["mms_id"]["value"].startswith(OTHERS)
        )
        self.remote.others = {
            one_id
            for one_id, one in self.remote.world.portfolios.all.items()
            if one["resource_metadata"]["mms_id"]["value"].startswith(OTHERS)
        }

    def _complete(self, held: list[tuple[str, str]], others: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The list is all that the service should hold, which holds more. What is held is told in another order."""
        assert self.whole is not None
        self.action, self.missing = "upsert", self.whole.choice(("delete", "deactivate"))
        self.bound = self.whole.choice(("100%", "100%", "100%", "0"))
        self.page = self.whole.choice((PAGE, 3))
        self.remote.exchanging = self.whole.choice((0.0, 0.0, 0.3, 0.9)) if self.page == 3 else 0.0
        self.remote.growing = self.whole.choice((0.0, 0.9)) if self.page == PAGE else 0.0
        held = [key for key in held if not key[0].startswith(OTHERS)] + others[: self.whole.randrange(1, 6)]
        self.whole.shuffle(held)
        return held

    def _wanted(self) -> list[Row]:
        return [row for row in self.file if isinstance(row, Row)]

    def _record(self) -> None:
        """What records name, and how they may be read."""
        rng, remote = self.rng, self.remote
        for row in self._wanted():
            if row.title in ("carried", "shared"):
                remote.world.add_bib(str(row.mms_id), "A title", issn=row.identifiers[0])
            elif row.title == "suggested":
                remote.world.add_bib(str(row.mms_id), "A title", other_forms=row.identifiers)
        remote.may_read_bibs = rng.random() < 0.8
        remote.most_bibs, remote.is_slow = rng.choice((100, 100, 3, 1)), rng.random() < 0.5
        remote.omitting = rng.choice((0.0, 0.5, 1.0))
        self.batch = rng.choice((100, 100, 3))

    async def _probe(self) -> None:
        """In some stories Alma does not take an empty text for an order to clear, and that is known."""
        apart = random.Random(str(self.rng.getstate()[1][:3]))  # what else happens stays as it was
        if apart.random() < 0.7:
            return
        effect: Any = apart.choice(("ignored", "rejected"))
        world, clears = self.remote.world, {"text blank": effect, "text null": "cleared"}
        world.configure(attrs.evolve(world.config, clears=clears))
        known: Any = {"text": {"blank": "kept" if effect == "ignored" else effect, "null": "cleared"}}
        async with AlmaClient("sim-schedule", base_url=BASE, budget=LocalBudget()) as alma:
            FactsFile.of(alma.scope).learn(lambda before: attrs.evolve(before, clears=known))

    async def _keep_wrong(self) -> None:
        """An index that is not to be believed, of long ago or somebody else's: each title carries what another does."""
        carried = {str(row.mms_id): row.identifiers for row in self._wanted() if row.title == "carried"}
        titles, old = list(carried), self.rng.random() < 0.5
        at = EPOCH - (_DAY + 7200.0 if old else 0.0)
        wrong = {title: carried[other] for title, other in zip(titles, titles[1:] + titles[:1], strict=True)}
        async with AlmaClient("sim-schedule", base_url=BASE, budget=LocalBudget()) as alma:
            kept = KeptIndex.of(alma.scope, C, S)
        kept.write({title: RecordIdentifiers(at, own) for title, own in wrong.items()})
        if not old and kept.file.path.exists():
            kept.file.path.write_bytes(b"0" * 16 + kept.file.path.read_bytes()[16:])

    def _plant(self, title: str, url: str) -> None:
        """The service holds this title before the load, with an old note."""
        self.planted.add((title, url))
        body = {
            "is_local": True,
            "resource_metadata": {"mms_id": {"value": title}},
            "electronic_collection": {"id": {"value": C}, "service": {"value": S}},
            "availability": {"value": "11"},
            "linking_details": {"url_type": {"value": "static"}, "static_url": url},
            "coverage_details": {"local_date_coverage_parameters": self.rng.choice(([], [_JULY]))},
            "public_note": self.rng.choice(("a note", "old", "")),
            "internal_description": "kept by hand",
            "authentication_note": self.rng.choice(("", "Ask us")),
        }
        made = self.remote.world.portfolios.create(C, S, body, now=EPOCH)
        self.remote.added[made["id"]] = added(made)

    async def live(self) -> Story:
        machine: Machine | None = None
        harsh, cruel = self.rng.choice((0.0, 0.005, 0.02)), self.rng.random() < 0.3
        boots, skew = 0, 0.0
        await self._probe()
        if self.rng.random() < 0.5 and self.given != self.file:
            await self._keep_wrong()
        for life in range(3 * LIVES):
            self.remote.calm = calm = life >= LIVES
            machine = Machine(self.rng, self.disk, 0.0 if calm else harsh, skew, boots)
            if await self._load(machine, calm=calm):
                break
            if machine.died and cruel and self.rng.random() < 0.7:  # the power went
                self.disk.power_cut(self.rng)
                boots, skew = boots + 1, self.rng.choice((0.0, -3600.0, 3600.0))
            await anyio.sleep(self.rng.choice((0.0, 1.0, 30.0, 200.0)))
        await anyio.sleep((LATEST + STALEST) * self.later + 1.0)
        self._judge()
        self.remote.calm = True
        if self.story.broken or self.rng.random() < 0.25:  # it costs as much as the rest
            self._compare(await self._loader(Machine(self.rng, self.disk, 0.0, skew, boots)).verify())
        return self.story

    async def _load(self, machine: Machine, *, calm: bool) -> bool:
        """One life of the process; whether nothing is left to do."""
        load, file = self._loader(machine), self._handed_in(calm=calm)
        report, refused = None, False
        with machine.scope:
            try:
                async with anyio.create_task_group() as tasks:
                    if not calm and self.rng.random() < 0.4:
                        tasks.start_soon(self._fate, machine, load, tasks.cancel_scope)
                    report = await load.run(file)
                    tasks.cancel_scope.cancel()
            except* InputError:
                refused = True
            except* BeyondBound:
                self.beyond = True
            except* BaseException:
                if not machine.died:
                    raise
        for close in [self.disk.release, *self.disk.others.values()]:
            if close is not None:
                close()
        if machine.died:
            self.story.crashes += 1
            self.story.died[machine.died] += 1
            return False
        if self.beyond:
            return True
        if refused or report is not None:  # another file must be refused, and this one never
            self.story.wrong += refused == (file in (None, self.given))
        return report is not None and report.is_finished

    def _handed_in(self, *, calm: bool) -> tuple[Row | BadRow, ...] | None:
        """The file that this life is given: none where it has its rows, and sometimes another one."""
        if self.remote.sends and self.rng.random() < 0.5:
            return None
        if not calm and self.remote.sends and self.rng.random() < 0.06:
            rows = list(self.given)
            self.rng.shuffle(rows)
            return tuple(rows)
        return self.given

    def _loader(self, machine: Machine) -> Load:
        alma = AlmaClient(
            "sim-schedule", base_url=BASE, limits=Limits(reserve=0, pacing="greedy"), budget=LocalBudget(),
            timeout=self.patience, clock=machine, store=self._store(machine),
        )  # fmt: skip
        session: Any = alma._session
        session._transport = Wire(self.remote, lambda where, _: machine.point(where), self._check_intent)
        session._jitter = random.Random(self.rng.random())
        return Load(alma, collection_id=C, service_id=S, journal=self.journal, options=self.options)

    @property
    def journal(self) -> str:
        return str(self.path)

    def _store(self, machine: Machine) -> Store | None:
        """What the journal is in, where that is no file."""
        return None

    @property
    def options(self) -> LoadOptions:
        return LoadOptions(
            action=self.action, quarantine=QUARANTINE, workers=5, circuit_breaker=False, missing=self.missing,
            max_delete=self.bound,
        )  # fmt: skip

    async def _fate(self, machine: Machine, load: Load, scope: anyio.CancelScope) -> None:
        """At some time it is stopped by a person, kindly or at once, or killed."""
        await anyio.sleep(self.rng.uniform(0.0, self.rng.choice((3.0, 120.0))))
        fate = self.rng.choice(("stop", "cancel", "kill"))
        if fate == "stop":
            load.stop()
            await anyio.sleep(self.rng.uniform(0.0, 60.0))
        if fate == "kill":
            machine.die("at any time")
        else:
            scope.cancel()

    def _check_intent(self, request: Request) -> None:
        """A write is on its way: its row's intent must be on the disk, committed (B3)."""
        if request.method == "GET":
            return
        db = self.disk.db
        assert db is not None
        if request.method == "POST":
            assert request.body is not None
            of = ("mms_id", orjson.loads(request.body)["resource_metadata"]["mms_id"]["value"])
        else:
            of = ("portfolio_id", request.path.rsplit("/", 1)[-1])
        found = db.execute(f"SELECT 1 FROM entry WHERE state = 'intent' AND {of[0]} = ?", of[1:]).fetchone()
        if found is None or db.in_transaction:
            self.story.undurable += 1

    # --- the judgement, from the file and the institution alone

    def _judge(self) -> None:
        story, remote = self.story, self.remote
        story.rows, story.sends, story.fired = len(self.file), remote.sends, remote.fired
        story.hasty = remote.hasty
        story.trace = hashlib.sha256(repr(remote.log).encode()).hexdigest()
        for key, count in remote.creates.items():
            story.doubled += count - (0 if key[0].startswith(HELD) and key in self.planted else 1)
        entries, meta = self._found()
        self._judge_left(entries[len(self.file) :], entries[: len(self.file)], meta)
        if self.beyond:
            return
        entries = entries[: len(self.file)]
        if len(entries) != len(self.file):
            story.lost += abs(len(self.file) - len(entries))
        held = {str(one["id"]): one for one in remote.world.portfolios.all.values()}
        seen: set[tuple[str, str]] = set()
        for row, entry in zip(self.file, entries, strict=False):
            self._judge_row(row, entry, held, seen)

    def _found(self) -> tuple[list[Entry], dict[str, str]]:
        """What the journal says."""
        with JournalFile(self.path) as journal:
            return journal.entries(), journal.meta()

    def _judge_left(self, left: list[Entry], rows: list[Entry], meta: dict[str, str]) -> None:
        """What a complete list does not name: touched where it may be, and nothing besides."""
        remote, story = self.remote, self.story
        touched = {one for one in (*remote.deleted, *remote.changed) if one in remote.others}
        story.wrong += not remote.deleted.keys() <= touched or (
            self.missing == "delete" and remote.changed.keys() & touched != set()
        )
        well = all(entry.state in (State.DONE, State.DUPLICATE) for entry in rows)
        may = self.missing is not None and well and meta.get(SERVICE_READ) == BY_LIST and not self.beyond
        story.wrong += bool(touched) and not may
        if self.beyond:
            story.wrong += bool(remote.creates or remote.changed or remote.deleted)
            return
        story.wrong += self.missing is not None and (SURPLUS in meta) == (SURPLUS_KEPT in meta)
        story.wrong += SURPLUS in meta and not may
        ended = {entry.portfolio_id: entry for entry in left}
        for one in self.left if SURPLUS in meta else ():
            held, entry = remote.world.portfolios.all.get(one), ended.get(one)
            there = held is not None and (self.missing == "delete" or held["availability"]["value"] != "10")
            if entry is None or entry.state is State.DONE:
                story.lost += there
            else:  # a person is asked only where answers were lost or calls failed again and again
                story.review += 1
                failed = remote.struck[one] >= ROW_FAILURES or remote.unclear[one] or remote.refused[one]
                story.wrong += entry.state not in (State.REVIEW, State.REJECTED) or not failed

    def _judge_row(
        self, row: Row | BadRow, entry: Entry, held: dict[str, Any], seen: set[tuple[str, str]]
    ) -> None:
        story = self.story
        if isinstance(row, BadRow):
            story.wrong += entry.state is not State.REJECTED
            return
        if row.title in ("absent", "suggested"):
            ends = {"absent": (State.REJECTED, "no-record"), "suggested": (State.REVIEW, "suggested")}
            unread = (
                row.title == "suggested" and entry.reason == "no-record"
            )  # where records are not to be had
            story.wrong += (entry.state, entry.reason) != ends[row.title] and not unread
            return
        repeated = _key(row) in seen
        seen.add(_key(row))
        if entry.state is State.DONE and not repeated:
            story.lost += not self._stands(row, held.get(entry.portfolio_id or ""))
        elif entry.state is State.DUPLICATE or repeated:
            story.wrong += not (repeated and entry.state is State.DUPLICATE)
        elif entry.state is State.REJECTED:
            story.wrong += not self._is_refused(row, entry)
        elif entry.state is State.REVIEW:
            # A person is asked only where answers were lost or calls failed again and again, the title's or a portfolio's of it.
            story.review += 1
            titles = {one: its["resource_metadata"]["mms_id"]["value"] for one, its in held.items()}
            its_own = {one for one, title in titles.items() if title == row.mms_id}
            names = {*its_own, row.mms_id, entry.portfolio_id} - {None}
            failed, unclear, refused = (
                sum(counted[str(one)] for one in names)
                for counted in (self.remote.struck, self.remote.unclear, self.remote.refused)
            )
            last = entry.lost_answers >= MOST_LOST_ANSWERS or not entry.may_resend
            lost = last and unclear > 0
            stands = self.remote.creates[_key(row)] or self.remote.changed[entry.portfolio_id or ""]
            halfway = refused > 0 and stands > 0
            story.wrong += not (lost or halfway or failed >= ROW_FAILURES)
        else:
            story.unfinished += 1

    def _is_refused(self, row: Row, entry: Entry) -> bool:
        """Alma refused the row as it was, and nothing was made or changed for it."""
        remote, portfolio_id = self.remote, entry.portfolio_id or ""
        refused = (
            row.mms_id in remote.refused_titles
            or remote.refused[str(row.mms_id)]
            or remote.refused[portfolio_id]
        )
        return bool(refused) and not remote.creates[_key(row)] and not remote.changed[portfolio_id]

    def _compare(self, audit: Audit) -> None:
        """What verify tells, and what is so. Portfolios of rows that a person is to look at may stand for no row."""
        # A row that is there more than once is found once, naming all others.
        doubles = sum(found.message.count(", ") + 1 for found in audit.findings if found.mark is Mark.DOUBLE)
        strays = sum(
            found.mark is Mark.EXTRA and found.portfolio_id not in self.remote.others
            for found in audit.findings
        )
        lacks = audit.count(Mark.MISSING) + audit.count(Mark.DIFFERS)
        story = self.story
        story.untold += (lacks > 0) != (story.lost > 0)
        story.untold += not doubles <= story.doubled <= doubles + strays
        story.untold += strays > 0 and not story.doubled and not story.review

    def _stands(self, row: Row, one: Any) -> bool:
        """The institution holds what the row says."""
        if one is None or one["resource_metadata"]["mms_id"]["value"] != row.mms_id:
            return False
        if self.action == "create" and str(row.mms_id).startswith(HELD):
            return True  # what was there is left alone
        if added(one) != self.remote.added[one["id"]]:
            return False  # what was made of a create stays
        if _key(row) in self.planted and one["internal_description"] != "kept by hand":
            return False
        dates = one["coverage_details"]["local_date_coverage_parameters"]
        url, note = one["linking_details"]["static_url"], one["public_note"]
        if "authentication_note" in row.values and one["authentication_note"]:
            return False  # it was to be cleared
        covered = row.coverage if isinstance(row.coverage, tuple) else ()
        wanted = [(one.from_year, one.from_month) for one in covered]
        return bool(
            url == _key(row)[1]
            and note == row.values["public_note"]
            and [(one["from_year"], _month(one)) for one in dates] == wanted
        )


def schedule(seed: int, path: Path, *, rows: int = 10, later: float = 1.0, of: type[Tale] = Tale) -> Story:
    """Live through one schedule from the beginning; the same seed gives the same story, call by call.

    :param later: how many times as late as the loader may assume requests are applied and reads are stale.
    :param of: the kind of story
    """
    whole = random.Random(f"complete {seed}") if seed % 4 == _WHOLE and of is Tale else None
    tale = of(random.Random(seed), path, rows, later, whole=whole)

    class Watched(JournalFile):
        """The real journal, whose connection the disk may look at."""

        def __init__(self, path: Path, *, reading: bool = False) -> None:
            super().__init__(path, reading=reading)
            if path == tale.path:
                tale.disk.opened(self._db, self.close)
            else:
                tale.disk.others[id(self)] = self.close

        def close(self) -> None:
            if self.path == tale.path:
                tale.disk.release = None
            tale.disk.others.pop(id(self), None)
            super().close()

    random.seed(seed)  # what the governor draws from
    options: dict[str, Any] = {"loop_factory": sim.VirtualTimeLoop}
    apart = patch.dict(os.environ, ALMA_STATE_DIR=str(path.parent / "state"))
    paged = patch.dict(Pager.__init__.__kwdefaults__ or {}, page=tale.page)
    with (
        apart,
        paged,
        patch.object(sqlite_journal, "JournalFile", Watched),
        patch.object(ingest, "PAGE", tale.page),
        patch.object(after_create, "_READ_FIRST", 2),  # of ten rows
        patch.object(identifier_index, "MOST", tale.batch),
    ):
        story = anyio.run(tale.live, backend="asyncio", backend_options=options)
        if story.broken:
            story.told = "\n".join(map(str, (*tale._found()[0], *tale.remote.log)))
        return story
