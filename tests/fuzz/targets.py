"""What is fed: each parser, reader, stored file, the environment, webhooks. Only the library's own errors may come out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import attrs

from alma_async import (
    AlmaClient,
    AlmaError,
    AlmaSet,
    ElectronicCollection,
    JobInstance,
    LocalBudget,
    Portfolio,
    Secret,
)
from alma_async._governance.file_budget import MachineBudget
from alma_async._governance.rate import Terms
from alma_async._guard.ledger import SqliteLedger
from alma_async._guard.state import Book
from alma_async._http.codec import structure
from alma_async._http.json_text import loads
from alma_async._http.messages import Request, Response, Safety
from alma_async._http.outcome import Failed, error_of, retry_after, server_time
from alma_async._http.routes import raw_path
from alma_async.alma.dialect import AlmaDialect
from alma_async.alma.models.jobs import Job
from alma_async.alma.problems import read_body
from alma_async.load import read_rows
from alma_async.load.entries import Difference, Entry, State
from alma_async.load.journal import Ingested
from alma_async.load.journal_file import JournalFile
from alma_async.load.readers import FORMATS, xlsx
from alma_async.load.readers.alma_loader import NAMES
from alma_async.load.readers.mms_map import MmsMap
from alma_async.polaris.client import from_environment as polaris_environment
from alma_async.polaris.dialect import PolarisDialect
from alma_async.polaris.models import LoginAnswer
from alma_async.polaris.models import structure as polaris_structure
from alma_async.settings import from_environment, origin_of, state_dir
from alma_async.webhooks import Replays, challenge_response, parse_event, verify_signature
from tests.load.readers import workbooks

TERMS: Final = Terms(interval=0.04, window=1.0, depth=25)
SECRET: Final = "a-secret-of-a-webhook-profile-40-bytes-0"
EVENT: Final = b'{"id":"19","action":"JOB_END","time":"2026-11-28T10:00:00.000Z","job_instance":{"id":"1"}}'


@attrs.frozen
class Target:
    """Something that reads: how it is fed, with mutations of what."""

    feed: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    count: int = 300  # in make test


@contextmanager
def file_of(content: bytes, name: str = "rows") -> Iterator[Path]:
    """A file in a directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def text(content: bytes) -> None:
    with file_of(content) as path:
        for name in ("auto", *FORMATS):
            with suppress(AlmaError):
                source = read_rows(path, format=name, ignore_unknown=len(content) % 2 == 0)
                for row in source:
                    assert all(str(one).isprintable() for one in getattr(row, "problems", ()))
                assert all(warning.isprintable() for warning in source.warnings)


def workbook(content: bytes) -> None:
    with file_of(content) as path, suppress(AlmaError):
        for entry in xlsx.entries(path):
            for row in xlsx.rows(path, entry):
                assert row.number


def any_workbook(content: bytes) -> None:
    """Through the child process, whatever the kind."""
    with file_of(content) as path, suppress(AlmaError):
        list(read_rows(path))


def mms_map(content: bytes) -> None:
    with file_of(content) as path, suppress(AlmaError):
        MmsMap.read(path)


