"""The bib records of the simulated institution: just enough of them to carry portfolios.

Decides whether an MMS id names a record; leaves the error code to the caller, since it differs by path. Unless only
known records count, any plausible MMS id (`99` and 6 to 17 digits) has one, made on first use with a title.
"""

from __future__ import annotations

import re

import attrs

_PLAUSIBLE = re.compile(r"99[0-9]{6,17}", re.ASCII)
_KINDS = ("Journal of", "Annals of", "Archives of", "Advances in", "Handbook of", "Letters in")
_TOPICS = ("Applied Hydrology", "Comparative Law", "Medieval Music", "Polymer Science", "Rural Economics")


@attrs.define
class Bib:
    """One title."""

    mms_id: str
    title: str = attrs.field(kw_only=True)
    author: str = attrs.field(default="", kw_only=True)
    issn: str = attrs.field(default="", kw_only=True)
    suppressed: bool = attrs.field(default=False, kw_only=True)


def _invented_title(mms_id: str) -> str:
    number = int(mms_id)
    return f"{_KINDS[number % len(_KINDS)]} {_TOPICS[number // 7 % len(_TOPICS)]} {mms_id[-5:]}"


@attrs.define
class Bibs:
    """All records by MMS id; a deleted one stays gone."""

    known_only: bool = False
    _records: dict[str, Bib | None] = attrs.field(factory=dict, init=False)

    def add(self, bib: Bib) -> Bib:
        self._records[bib.mms_id] = bib
        return bib

    def find(self, mms_id: str) -> Bib | None:
        if mms_id in self._records:
            return self._records[mms_id]
        if self.known_only or _PLAUSIBLE.fullmatch(mms_id) is None:
            return None
        return self.add(Bib(mms_id, title=_invented_title(mms_id)))

    def delete(self, mms_id: str) -> None:
        self._records[mms_id] = None
