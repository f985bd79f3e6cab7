"""What the commands around a load share: what a load is about, how a list is read, how a run goes on.

Each option is declared once, for all commands that take it; its text comes from ``LoadOptions`` where Python knows it, too. What a
load is about (``Input``) stands in its journal, so ``resume``, ``verify`` and ``undo`` need a journal alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import attrs
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from alma_async.alma.client import AlmaClient
from alma_async.cli import journals
from alma_async.cli.console import say
from alma_async.cli.journals import kind_of
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Action
from alma_async.load.facts import BEGUN_AT
from alma_async.load.job_template import JobTemplate
from alma_async.load.journal import address_of
from alma_async.load.loader import Load
from alma_async.load.matching import OnUnknown
from alma_async.load.options import DEFAULTS, LoadOptions, options_of
from alma_async.load.planned import as_of
from alma_async.load.readers import Blanks, RowSource, read_rows

__all__ = ["AS_IT_IS", "AS_USUAL", "Input", "ListOptions", "ShellOptions", "Waiting", "option"]

Seconds = Annotated[float, Parameter(validator=lambda _type, value: _not_negative(value), metavar="SECONDS")]


def _not_negative(value: float | None) -> None:
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError("It must be a number of seconds, 0 or more.")


def option(name: str, **how: Any) -> Parameter:
    """An option that Python knows by the same name."""
    return Parameter(help=LoadOptions.help(name), **how)


@Parameter(name="*", group=Group("Run", sort_key=5))
@attrs.frozen(kw_only=True)
class Waiting:
    """What a run waits for, and how long. Two options have an earlier name, which help does not show."""

    wait_for_quota: Annotated[bool, option("wait_for_quota")] = DEFAULTS.wait_for_quota
    longest_outage: Annotated[Seconds, option("longest_outage")] = DEFAULTS.longest_outage
    until_done: Annotated[bool, Parameter(show=False)] = False
    patience: Annotated[Seconds | None, Parameter(show=False)] = None

    @property
    def waits_for_quota(self) -> bool:
        """Under either name."""
        return self.wait_for_quota or self.until_done

    def options(self) -> LoadOptions:
        """Give these options as a load has them."""
        shared = {name: getattr(self, name) for name in attrs.fields_dict(LoadOptions) if hasattr(self, name)}
        outage = self.longest_outage if self.patience is None else self.patience
        return LoadOptions(**{**shared, "wait_for_quota": self.waits_for_quota, "longest_outage": outage})


@Parameter(name="*", group=Group("Run", sort_key=5))
@attrs.frozen(kw_only=True)
class ShellOptions(Waiting):
    """The options of one run of a load, and what is printed at its end."""

    quarantine: Annotated[Seconds, option("quarantine", env_var="ALMA_QUARANTINE")] = DEFAULTS.quarantine
    on_unknown: Annotated[OnUnknown | None, option("on_unknown")] = DEFAULTS.on_unknown
    index_age: Annotated[Seconds, option("index_age")] = DEFAULTS.index_age
    keep_payload: Annotated[bool, option("keep_payload")] = DEFAULTS.keep_payload
    circuit_breaker: Annotated[bool, option("circuit_breaker", negative="--no-circuit-breaker")] = (
        DEFAULTS.circuit_breaker
    )
    beside: Annotated[bool, option("beside")] = DEFAULTS.beside
    plan_age: Annotated[Seconds, option("plan_age")] = DEFAULTS.plan_age
    report: Annotated[
        Path | None,
        Parameter(
            help="write how the load went to an .html page, or how each row ended to a .csv, .xlsx or .jsonl file"
        ),
    ] = None
    show: Annotated[
        int,
        Parameter(validator=Number(gte=0), help="how many rows of a dry run are printed with their changes"),
    ] = 20
    warnings: Annotated[
        int, Parameter(validator=Number(gte=0), help="how many warnings about the file are printed")
    ] = 50
    json: Annotated[
        bool,
        Parameter(help="print the summary as one JSON object; of a dry run, each row before it"),
    ] = False


AS_USUAL: Final = ShellOptions()


@Parameter(name="*", group=Group("List", sort_key=4))
@attrs.frozen(kw_only=True)
class ListOptions:
    """How a list is read, for all commands that take one."""

    format: Annotated[
        Literal["auto", "csv", "kbart", "alma-loader", "analytics"],
        Parameter(
            help="what the file is: csv (native), kbart, alma-loader (Alma's portfolio loader) or analytics (any report with "
            "Portfolio Id or MMS Id); auto chooses by the header and says why"
        ),
    ] = "auto"
    sheet: Annotated[
        str | None, Parameter(help="which sheet of a workbook; by default the first that is not hidden")
    ] = None
    mms_map: Annotated[
        Path | None,
        Parameter(
            help="two columns, identifier (ISSN, ISBN or title id) and MMS id, for KBART without a column mms_id; without a map, "
            "titles are found by the ISSN and ISBN of the records behind the portfolios that are there, read a hundred a call"
        ),
    ] = None
    ignore_unknown: Annotated[bool, Parameter(help="ignore columns that the native CSV does not know")] = (
        False
    )
    blanks: Annotated[
        Blanks,
        Parameter(
            help="what a blank cell does: keep leaves the present value (of KBART and alma-loader it is reported), clear empties it"
        ),
    ] = "keep"
    strict: Annotated[
        bool,
        Parameter(
            help="reject a KBART line for anything uncertain in it, instead of loading what is certain with a warning",
        ),
    ] = False
    ignore_embargo: Annotated[
        bool,
        Parameter(
            help="load KBART titles whose embargo no portfolio can hold (days, two walls), without the embargo",
        ),
    ] = False

    def rows(self, file: Path, action: Action = "upsert") -> RowSource:
        """The rows of a file.

        :raises InputError: where it cannot be read so.
        """
        return read_rows(file, action=action, **attrs.asdict(self))


AS_IT_IS: Final = ListOptions()


@attrs.frozen(kw_only=True)
class Input:
    """What a load is about, the same for all its runs: all texts, as in a journal.

    ``file`` is what its rows were read from, or the journal of the load that it undoes.
    """

    file: str
    collection: str
    service: str
    action: str
    bib: str
    duplicates: str
    notes: str
    since: str
    dry: str
    plan: str = ""
    missing: str = ""
    max_delete: str = ""
    via_job: str = ""
    no_undo: str = ""

    @classmethod
    def of(cls, journal: Path) -> Input:
        """What a journal says.

        :raises ConfigurationError: where it does not say enough.
        """
        meta = journals.read(journal, lambda opened: opened.meta())
        if not meta:
            raise ConfigurationError(
                f"Nothing was written into {journal.name} yet: its load was interrupted while it began, and sent nothing.",
                advice=f"Give the command that began it again, with --journal {shlex.quote(str(journal))}.",
            )
        try:
            # A load of a program has no file.
            usual = {
                "missing": "",
                "max_delete": "",
                "plan": "",
                "via_job": "",
                "no_undo": "",
                "file": journal.name,
                "notes": DEFAULTS.notes,
            }
            known = {**usual, **meta}
            return cls(**{field.name: known[field.name] for field in attrs.fields(cls)})
        except KeyError:
            raise ConfigurationError(
                f"{journal.name} was not begun by 'alma-async load'.",
                advice="Continue it in Python, where it was begun: Load(..., journal=...) with run or verify.",
            ) from None

    @classmethod
    def asked(cls, given: Mapping[str, str | None], plan: Path | None, *, dry: bool) -> Self:
        """What is asked for: what is not given is the plan's, or as usual.

        :raises ConfigurationError: where a file of rows or the service is missing.
        """
        known = {
            "action": DEFAULTS.action,
            "bib": DEFAULTS.bib,
            "duplicates": "rejected",
            "notes": DEFAULTS.notes,
            "since": "",
        }
        if plan is not None:
            its = attrs.asdict(cls.of(plan))
            known = {name: its[name] for name in given}
            _say_age(plan)
        known |= {name: value for name, value in given.items() if value is not None}
        if "file" not in known:
            raise ConfigurationError(
                "Name a file of rows, or a report with --from-analytics, or a plan with --plan."
            )
        if missing := [f"--{name}" for name in ("collection", "service") if name not in known]:
            raise ConfigurationError(f"Name the service to load into: {' and '.join(missing)}.")
        return cls(**known, plan=str(plan) if plan else "", dry="1" if dry else "")

    @classmethod
    def undoing(
        cls, journal: Path, meta: Mapping[str, str], *, via_job: JobTemplate | None, dry: bool
    ) -> Input:
        """What undoes the load of a journal that says ``meta``."""
        return cls(
            file=address_of(journal),
            collection=meta["collection"],
            service=meta["service"],
            action="undo",
            bib="retain",
            duplicates="rejected",
            notes=DEFAULTS.notes,
            since="",
            plan="",
            via_job=via_job.written if via_job else "",
            dry="1" if dry else "",
        )

    @property
    def kind(self) -> str:
        """Load, undo or plan."""
        return kind_of(attrs.asdict(self))

    @property
    def title(self) -> str:
        """The name for a person."""
        name = Path(self.file).name
        return name if self.kind == "load" else f"{self.kind} of {name}"

    def load(self, alma: AlmaClient, journal: Path, options: LoadOptions) -> Load:
        """The load itself.

        :raises ConfigurationError: for a value of the journal that is none.
        """
        known = attrs.asdict(self)
        return Load(
            alma,
            collection_id=self.collection,
            service_id=self.service,
            journal=journal,
            options=attrs.evolve(options_of(known, options), facts=known),
        )


def _say_age(plan: Path) -> None:
    """Say when a plan was made, since what it compared is not read again."""
    if made := journals.read(plan, lambda opened: opened.meta()).get(BEGUN_AT):
        say(f"plan: {plan}, made at {as_of(float(made))}")
