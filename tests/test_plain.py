"""What a server, a file or an environment says forges no line of a log and steers no terminal."""

from __future__ import annotations

import ast
import inspect
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from alma_async import errors
from alma_async._text import logger, plain
from alma_async.errors import AlmaError, Problem
from tests.hostile import answer, hostile

PACKAGE = Path(__file__).resolve().parents[1] / "alma_async"
NASTY = (
    "a\n2026-01-01 ERROR forged", "\r\nx", "\x1b]52;c;aGk=\x07", "\x1b[2J", "\x9b31m", "a\u202eb", "\u2066x\u2069", "\u2028x",
    "\x85x", "\x00", "\x7f", "\ud800", "\udc1b[0m", "\U000e0041", "\ufeff", "x" * 100_000 + "\n",
)  # fmt: skip
SENT = [text for text in NASTY if "\ud800" not in text and "\udc1b" not in text]  # what UTF-8 can hold
KINDS = [
    kind for name in errors.__all__ if inspect.isclass(kind := getattr(errors, name)) and kind is not Problem
]


def made(kind, text):
    """An error in which each text from outside is this one."""
    until = {"retry_at": datetime(2026, 1, 1, tzinfo=UTC)} if issubclass(kind, errors.RetryLater) else {}
    facts = {"method": text, "path": text, "request_id": text, "advice": text}
    return kind(text, errors=(Problem(text, text, text),), status=400, **facts, **until)


@pytest.mark.parametrize("text", NASTY, ids=ascii)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_plain_line(kind, text):
    """str, message, args and notes of every error; what was sent is still there as it was sent."""
    error = made(kind, text)
    error.add_note(text)
    assert f"{error}{error.message}{''.join(map(str, error.args))}{''.join(error.__notes__)}".isprintable()
    told = traceback.format_exception_only(error)
    assert len(told) == 2
    assert all(line.removesuffix("\n").isprintable() for line in told)
    assert error.code == text
    str(error).encode()


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_a_logged_text_is_one_plain_line(text, caplog):
    """Whatever is logged, as a text or as the text of an error or object, is one line and at most 500 characters a text."""
    log = logger("alma_async.test")
    log.warning("told %s, %r, %s, %d", text, text, OSError(2, text), 5)
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 3 * 510 + 20
    assert record.getMessage().endswith(", 5")


def test_every_logger_is_a_plain_one():
    """No module but ``plain`` makes a logger of its own (``telemetry.log`` only sets where the lines go)."""
    makers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("getLogger", "LoggerAdapter", "warn")
    }
    assert makers - {"sim/server.py"} == {"_text.py", "events.py"}


@pytest.mark.parametrize("text", SENT, ids=ascii)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
async def test_what_a_server_writes_stays_in_its_line(status, text, caplog):
    """Error texts, codes, tracking ids, and members that cannot be read: no error or log line of ours is steered."""
    problem = {"errorCode": text, "errorMessage": text, "trackingId": text}
    body = {"errorsExist": True, "errorList": {"error": [problem]}}
    if status == 200:
        body = {"id": "1", "public_name": [text], "type": {"value": {text: text}}, "is_local": text}
    with caplog.at_level(logging.DEBUG, "alma_async"):
        async with hostile(lambda _: answer(orjson.dumps(body), status)) as (_, alma):
            try:
                await alma.with_options(timeout=20.0).electronic.collections.get("1")
            except AlmaError as error:
                assert str(error).isprintable()
    said = [record for record in caplog.records if record.name.startswith("alma_async")]
    assert all(record.getMessage().isprintable() for record in said)


def test_plain_keeps_what_people_read():
    """Letters of all scripts stay as they are, and what is cut says so."""
    assert plain("Tạp chí 灯台 دراسات") == "Tạp chí 灯台 دراسات"
    assert plain("abcdef", 4) == "abc…"
    assert plain("\n" * 9, 8) == "\\u000a\\…"
