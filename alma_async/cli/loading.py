"""What a load on the command line is about, and the manner in which it goes.

The first stands in its journal, so that whoever resumes, verifies or undoes it names the journal alone; the second may differ
from one run to the next.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast, get_args

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async.alma.electronic import BibHandling
from alma_async.cli.journals import kind_of
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Action
from alma_async.load.journal import Journal
from alma_async.load.loader import PATIENCE, QUARANTINE, Load
from alma_async.load.reconcile import OnUnknown
from alma_async.load.undo import undo_rows

if TYPE_CHECKING:
    from alma_async.alma.client import AlmaClient

__all__ = ["AS_USUAL", "Input", "Manner", "Patience", "UntilDone"]

UntilDone = Annotated[
    bool, Parameter(negative="", help="wait for the quota's reset instead of stopping at the reserve")
]
Seconds = Annotated[float, Parameter(validator=lambda _type, value: _not_negative(value))]


def _not_negative(value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError("must be a number of seconds, not negative")


Patience = Annotated[Seconds, Parameter(help="seconds of nothing but failures before it stops")]


@Parameter(name="*", group=Group("Manner", sort_key=5))
@attrs.frozen(kw_only=True)
class Manner:
    """How a load goes and how its end is told."""

    until_done: UntilDone = False
    patience: Patience = PATIENCE
    quarantine: Annotated[
        Seconds,
        Parameter(env_var="ALMA_QUARANTINE", help="seconds an unknown outcome rests before it is read back"),
    ] = QUARANTINE
    on_unknown: Annotated[
        OnUnknown | None,
        Parameter(
            help="what happens to a write of unknown outcome that is not found afterwards: it is sent again, is put up for review, "
            "or ends as rejected; if not said, resend, and review for a delete"
        ),
    ] = None
    keep_payload: Annotated[
        bool,
        Parameter(
            negative="",
            help="keep the whole object that is sent in the journal, for reports in .jsonl, not only the fields that it changes",
        ),
    ] = False
    circuit: Annotated[
        bool, Parameter(help="stop where so many rows are rejected that the load must be wrong")
    ] = True
    beside: Annotated[
        bool,
        Parameter(
            negative="",
            help="go on though another load of the service is under way on this machine, or was cut off a moment ago",
        ),
    ] = False
    report: Annotated[
        Path | None, Parameter(help="write what became of each row, to a .csv, .xlsx or .jsonl file")
    ] = None
    show: Annotated[
        int,
        Parameter(validator=Number(gte=0), help="so many rows of a dry run are printed with their changes"),
    ] = 20
    warnings: Annotated[
        int, Parameter(validator=Number(gte=0), help="so many warnings about the file are printed")
    ] = 50
    json: Annotated[
        bool,
        Parameter(negative="", help="print the summary as one JSON object; of a dry run, each row before it"),
    ] = False


AS_USUAL: Final = Manner()


@attrs.frozen(kw_only=True)
class Input:
    """What a load is called, its service, and what to do there: the same for all its runs. All texts, as in a journal.

    ``file`` is the one that its rows were read from, or the journal of the load that it takes back.
    """

    file: str
    collection: str
    service: str
    action: str
    bib: str
    duplicates: str
    since: str
    dry: str

    @classmethod
    def of(cls, journal: Path) -> Input:
        """What a journal says.

        :raises ConfigurationError: where it does not say enough.
        """
        with Journal(journal, reading=True) as opened:
            meta = opened.meta()
        if not meta:
            raise ConfigurationError(
                f"Nothing was written into {journal.name} yet: its load was cut off while it began, and sent nothing.",
                advice=f"Give the command that began it again, with --journal {shlex.quote(str(journal))}.",
            )
        try:
            told = {"file": journal.name, **meta}  # a program's load has none
            return cls(**{field.name: told[field.name] for field in attrs.fields(cls)})
        except KeyError:
            raise ConfigurationError(
                f"{journal.name} was not begun by 'alma-async load'.",
                advice="Go on with it in Python, where it was begun: Load(..., journal=...) with run or verify.",
            ) from None

    @classmethod
    def undoing(cls, journal: Path, *, dry: bool) -> Input:
        """What takes a load back.

        :raises InputError: where the journal is of no load that was begun.
        """
        meta = undo_rows(journal).meta
        return cls(
            file=str(journal.absolute()),
            collection=meta["collection"],
            service=meta["service"],
            action="undo",
            bib="retain",
            duplicates="refused",
            since="",
            dry="1" if dry else "",
        )

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return kind_of(attrs.asdict(self))

    @property
    def title(self) -> str:
        """What a person calls it."""
        name = Path(self.file).name
        return name if self.kind == "load" else f"{self.kind} of {name}"

    def load(self, alma: AlmaClient, journal: Path, manner: Manner) -> Load:
        """The load itself.

        :raises ConfigurationError: where a journal says what cannot be.
        """
        for name, value, kind in (("action", self.action, Action), ("bib", self.bib, BibHandling)):
            if value not in get_args(kind):
                raise ConfigurationError(f"{value!r} is no {name}.")
        return Load(
            alma,
            collection_id=self.collection,
            service_id=self.service,
            journal=journal,
            action=cast("Action", self.action),
            bib=cast("BibHandling", self.bib),
            quarantine=manner.quarantine,
            on_unknown=manner.on_unknown,
            keep_payload=manner.keep_payload,
            until_done=manner.until_done,
            patience=manner.patience,
            allow_duplicates=self.duplicates == "allowed",
            since=self.since or None,
            circuit=manner.circuit,
            beside=manner.beside,
            facts=attrs.asdict(self),
        )
