"""What the repository promises of itself: hosted CI, pins, SECURITY.md, no secret in it, and no test that leaves this machine."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))

# A key of Ex Libris' developer network, and what other secrets look like.
SECRETS = re.compile(
    rb"\bl[78]xx[0-9a-f]{32}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    rb"|\bpypi-[A-Za-z0-9_-]{60,}|\bxox[bp]-[0-9A-Za-z-]{20,}"
)


def breaches(text: str) -> list[str]:
    """What a workflow does that it must not."""
    found = [
        f"not pinned by commit: {used}"
        for used in re.findall(r"uses:\s*(\S+)", text)
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used)
    ]
    if not re.search(r"^permissions: \{\}$", text, re.MULTILINE):
        found.append("permissions by default")
    if "pull_request_target" in text:
        found.append("runs foreign code with rights of its own")
    if text.count("actions/checkout@") > text.count("persist-credentials: false"):
        found.append("leaves a token behind")
    if re.search(r"\$\{\{[^}]*github\.(event|head_ref)", text):
        found.append("puts what strangers write into a command")
    if re.search(r"pip install(?!.*(--require-hashes|--no-deps))", text):
        found.append("installs without hashes")
    return found


def test_there_are_workflows_for_three_systems():
    """Tests run on Linux, macOS and Windows."""
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    assert all(system in text for system in ("ubuntu-", "macos-", "windows-"))
    assert "pytest" in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_keep_the_rules(path):
    """Actions by full commit hash, no rights by default, no code of strangers, tools with hashes."""
    assert breaches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (r"@[0-9a-f]{40} # v5.0.0", "@v5", "not pinned"),
        (r"@[0-9a-f]{40} # v5.0.0", "@08c6903", "not pinned"),
        (r"permissions: \{\}", "permissions: write-all", "permissions"),
        (r"pull_request:", "pull_request_target:", "foreign code"),
        (r"persist-credentials: false", "persist-credentials: true", "token"),
        (r"(- uses: actions/checkout@.*\n)", r"\1\1", "token"),
        (r"- run: mypy", "- run: echo ${{ github.event.pull_request.title }}", "strangers"),
        (r"--require-hashes ", "", "without hashes"),
    ],
)
def test_a_planted_breach_is_found(old, new, told):
    """Each rule notices when it is broken."""
    text = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    changed = re.sub(old, new, text, count=1)
    assert changed != text
    assert any(told in found for found in breaches(changed))


@pytest.mark.parametrize("name", ["constraints.txt", "audit.txt"])
def test_what_ci_installs_is_pinned(name):
    """Every tool of CI by version and hash, from no index of anybody's."""
    text = (ROOT / ".ci" / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|--(index|extra|find)", text)
    for pin in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^ ]+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_known_faults_workflows_and_commits_are_searched():
    """Each change and each week: pip-audit of the pins, zizmor of the workflows, gitleaks of the commits."""
    text = (ROOT / ".github" / "workflows" / "security.yml").read_text(encoding="utf-8")
    assert "schedule:" in text
    assert "pull_request:" in text
    assert re.search(r"run: pip-audit .*--require-hashes -r \.ci/constraints\.txt", text)
    assert re.search(r"run: zizmor .*\.github/workflows", text)
    assert re.search(r"uses: gitleaks/gitleaks-action@[0-9a-f]{40}", text)
    assert "continue-on-error" not in text


def test_security_md():
    """How to report, what is promised and what not, which versions, and how long a fault is kept in private."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for wanted in (
        "Report it in private",
        "## Supported versions",
        "90 days",
        "## What is promised",
        "## What is not promised",
    ):
        assert wanted in text


def secrets_in(content: bytes) -> list[bytes]:
    return SECRETS.findall(content)


def test_no_secret_is_in_the_repository():
    """No file holds what looks like a key; a planted one is found."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    assert len(names) > 300
    assert [name for name in names if (path := ROOT / name).is_file() and secrets_in(path.read_bytes())] == []
    assert secrets_in(b"apikey l8xx" + b"0123456789abcdef" * 2)
    assert secrets_in(b"-----BEGIN RSA PRIVATE " + b"KEY-----")


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_no_test_leaves_this_machine(host):
    """A connection to anywhere else is refused before it is tried, and no name is asked for."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one, pytest.raises(PermissionError, match="ALMA_LIVE"):
        one.connect((host, 443))
    with socket.socket(family, socket.SOCK_DGRAM) as one, pytest.raises(PermissionError, match="ALMA_LIVE"):
        one.sendto(b"x", (host, 53))
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("api-eu.hosted.exlibrisgroup.com", 443)


def test_this_machine_can_be_reached():
    """Loopback goes on working."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert socket.getaddrinfo("localhost", 80)
