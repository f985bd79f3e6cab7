"""Analytics reports of the simulated institution, in pages that a token moves through.

Decides how a report is answered. Documented: `path` begins a report, and `limit` is 25 to 1,000; the first answer alone names a
`ResumptionToken`, which is sent again and again, and each answer is the next page until `IsFinished` is true; so a page whose
answer is lost never comes again. Rows come in bulks of 25. Recorded: the result is XML, as one text in `anies` where JSON is
asked for; cells are `Column0`, `Column1`, ..., named by `columnHeading` in the schema of the first answer alone; `Column0` is a
constant that no report asks for; a cell that is empty is left out; the first answers may hold no row while the report is made.
Inferred: what is answered for a path that is none, and for a token after its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from xml.sax.saxutils import escape, quoteattr

import attrs

from alma_async.sim.codes import Rejection
from alma_async.sim.fields import Json

_BULK = 25
_MOST = 1000


@attrs.frozen(kw_only=True)
class Report:
    """What a report holds. ``unready``: answers without a row before the first that has some."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    unready: int = 0


@attrs.define
class _Cursor:
    """One reading of a report."""

    rows: Iterator[Sequence[str | None]]
    left: int
    unready: int
    limit: int


@attrs.define
class Analytics:
    """All reports by their path in the catalogue."""

    reports: dict[str, Report] = attrs.field(factory=dict)
    _cursors: dict[str, _Cursor] = attrs.field(factory=dict)

    def add(
        self, path: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]], *, unready: int = 0
    ) -> None:
        """Put a report in."""
        self.reports[path] = Report(columns=columns, rows=rows, unready=unready)

    def answer(self, query: Mapping[str, str]) -> Json:
        """The answer to `GET /analytics/reports`."""
        if token := query.get("token"):
            cursor, schema, named = self._cursors.get(token), "", ""
            if cursor is None:
                raise Rejection("INVALID_REQUEST")
        else:
            report = self.reports.get(query.get("path", ""))
            limit = query.get("limit", str(_BULK))
            if report is None or not limit.isdigit() or not _BULK <= int(limit) <= _MOST:
                raise Rejection("INVALID_REQUEST")
            token = f"{len(self._cursors) + 1:064X}"
            cursor = _Cursor(
                rows=iter(report.rows),
                left=len(report.rows),
                unready=report.unready,
                limit=-(-int(limit) // _BULK) * _BULK,
            )
            self._cursors[token] = cursor
            schema, named = _schema(report.columns), f"<ResumptionToken>{token}</ResumptionToken>"
        rows = self._page(cursor)
        finished = not cursor.left and not cursor.unready
        if finished:
            del self._cursors[token]
        result = (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><QueryResult xmlns="">'
            f"{'' if finished else named}<IsFinished>{str(finished).lower()}</IsFinished><ResultXml>"
            f'<rowset xmlns="urn:schemas-microsoft-com:xml-analysis:rowset">{schema}{rows}</rowset></ResultXml></QueryResult>'
        )
        return {"anies": [result]}

    @staticmethod
    def _page(cursor: _Cursor) -> str:
        if cursor.unready:
            cursor.unready -= 1
            return ""
        page = list(islice(cursor.rows, cursor.limit))
        cursor.left -= len(page)
        return "".join(map(_row, page))


def _row(cells: Sequence[str | None]) -> str:
    named = "".join(
        f"<Column{n}>{escape(text)}</Column{n}>" for n, text in enumerate(cells, 1) if text is not None
    )
    return f"<Row><Column0>0</Column0>{named}</Row>"


def _schema(columns: Sequence[str]) -> str:
    elements = "".join(
        f'<xsd:element name="Column{n}" type="xsd:string" minOccurs="0" maxOccurs="1" saw-sql:type="varchar" '
        f"saw-sql:columnHeading={quoteattr(name)} />"
        for n, name in enumerate(["0", *columns])
    )
    return (
        '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:saw-sql="urn:saw-sql" '
        'targetNamespace="urn:schemas-microsoft-com:xml-analysis:rowset">'
        f'<xsd:complexType name="Row"><xsd:sequence>{elements}</xsd:sequence></xsd:complexType></xsd:schema>'
    )
