"""The reference in ``docs/reference`` is what ``make reference`` writes, and readable."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))


def test_it_is_current():
    """Each page is as the docstrings and signatures are now."""
    done = subprocess.run(
        [sys.executable, "docs/generate_reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_each_public_module_has_a_page():
    """The pages are those of the public modules, each of which has names with text."""
    assert {page.stem.removeprefix("alma_async").removeprefix(".") for page in PAGES} == {
        "", "events", "load", "otel", "polaris", "sim", "webhooks", "workers",
    }  # fmt: skip
    for page in PAGES:
        names = 2 if page.stem == "alma_async.otel" else 6
        assert len(re.findall("^## ", page.read_text(encoding="utf-8"), re.MULTILINE)) >= names


def test_no_private_name_has_an_entry():
    """No heading and no field is private, but for Python's own."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"^#+ (?:\w+\.)?_.*$", text, re.MULTILINE) == [], page.name
        assert re.findall(r"^    _\w+:.*$", text, re.MULTILINE) == [], page.name
