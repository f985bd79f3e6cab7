"""What all parts of one load share: its client, its service, its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import attrs

from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import BibHandling
from alma_async.alma.fields import NoteStrategy
from alma_async.load.entries import Action
from alma_async.load.options import LoadOptions

__all__ = ["LoadContext", "options_of"]


@attrs.frozen(kw_only=True)
class LoadContext:
    """One load. ``workers`` is the most rows in progress at once; ``dry``: nothing is sent that changes anything."""

    alma: AlmaClient
    place: tuple[str, str]
    options: LoadOptions
    workers: int
    dry: bool = False

    def known_by(self) -> dict[str, str]:
        """The facts that are the same for all runs of one load."""
        options = self.options
        return {
            "origin": self.alma.origin,
            "collection": self.place[0],
            "service": self.place[1],
            "action": options.action,
            "bib": options.bib,
            "dry": "1" if self.dry else "",
            "duplicates": "allowed" if options.allow_duplicates else "rejected",
            "notes": options.notes,
            "since": str(options.since.absolute()) if options.since else "",
        }


def options_of(known: Mapping[str, str], options: LoadOptions) -> LoadOptions:
    """These options, but what the facts of a journal say stands.

    :raises ConfigurationError: where they say what cannot be.
    """
    return attrs.evolve(
        options,
        action=cast("Action", known["action"]),
        bib=cast("BibHandling", known["bib"]),
        notes=cast("NoteStrategy", known.get("notes", "replace")),
        allow_duplicates=known["duplicates"] == "allowed",
        since=known["since"] or None,
    )
