# ruff: noqa: RUF009 - the fields are declared by a function of ours
"""What a caller of a load chooses: ``LoadOptions``, the same for Python, for the shell and for
the journal's facts. Pure.

Each option is declared, documented and checked here, once. Where a load goes (client, collection,
service, journal) is no option but an argument of ``Load``; both together are a load's context,
which its parts share.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import attrs

from alma_async._secret import secretive
from alma_async.alma.client import AlmaClient
from alma_async.alma.electronic import BibHandling
from alma_async.alma.fields import NoteStrategy
from alma_async.errors import ConfigurationError
from alma_async.load.entries import Action
from alma_async.load.facts import RESERVED
from alma_async.load.fields import Codes
from alma_async.load.job_template import JobTemplate
from alma_async.load.journal import Journals, address_of
from alma_async.load.matching import OnUnknown
from alma_async.settings import FLAG, NOT_NEGATIVE, WHOLE, Check, instance_of, one_of

__all__ = ["DEFAULTS", "PATH", "LoadContext", "LoadOptions", "Missing", "most_of", "options_of"]

Missing: TypeAlias = Literal["report", "deactivate", "delete"]

PATH: Final = Check("a path", lambda value: isinstance(value, (str, os.PathLike)) and bool(os.fspath(value)))
_SECONDS: Final = Check("a number of seconds, 0 or more", NOT_NEGATIVE.allows)


_BOUND: Final = re.compile(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")


def most_of(bound: str, held: int) -> int:
    """How many portfolios a bound such as ``20`` or ``1.5%`` allows, of so many.

    :raises ValueError: where it is none.
    """
    found = _BOUND.fullmatch(bound)
    if found is None or Fraction(found[2] or 0) > 100:
        raise ValueError(bound)
    return int(found[1]) if found[1] else int(Fraction(found[2]) * held / 100)


def _is_bound(value: Any) -> bool:
    return most_of(value, 0) >= 0


def _option(default: Any, check: Check, text: str) -> Any:
    return attrs.field(default=default, validator=check, metadata={"help": text})


def _path(value: str | os.PathLike[str] | None) -> Path | None:
    return Path(value) if isinstance(value, (str, os.PathLike)) and os.fspath(value) else cast("None", value)


def _bound(value: str | int) -> str | int:
    return str(value) if type(value) is int else value


@attrs.frozen(kw_only=True)
class LoadOptions:
    """The options of a load. All may differ from one run to the next but ``action``, ``bib``,
    ``notes``, ``allow_duplicates``, ``since``, ``plan``, ``missing``, ``max_delete``, ``via_job``
    and ``no_undo``.

    ``LoadOptions.help("quarantine")`` gives the meaning of one option, as the shell shows it.

    :raises ConfigurationError: naming the option that cannot be what was given.
    """

    action: Action = _option(
        "upsert",
        one_of(get_args(Action)),
        "upsert creates or updates; create changes no portfolio that is there; update rejects rows without one; delete deletes; "
        "activate and deactivate set the availability only",
    )
    bib: BibHandling = _option(
        "retain",
        one_of(get_args(BibHandling)),
        "what happens to a bib record whose last inventory is deleted; undo brings back no record that is deleted",
    )
    quarantine: float = _option(
        300.0,  # assumed: the longest a request that was sent may still be applied; to be measured in a sandbox
        _SECONDS,
        "seconds after which an unknown outcome is read back",
    )
    on_unknown: OnUnknown | None = _option(
        None,
        one_of(get_args(OnUnknown)).or_none(),
        "what happens to a write of unknown outcome that is not found afterwards: it is sent again (resend), ends in review, or "
        "ends as rejected (never); by default resend, and review for a delete",
    )
    keep_payload: bool = _option(
        False,
        FLAG,
        "keep the whole object that is sent in the journal, for reports in .jsonl, not only the fields that it changes",
    )
    wait_for_quota: bool = _option(
        False, FLAG, "wait for the quota's reset instead of stopping at the reserve"
    )
    index_age: float = _option(
        3600.0,  # chosen: an hour, in which records are held to get no other ISSN or ISBN
        _SECONDS,
        "seconds for which the ISSN and ISBN of records that a load has read are known to later loads of the service; 0 reads them "
        "anew, as all that deactivates or deletes does",
    )
    longest_outage: float = _option(
        4 * 3600.0,  # documented outages lasted 50 min (2025) and 2 h 13 min (2026)
        _SECONDS,
        "seconds of nothing but failures after which the load stops, resumable",
    )
    workers: int | None = _option(
        None, WHOLE.or_none(), "the most rows in progress at once; by default what the pace needs"
    )
    allow_duplicates: bool = _option(False, FLAG, "load all of several equal rows; by default only the first")
    circuit_breaker: bool = _option(
        True, FLAG, "stop where so many rows are rejected that the load must be wrong"
    )
    beside: bool = _option(
        False,
        FLAG,
        "start though another load of the service is running on this machine, or was cut off a moment ago",
    )
    notes: NoteStrategy = _option(
        "replace",
        one_of(get_args(NoteStrategy)),
        "what a note of a row (public_note, authentication_note, internal_description) does to one that is there: takes its place "
        "(replace), is added to it unless it is in it (append), or is not set (keep)",
    )
    since: Path | None = attrs.field(
        default=None,
        converter=_path,
        validator=PATH.or_none(),
        metadata={
            "help": "the journal of an earlier load: rows that it has loaded and that have not changed are not sent; rows that it "
            "has not finished are continued here"
        },
    )
    missing: Missing | None = _option(
        None,
        one_of(get_args(Missing)).or_none(),
        "the rows are all that the service should hold: what becomes of a portfolio that none of them stands for, once all have "
        "ended well. report lists it, deactivate and delete do so; by default the rows say nothing of it",
    )
    max_delete: str | int = attrs.field(
        default="10%",  # chosen: a list loses a few percent a year, and one that was cut off loses more
        converter=_bound,
        validator=Check("a number of portfolios, or a share of the service such as '5%'", _is_bound),
        metadata={
            "help": "the most portfolios that are deactivated or deleted since no row stands for them: a number, or a share of "
            "what the service holds such as 1%; where there are more, nothing is sent"
        },
    )
    plan: Path | None = attrs.field(
        default=None,
        converter=_path,
        validator=PATH.or_none(),
        metadata={
            "help": "the journal of a dry run: the load carries out exactly that. What the dry run read is not read again; what "
            "changed in Alma since then goes to review"
        },
    )
    plan_age: float = _option(
        24 * 3600.0,  # chosen: made one day and carried out the next morning
        _SECONDS,
        "seconds for which a plan may be carried out; an older one is rejected, since its comparisons are too old",
    )
    via_job: JobTemplate | None = _option(
        None,
        instance_of(JobTemplate, "JobTemplate.read(...)").or_none(),
        "a job of Alma's that does to all portfolios at once what the rows ask, each the same: activate, deactivate, delete, or "
        "update with one value. Its set and its run are made by the load; a row is done when the service's list shows it",
    )
    no_undo: bool = _option(
        False,
        FLAG,
        "with a job that deletes, or that changes what the service's list does not show: do not read each portfolio before, which "
        "saves a call a row; undo cannot bring back what it was. Where rows name a part of the coverage, each is read all the same",
    )
    codes: Codes = _option(
        attrs.Factory(Codes),
        instance_of(Codes, "Codes(...)"),
        "codes of embargo and availability that are only inferred",
    )
    facts: Mapping[str, str] = _option(
        attrs.Factory(dict),
        instance_of(Mapping, "a mapping of texts"),
        "texts that are written into the journal for whoever resumes the load",
    )

    @property
    def removes(self) -> bool:
        """Whether portfolios are deactivated or deleted: those that rows name, or that none names."""
        return self.action in ("delete", "deactivate") or self.missing not in (None, "report")

    def __attrs_post_init__(self) -> None:
        if taken := RESERVED & set(self.facts):
            raise ConfigurationError(f"Facts of a load cannot be named {', '.join(sorted(taken))}.")
        if self.since is not None and (self.allow_duplicates or self.action == "undo"):
            raise ConfigurationError("since cannot go with allow_duplicates, nor with an undo.")
        if self.missing is not None and self.action != "upsert":
            raise ConfigurationError("missing goes with the action upsert alone.")
        if self.missing is not None and self.removes and self.beside:
            raise ConfigurationError(
                "missing='deactivate' and 'delete' cannot go with beside: what another load makes would be on no list."
            )
        if self.plan is not None and (self.action == "undo" or self.missing is not None):
            raise ConfigurationError("plan cannot go with an undo, nor with missing.")
        self._check_via_job()

    def _check_via_job(self) -> None:
        if self.via_job is None:
            if self.no_undo:
                raise ConfigurationError(
                    "no_undo goes with via_job alone: a load keeps what was there before."
                )
            return
        if self.action in ("upsert", "create"):
            raise ConfigurationError(
                "via_job goes with the actions activate, deactivate, delete and update: a job makes no portfolio.",
                advice="Name the action: --action activate (action=).",
            )
        if self.since is not None or self.plan is not None or self.allow_duplicates:
            raise ConfigurationError("via_job cannot go with since, plan or allow_duplicates.")
        if self.notes != "replace":
            raise ConfigurationError(
                "via_job cannot go with notes: a job sets the same value in all portfolios and adds to no note.",
                advice="Load the rows without via_job: row by row notes are appended or kept.",
            )
        if self.bib != "retain":
            raise ConfigurationError(
                "via_job cannot go with bib: what becomes of the record is the job's to say, by a parameter of its own."
            )

    @classmethod
    def help(cls, name: str) -> str:
        """The meaning of one option."""
        return str(attrs.fields_dict(cls)[name].metadata["help"])


LoadOptions.__init__ = secretive(LoadOptions.__init__)  # type: ignore[method-assign]  # a secret that is given by mistake
LoadOptions.__doc__ = f"{LoadOptions.__doc__ or ''}\n" + "\n".join(
    f"    :param {name}: {LoadOptions.help(name)}" for name in attrs.fields_dict(LoadOptions)
)
DEFAULTS: Final = LoadOptions()


@attrs.frozen(kw_only=True)
class LoadContext:
    """One load. ``workers`` is the most rows in progress at once; ``dry``: nothing is
    sent that changes anything; ``only_ingest``: its rows are written into the journal, and no more;
    ``rests``: it waits for rows of unknown outcome to have rested, and does not end meanwhile;
    ``by_title``: the portfolios of each row's title are read, and not the service's list.
    """

    alma: AlmaClient
    place: tuple[str, str]
    options: LoadOptions
    workers: int
    dry: bool = False
    only_ingest: bool = False
    rests: bool = True
    by_title: bool = False

    @property
    def journals(self) -> Journals:
        """Where its journal is, and others that it has to do with."""
        return Journals(self.alma.clock, self.alma.store)

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
            "since": address_of(options.since) if options.since else "",
            "missing": options.missing or "",
            "max_delete": str(options.max_delete) if options.missing else "",
            "plan": address_of(options.plan) if options.plan else "",
            "via_job": options.via_job.written if options.via_job else "",
            "no_undo": "1" if options.no_undo else "",
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
        missing=cast("Missing | None", known.get("missing") or None),
        max_delete=known.get("max_delete") or options.max_delete,
        plan=known.get("plan") or None,
        via_job=JobTemplate.restored(template) if (template := known.get("via_job")) else None,
        no_undo=bool(known.get("no_undo")),
    )