@cache
def sound_journal() -> tuple[bytes, bytes]:
    """A journal of some rows and its lock, as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.load"
        with JournalFile(path) as journal:
            changed = (Difference("url", "https://a.example", "https://b.example"),)
            journal.ingest(
                map(
                    Ingested,
                    [
                        Entry(
                            n=n,
                            line=n + 1,
                            state=State.PENDING,
                            mms_id=f"99{n}",
                            natural_key=bytes([n]) * 16,
                            differences=changed,
                        )
                        for n in range(1, 30)
                    ],
                )
            )
            journal.note({"action": "upsert", "sha256": "0" * 64})
        return path.read_bytes(), path.with_name("x.load.lock").read_bytes()


def journal(content: bytes) -> None:
    with file_of(content, "x.load") as path:
        path.with_name("x.load.lock").write_bytes(sound_journal()[1])
        with suppress(AlmaError), JournalFile(path) as opened:
            opened.check()
            opened.meta()
            opened.entries(after=0, limit=100)
            opened.ingest(map(Ingested, [Entry(n=40, line=41, state=State.PENDING, mms_id="1")]))


def write_ahead_log(content: bytes) -> None:
    """A journal with any log of ours beside it."""
    with file_of(sound_journal()[0], "x.load") as path:
        path.with_name("x.load.lock").write_bytes(sound_journal()[1])
        path.with_name("x.load-wal").write_bytes(content)
        path.with_name("x.load-wal").chmod(0o600)
        with suppress(AlmaError), JournalFile(path) as opened:
            opened.check()


@cache
def sound_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledgers" / "a.ledger"
        asyncio.run(in_ledger(path))
        return path.read_bytes()


async def in_ledger(path: Path) -> None:
    ledger = SqliteLedger(path)
    try:
        await ledger.update(Book.copy, since=0.0)
    finally:
        ledger.close()


def ledger(content: bytes) -> None:
    with file_of(b"") as beside:
        path = beside.parent / "ledgers" / "a.ledger"
        path.parent.mkdir(mode=0o700)
        path.write_bytes(content)
        path.chmod(0o600)
        with suppress(AlmaError):
            asyncio.run(in_ledger(path))


@cache
def sound_budget() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "budgets" / "a.budget"
        MachineBudget(path, boot="b").reserve_now(TERMS, now=5.0, cost=1.0)
        return path.read_bytes()


def budget(content: bytes) -> None:
    with file_of(b"") as beside:
        path = beside.parent / "budgets" / "a.budget"
        path.parent.mkdir(mode=0o700)
        path.write_bytes(content)
        path.chmod(0o600)
        found = MachineBudget(path, boot="b")
        assert found.spent >= 0
        assert found.quota is not None
        slot = found.reserve_now(TERMS, now=5.0, cost=1.0)
        assert slot is not None


def answer(content: bytes) -> None:
    """The same bytes as any system's answer, read or written for, with any status and in a header."""
    status = (200, 204, 301, 400, 401, 403, 404, 429, 500, 503)[len(content) % 10]
    header = content[:60].decode("latin-1")
    headers = {"date": header, "retry-after": header, "x-exl-api-remaining": header, "x-request-id": header}
    response = Response(status=status, headers=headers, body=content)
    retry_after(response)
    server_time(headers)
    for dialect in (AlmaDialect(Secret("sim-key"), user_agent="x"), PolarisDialect()):
        for safety in Safety:
            request = Request(
                method="GET", path="/x", safety=safety, expects="1" if len(content) % 3 else None
            )
            outcome = dialect.judge(request, response)
            dialect.signals(response, outcome)
            if isinstance(outcome, Failed):
                assert str(error_of(request, outcome, retry_at=datetime.fromtimestamp(0, UTC)))


def body(content: bytes) -> None:
    with suppress(AlmaError):
        read_body(content)


def model(content: bytes) -> None:
    try:
        data = loads(content)
    except AlmaError:
        return
    for kind in (Portfolio, ElectronicCollection, AlmaSet, JobInstance, Job):
        with suppress(AlmaError):
            repr(structure(data, kind))
    with suppress(AlmaError):
        polaris_structure(data, LoginAnswer)


def webhook(content: bytes) -> None:
    signature = base64.b64encode(hmac.new(SECRET.encode(), content, hashlib.sha256).digest()).decode()
    for header in (signature, content[:90].decode("latin-1"), None, [signature, signature]):
        with suppress(AlmaError):
            verify_signature(content, header, SECRET)
    with suppress(AlmaError):
        Replays().take(parse_event(content), now=1_796_000_000.0)
    for query in (
        content.decode("latin-1"),
        content.decode("utf-8", "replace"),
        {"challenge": content.decode("latin-1")},
    ):
        with suppress(AlmaError):
            challenge_response(query)


def environment(content: bytes) -> None:
    """Lines of NAME=value, in whatever bytes."""
    pairs = (line.partition(b"=") for line in content.split(b"\n"))
    environ = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    with tempfile.TemporaryDirectory() as folder:
        with suppress(AlmaError):
            state_dir(environ)
        with suppress(AlmaError):
            AlmaClient(**from_environment(environ, {"budget": LocalBudget()}))
        with suppress(AlmaError):
            polaris_environment(environ, {})
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(exist_ok=True)


def address(content: bytes) -> None:
    told = content.decode("utf-8", "replace")
    with suppress(AlmaError):
        assert origin_of(told).startswith(
            ("https://", "http://localhost", "http://127.0.0.1", "http://[::1]")
        )
    with suppress(AlmaError):
        assert raw_path(told, origin="https://x.example", root="/almaws/v1/").startswith("/almaws/v1/")


@cache
def sound_workbooks() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = workbooks.xlsx(
            Path(folder) / "a.xlsx", {"A": [["mms_id", "url"], ["991", "https://x.example"], [992, 1.5]]}
        )
        return (path.read_bytes(),)


@cache
def old_workbooks() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = workbooks.xls(
            Path(folder) / "a.xls", {"A": [["mms_id", "url"], ["991", "https://x.example"], [992, 1.5]]}
        )
        return (path.read_bytes(), *sound_workbooks())


