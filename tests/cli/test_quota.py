"""What remains, from one cheap call."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.cli.conftest import Served, Shell


def test_one_call_tells_the_remaining(shell: Shell, served: Served) -> None:
    """The answer's header is read, and the snapshot is told in words."""
    with served(quota=5000) as world:
        ran = shell("quota")
        assert dict(world.tally.routes) == {"GET /almaws/v1/conf/test": 1}
    assert ran.code == 0
    assert "remaining today   4,999" in ran.out


def test_json_is_one_object(shell: Shell, served: Served) -> None:
    """--json holds every field, priorities by name and moments as text."""
    with served(quota=5000):
        snapshot = json.loads(shell("quota", "--json", "--reserve", "100").out)
    assert snapshot["remaining"] == 4999
    assert set(snapshot["floors"]) == {"interactive", "normal", "bulk"}
    assert snapshot["resets_at"].endswith("+00:00")


def test_nothing_left_is_3_and_still_told(shell: Shell, served: Served) -> None:
    """Where the day's calls are spent the command says until when, shows what it knows and ends with 3."""
    with served(quota=0):
        ran = shell("quota", "--json")
    assert ran.code == 3
    assert "midnight UTC" in ran.err
    assert json.loads(ran.out)["why"] == "the day's calls are spent"


def test_seconds_go_with_watch(shell: Shell, served: Served) -> None:
    """A number alone is wrong use, and so is one that is no interval; nothing is sent."""
    with served() as world:
        for tokens in (("5",), ("--watch", "0"), ("--watch", "--ask", "-1")):
            assert shell("quota", *tokens).code == 2
        assert not world.tally.received


@pytest.mark.slow
def test_a_watch_sees_what_others_learn_without_a_call(shell: Shell, served: Served) -> None:
    """One call at the start, a JSON object for each look; what another process of this machine spends shows without a call."""
    with served(quota=5000) as world:
        process = shell.start("quota", "--watch", "0.1", "--json")
        assert process.stdout is not None
        looks = (json.loads(text) for text in process.stdout)
        first = next(
            look for look in looks if look["remaining"] is not None
        )  # it looks before the answer, too
        assert shell("quota").code == 0
        later = next(look for look in looks if look["remaining"] != first["remaining"])
        process.send_signal(signal.SIGINT)
        ran = shell.wait(process)
        assert len(world.tally.received) == 2
    assert (first["remaining"], later["remaining"]) == (4999, 4998)
    assert later["at"] > first["at"]
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.slow
def test_a_watch_goes_on_through_trouble(shell: Shell, served: Served) -> None:
    """Where the day's calls are spent the watch says so and keeps looking; ``| head`` ends it without a word."""
    reading, writing = os.pipe()
    with served(quota=0):
        process = shell.start("quota", "--watch", "0.1", "--ask", "0.1", stdout=writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as looks:
            spent = [
                look
                for look, _ in zip((look for look in looks if "are spent" in look), range(3), strict=False)
            ]
        ran = shell.wait(process)
    assert len(spent) == 3
    assert (ran.code, "midnight UTC" in ran.err, "Traceback" in ran.err) == (141, True, False)


@pytest.mark.slow
def test_on_a_terminal_it_is_a_picture(shell: Shell, served: Served) -> None:
    """On a terminal each look takes the place of the one before, and the cursor is given back."""
    ours, theirs = pty.openpty()
    drawn = b""
    with served(quota=5000):
        process = shell.start(
            "quota", "--watch", "0.1", stdout=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        )
        os.close(theirs)
        while drawn.count(b"4,999") < 3:
            drawn += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        try:
            while part := os.read(ours, 65536):
                drawn += part
        except OSError:  # how Linux says that the other side of a terminal is gone
            pass
        ran = shell.wait(process)
    os.close(ours)
    assert (ran.code, ran.err) == (0, "")
    assert b"stops at" in drawn
    assert b"\x1b[2K" in drawn
    assert b"\x1b[?25h" in drawn


class Holding(BaseHTTPRequestHandler):
    """Refuses every call for an hour."""

    def do_GET(self) -> None:
        body = b'{"errorsExist":true,"errorList":{"error":[{"errorCode":"PER_SECOND_THRESHOLD","errorMessage":"m"}]}}'
        self.send_response(429)
        for name, value in (("Retry-After", "3600"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not on stderr."""


def test_the_shell_says_what_it_waits_for(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where calls are held for long, a command says once on stderr until when; so does the next, to which another's hold came."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Holding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ALMA_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        for _ in range(2):
            process = shell.start("sets", "list")
            said = ""
            while "held until" not in said:
                said = process.stderr.readline() if process.stderr else ""
                assert said, "it ended without a word"
            process.send_signal(signal.SIGTERM)
            ran = shell.wait(process)
            assert (ran.code, ran.out, "held until" in ran.err) == (143, "", False)
        server.shutdown()


@pytest.mark.parametrize("command", [("quota", "--json"), ("doctor", "--json")])
def test_who_looks_does_not_wait_out_a_hold(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Held for an hour, be it by this call or by another's before: until when and why is told, and the command ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Holding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ALMA_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        for _ in range(2):
            ran = shell.wait(shell.start(*command))
            told = ran.err if command[0] == "quota" else ran.out
            assert ran.code == (3 if command[0] == "quota" else 1)
            assert re.search(r"All calls are held until \d\d:\d\d:\d\d UTC: calls were rejected", told)
            assert all(json.loads(line) for line in ran.out.splitlines())
        server.shutdown()
