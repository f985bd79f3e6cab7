"""Analytics reports: their rows, page after page, as mappings of column heading to text.

Decides how a report is read to its end. Documented: the first call names the report's path, each further one the token of the
first answer, and each answer is the next page, of 1,000 rows at most. So the token is a place in the report that moves with each
call, and a page whose answer was lost cannot be asked for again: such a call is repeated only where it was not processed, and
``download``, which has given nothing to anybody yet, begins the report anew. Recorded: the first answers may have no rows while
the report is made; columns are named in the first answer alone; empty cells are left out; ``Column0`` is no column of the report.
"""

from __future__ import annotations

import csv
import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Self

import attrs

from alma_async._http.json_text import LARGEST
from alma_async._http.messages import Request, Safety
from alma_async._secret import discreet
from alma_async._text import quoted
from alma_async.alma import routes
from alma_async.alma.resource import Resource
from alma_async.alma.xml import walk
from alma_async.errors import BadAnswer, DeadlineExceeded, InvalidRequest, ServerFault
from alma_async.settings import NOT_NEGATIVE, TEXT, Check

__all__ = ["Analytics", "ReportReader"]

PAGE: Final = 1000  # documented: rows of an answer, in bulks of 25
_ANEW: Final = 3  # chosen: how often a download is begun
# chosen: seconds until a report that is being made is asked for again
_PAUSES: Final = (
    1.0,
    2.0,
    4.0,
    8.0,
    15.0,
)
_LOST: Final = (ServerFault, BadAnswer)  # a page may have been made whose answer did not come
_PATH: Final = Check(
    "the path of a report, such as /shared/...", lambda value: TEXT.allows(value) and "/" in value
)


@discreet
class Analytics(Resource):
    """``alma.analytics``: reports are read. The key needs the right *Analytics*."""

    def report(self, path: str, *, filter: str | None = None, timeout: float = 600.0) -> ReportReader:  # noqa: A002
        """The rows of a report, as mappings of column heading to text; empty cells are "".

        ::

            rows = alma.analytics.report("/shared/Our Library/Reports/Portfolios")
            async for row in rows:
                row["Portfolio Id"]

        Where an answer is lost, its page cannot be asked for again, and reading ends with the error: begin anew, or use
        ``download``.

        :param path: the report's path in the Analytics catalogue
        :param filter: a filter in XML, as Analytics exports it, for a column that is *is prompted*
        :param timeout: seconds that Alma may take to make the report
        :raises AlmaError: while it is read.
        """
        _PATH.require("path", path, InvalidRequest)
        TEXT.or_none().require("filter", filter, InvalidRequest)
        NOT_NEGATIVE.require("timeout", timeout, InvalidRequest)
        return ReportReader(self, path, filter, timeout)

    async def download(
        self,
        path: str,
        to: str | os.PathLike[str],
        *,
        filter: str | None = None,  # noqa: A002 - Alma's name of it
        timeout: float = 600.0,
    ) -> int:
        """Write a report to a CSV file (UTF-8, a line of headings), whole or not at all; ``load.read_rows`` reads it.

        Where an answer is lost on the way, the report is begun anew, three times at most.

        :param to: the file; one that is there is replaced
        :returns: how many rows it has
        :raises AlmaError: where the report cannot be read.
        :raises OSError: where the file cannot be written.
        """
        target, aside = Path(to), self._session.clock.aside
        beside = target.with_name(f".{target.name}.{token_hex(4)}")
        for begun in count(1):
            report = self.report(path, filter=filter, timeout=timeout)
            try:
                rows = await self._write_down(report, beside)
                await aside(partial(beside.replace, target))
            except _LOST:
                if begun == _ANEW:
                    raise
            else:
                return rows
            finally:
                await aside(partial(beside.unlink, missing_ok=True))
        raise AssertionError("unreachable")

    async def _write_down(self, report: ReportReader, path: Path) -> int:
        aside, rows, begun = self._session.clock.aside, 0, False
        files = []  # filled before a cancellation goes on
        try:
            await aside(lambda: files.append(path.open("x", encoding="utf-8-sig", newline="")))
            lines = csv.writer(files[0])
            while page := await report.page():
                if not begun:
                    begun = True
                    lines.writerow(report.columns)
                await aside(partial(lines.writerows, page))
                rows += len(page)
            if not begun:
                lines.writerow(report.columns)
        finally:
            for file in files:
                await aside(file.close)
        return rows

    async def _page(self, query: Sequence[tuple[str, str | None]], *, moves: bool) -> _Page:
        """One answer. ``moves``: it is sent only once, since a second answer is the page after.

        :raises BadAnswer: where it is no page, or the first one with no way to the next.
        """
        request = routes.ANALYTICS.bind(query=query)
        if moves:
            request = attrs.evolve(request, safety=Safety.ONCE)
        page = _page_of(request, (await self._call(request)).data)
        if not moves and page.rows and not page.finished and page.token is None:
            raise BadAnswer(
                "The report has more rows than this page, and the answer has no token to ask for them.",
                method=request.method,
                path=request.path,
            )
        return page


