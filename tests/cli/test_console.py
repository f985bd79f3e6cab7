"""Nothing that is printed or logged can steer a terminal, and JSON still reads back as it was."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alma_async._text import plain
from alma_async.cli.console import json_line, log_at, open_streams, say, show
from alma_async.errors import ConfigurationError

HOSTILE = (
    "\x1b]0;evil\x07", "\x1b[2J", "\x9b31m", "a\u202eb", "\u2066x\u2069", "\r\nforged", "\x00", "\x7f", "\U000e0041",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_no_hostile_character_passes(text: str) -> None:
    """Control, escape, bidirectional and tag characters are spelled out."""
    assert plain(text).isprintable()


@pytest.mark.parametrize(
    "text", ["", "Tạp chí Nghiên cứu", "灯台研究紀要", "دراسات", "[bold]no markup[/]", "a b"]
)
def test_titles_of_all_scripts_stay(text: str) -> None:
    """What people read is printed as it is."""
    assert plain(text) == text


@given(st.text())
def test_spelled_out_is_how_json_spells(text: str) -> None:
    """Any text inside a JSON string reads back exactly after it was made plain."""
    line = plain(json.dumps(text, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == text


def test_where_lines_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Results go to stdout, what is said beside them to stderr, each as one line."""
    show("result\nx")
    say("said\x1b[1m")
    json_line({"title": "a\u202eb"})
    assert capsys.readouterr() == ('result\\u000ax\n{"title":"a\\u202eb"}\n', "said\\u001b[1m\n")


def test_the_log_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    """A line break in a logged text makes no second line, and logging twice does not double."""
    log_at("info")
    log_at("info")
    logging.getLogger("alma_async").info("told: %s", "x\n2026-01-01 ERROR forged \x1b[31m")
    logging.getLogger("alma_async").debug("not told")
    err = capsys.readouterr().err
    assert (err.count("\n"), "\x1b" in err) == (1, False)


def test_an_unknown_level_is_refused() -> None:
    """The message names the levels there are."""
    with pytest.raises(ConfigurationError, match="debug info warning"):
        log_at("verbose")


@pytest.mark.parametrize(
    ("said", "written"), [(None, "Ω → ─".encode()), ("cp1252", b"\\u03a9 \\u2192 \\u2500")]
)
def test_what_goes_into_a_file_is_utf_8(
    said: str | None, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system's own encoding is another, as on Windows; under one that was asked for, what it lacks is escaped."""
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if said:
        monkeypatch.setenv("PYTHONIOENCODING", said)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    open_streams()
    show("Ω → ─")
    sys.stdout.flush()
    assert raw.getvalue().strip() == written