LISTS: Final = (
    b"mms_id,url,coverage_from,coverage_until,embargo,public_note\n991,https://x.example/1,2010-01,2020,P1Y,a\n992,,,,,<clear>\n",
    (
        b"publication_title\tprint_identifier\tonline_identifier\tdate_first_issue_online\ttitle_url\ttitle_id\tembargo_info\tcoverage_depth\n"
        b"Tide Letters\t2434-561X\t9780306406157\t2010\thttps://x.example\tt1\tR2Y\tfulltext\n"
    ),
    ",".join(NAMES).encode() + b"\nY,,991\n",
    b"Portfolio Id,MMS Id,Static URL\n531,991,https://x.example\n",
    "mms_id;url\n991;https://x.example\n".encode("utf-16"),
)
ANSWERS: Final = (
    b'{"errorsExist":true,"errorList":{"error":[{"errorCode":"402203","errorMessage":"x","trackingId":"E1"}]},"result":null}',
    (
        b'<web_service_result xmlns="urn:x"><errorsExist>true</errorsExist>'
        b"<errorList><error><errorCode>X</errorCode></error></errorList></web_service_result>"
    ),
    b'{"id":"1","material_type":{"value":"BOOK","desc":"Book"},"linking_details":{"url":"jkey=x"},"coverage_details":{}}',
    b'{"id":"1","name":"n","type":{"value":"ITEMIZED"},"number_of_members":{"value":3,"link":"x"},"created_date":"2026-01-01Z"}',
    b'{"id":"1","status":{"value":"RUNNING"},"start_time":"2026-01-01T00:00:00.000Z","counter":[{"type":{"value":"c"},"value":"3"}]}',
    b'{"Message":"no","ErrorCode":5,"ModelState":{"a":["b"]}}',
    b'{"AccessToken":"t","AccessSecret":"s","AuthExpDate":"2026-01-01T00:00:00+01:00","SiteDomain":"x"}',
    b"<html><body>502</body></html>",
)
ENVIRONMENT: Final = (
    (
        b"ALMA_API_KEY=sim-key\nALMA_REGION=eu\nALMA_PER_SECOND=5\nALMA_DAILY_RESERVE=10%\nALMA_IN_FLIGHT=5\nALMA_MARGIN=0.1\nALMA_PACING=even\n"
        b"ALMA_JOBS_RUNNING=2\nALMA_JOB_STARTS=3\nALMA_INSTITUTION=x\nALMA_LANGUAGE=en\nALMA_STATE_DIR=/x\nXDG_STATE_HOME=/y"
    ),
    b"ALMA_API_KEY_FILE=/dev/null\nALMA_BASE_URL=http://localhost:8080\nALMA_STATE_DIR=~nobody/x",
    (
        b"POLARIS_BASE_URL=https://p.example\nPOLARIS_ORGANIZATION_ID=3\nPOLARIS_WORKSTATION_ID=1\nPOLARIS_DOMAIN=D\nPOLARIS_USER=u\n"
        b"POLARIS_PASSWORD=p\nPOLARIS_PER_SECOND=5\nPOLARIS_IN_FLIGHT=2\nPOLARIS_LANGUAGE=eng\nPOLARIS_PRODUCT_ID=20"
    ),
)

TARGETS: Final[dict[str, Callable[[], Target]]] = {
    "text": lambda: Target(text, LISTS, 150),
    "workbook": lambda: Target(workbook, sound_workbooks()),
    "any_workbook": lambda: Target(any_workbook, old_workbooks(), 6),
    "mms_map": lambda: Target(mms_map, (b"issn,mms_id\n2434-561X,991\n", b"2434-561X\t991\n")),
    "journal": lambda: Target(journal, (sound_journal()[0],), 60),
    "write_ahead_log": lambda: Target(
        write_ahead_log, (b"", sound_journal()[0][:9000], b"\x37\x7f\x06\x82" + bytes(60)), 40
    ),
    "ledger": lambda: Target(ledger, (sound_ledger(),), 40),
    "budget": lambda: Target(budget, (sound_budget(), b"")),
    "answer": lambda: Target(answer, ANSWERS),
    "body": lambda: Target(body, ANSWERS, 500),
    "model": lambda: Target(model, ANSWERS),
    "webhook": lambda: Target(webhook, (EVENT, b"challenge=ab-1", b"https://x.example/?challenge=ab-1")),
    "environment": lambda: Target(environment, ENVIRONMENT),
    "address": lambda: Target(
        address, (b"https://api.example.org:443", b"http://[::1]:80", b"/almaws/v1/conf/test"), 2000
    ),
}