class ReportReader:
    """The rows of a report, for one task, once. ``columns`` are its headings, known with the first row."""

    def __init__(self, analytics: Analytics, path: str, filter: str | None, timeout: float) -> None:  # noqa: A002
        self.columns: tuple[str, ...] = ()
        self._analytics, self._timeout = analytics, timeout
        self._query = [("path", path), ("filter", filter), ("limit", str(PAGE)), ("col_names", "true")]
        self._token: str | None = None
        self._finished = False
        self._rows: deque[list[str]] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, str]:
        if not self._rows:
            self._rows.extend(await self.page())
        if not self._rows:
            raise StopAsyncIteration
        return dict(zip(self.columns, self._rows.popleft(), strict=True))

    async def page(self) -> list[list[str]]:
        """The rows of the next page that has some, in the order of ``columns``; none at the end."""
        clock = self._analytics._session.clock
        until = clock.now() + self._timeout
        for pauses in count():
            if self._finished:
                return []
            if rows := await self._next():
                return rows
            if not self._finished:
                pause = _PAUSES[min(pauses, len(_PAUSES) - 1)]
                if clock.now() + pause > until:
                    raise DeadlineExceeded(f"The report had no rows yet after {self._timeout:g} seconds.")
                await self._analytics._session.governor.sleep(pause)
        raise AssertionError("unreachable")

    async def _next(self) -> list[list[str]]:
        if self._token is None:
            page = await self._analytics._page(self._query, moves=False)
            self._named = [(name, heading) for name, heading in page.columns if heading not in ("", "0")]
            self.columns = _distinct(heading for _, heading in self._named)
            self._token = page.token
        else:
            page = await self._analytics._page([("token", self._token)], moves=True)
        self._finished = page.finished
        return [[row.get(name, "") for name, _ in self._named] for row in page.rows]


def _distinct(headings: Any) -> tuple[str, ...]:
    """The headings, each once: a repeated one gets its number."""
    seen = dict[str, int]()
    named = []
    for heading in headings:
        seen[heading] = seen.get(heading, 0) + 1
        named.append(heading if seen[heading] == 1 else f"{heading} ({seen[heading]})")
    return tuple(named)


@attrs.define
class _Page:
    """What one answer says."""

    token: str | None = None
    finished: bool = False
    columns: list[tuple[str, str]] = attrs.field(factory=list)
    rows: list[dict[str, str]] = attrs.field(factory=list)
    _row: dict[str, str] | None = None
    _text: list[str] = attrs.field(factory=list)
    _says_end: bool = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._text = []
        if name == "element":
            heading = next((v for k, v in attributes.items() if k.rpartition(":")[2] == "columnHeading"), "")
            self.columns.append((attributes.get("name", ""), heading.strip()))
        elif name == "Row":
            self._row = {}

    def end(self, name: str) -> None:
        text = "".join(self._text)
        if name == "Row" and self._row is not None:
            self.rows.append(self._row)
            self._row = None
        elif self._row is not None:
            self._row[name] = text
        elif name == "ResumptionToken":
            self.token = text.strip() or None
        elif name == "IsFinished":
            self.finished, self._says_end = text.strip().lower() == "true", True

    def characters(self, text: str) -> None:
        self._text.append(text)


def _page_of(request: Request, data: Any) -> _Page:
    """An answer: XML, as a text of its own or inside JSON.

    :raises BadAnswer: where it is not the page of a report.
    """
    found = data.get("anies") if isinstance(data, dict) else data
    document = found[0] if isinstance(found, list) and len(found) == 1 else found
    page = _Page()
    if isinstance(document, str):
        walk(document, page, what="The page of a report", most=LARGEST)
        if page._says_end and (page.rows or page.columns or page.finished or page.token is None):
            return page
    raise BadAnswer(
        f"This is not the page of a report: {quoted(data)}", method=request.method, path=request.path
    )
