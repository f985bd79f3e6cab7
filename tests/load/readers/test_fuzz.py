"""Files made of all that ever went wrong in one: nothing but rows, rejections and our errors comes out, and no line is lost."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alma_async.load.readers import FORMATS, RowSource
from alma_async.load.readers.alma_loader import NAMES
from alma_async.load.readers.native import COLUMNS
from alma_async.load.row import BadRow, InputError, Row

Opened = Callable[..., RowSource]

KBART = (
    "publication_title", "print_identifier", "online_identifier", "title_id", "title_url", "date_first_issue_online",
    "date_last_issue_online", "num_first_vol_online", "embargo_info", "coverage_depth", "publication_type", "notes", "mms_id",
)  # fmt: skip
HEADERS = {
    "kbart": KBART,
    "csv": tuple(sorted(COLUMNS)),
    "alma-loader": NAMES,
    "analytics": ("Portfolio Id", "Collection Id", "Service Id", "MMS Id", "Static URL", "Public Note"),
}

cells = st.sampled_from(
    [
        "", "", " ", "991234567890", "2434-561X", "2434-5610", "9780306406157", "n/a", "Tide Letters", "Łąki", "Y", "N",
        "https://x.org/a", "2010", "2010-13", "2010-02-30", "P1Y", "R2Y;P6M", "9.9E+17", "<clear>", "true", ">", "Only global",
        '"', '""', 'a "b" c', '"open', 'closed"', "a\0b", "\ufeff", "\ufffd", "\u2028", "\x0b", "\x85", "=1+1", "x" * 140_000,
    ]
)  # fmt: skip
rows = st.lists(cells, max_size=18)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])
ends = st.sampled_from(["\n", "\r\n", "\r"])
endings = st.sampled_from([b"", b"\xff\xfe", b"\x81", b"\xc5", b'"'])


@pytest.mark.parametrize("name", HEADERS)
@given(table=st.lists(rows, max_size=8), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)
def test_any_file(opened: Opened, name: str, table: list[list[str]], data: st.DataObject) -> None:
    """A file with a header and anything below gives rows of its lines, each line once, or an error that says what is wrong."""
    delimiter = "\t" if name == "kbart" else data.draw(st.sampled_from([",", ";", "\t"]))
    end, encoding = data.draw(ends), data.draw(encodings)
    text = end.join(delimiter.join(row) for row in [HEADERS[name], *table])
    content = text.encode(encoding, errors="replace") + data.draw(endings)
    try:
        source = opened(content)
        found = list(source)
    except InputError:
        return
    assert source.format == name
    lines = [line for row in found for line in row.lines]
    assert len(set(lines)) == len(lines)
    assert set(lines) <= set(range(2, 2 + len(io.StringIO(text, newline="").readlines()) + 1))
    for row in found:
        told = [*map(str, row.problems)] if isinstance(row, BadRow) else list(row.warnings)
        assert all(text.isprintable() for text in told)
        assert not isinstance(row, Row) or row.mms_id or row.portfolio_id or row.identifiers


@given(table=st.lists(rows, max_size=8), end=ends)
@example(table=[['"'], ['"']], end="\n")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)
def test_no_line_is_lost(opened: Opened, table: list[list[str]], end: str) -> None:
    """Every line of a KBART list is in one title, rejected, or counted as blank."""
    source = opened(end.join("\t".join(row) for row in [KBART, *table]))
    lines = [line for row in source for line in row.lines]
    skipped = [int(text.rpartition(" ")[2]) for text in source.warnings if text.startswith("blank rows")]
    written = "".join("\t".join(row) + end for row in table).removesuffix(end)
    assert len(lines) + sum(skipped) == len(io.StringIO(written, newline="").readlines())


@given(content=st.binary(max_size=200), name=st.sampled_from(["auto", *FORMATS]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
def test_any_bytes(opened: Opened, content: bytes, name: str) -> None:
    """Bytes that are no title list at all are rejected as a whole."""
    with pytest.raises(InputError):
        list(opened(content, format=name))
