"""What the areas of the world share: ids, bibs, switches, how objects are read, and the count of writes.

Decides the next id; its form is recorded (17 digits: a type prefix, a number, the institution's own end).
"""

from __future__ import annotations

import attrs

from alma_async.sim.bibs import Bibs
from alma_async.sim.config import Config
from alma_async.sim.fields import Json, Reading, emptied, overlaid
from alma_async.sim.tally import Tally

_INSTITUTION = "0004711"


def object_id(prefix: str, number: int) -> str:
    return f"{prefix}{number:08d}{_INSTITUTION}"


@attrs.define(kw_only=True)
class Records:
    """The institution's registry office."""

    bibs: Bibs
    tally: Tally
    reading: Reading
    config: Config
    _number: int = attrs.field(default=0, init=False)

    def created(self, prefix: str) -> str:
        self._number += 1
        new = object_id(prefix, self._number)
        self.tally.created[new] += 1
        return new

    def meant(self, old: Json, sent: Json) -> Json:
        """The whole object that a PUT over an old one asks for."""
        sent = emptied(old, sent, self.config.clears)
        return overlaid(old, sent) if self.config.put == "keeps" else sent

    def updated(self, object_id: str) -> None:
        self.tally.updated[object_id] += 1

    def deleted(self, object_id: str) -> None:
        self.tally.deleted[object_id] += 1
