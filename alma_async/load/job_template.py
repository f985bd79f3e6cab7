"""A user's own job, as Alma's user interface shows it: a job id and parameters, read from a file.

"Run a job", last step, "API Information" shows a URL with the job's id and a body, XML or JSON,
with all parameters (documented). Their names are opaque, once per job type and not public, so they
are the user's. A load by a job replaces the set and the name of the run, and nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import attrs

from alma_async._http.json_text import dumps, loads
from alma_async.alma.xml import walk
from alma_async.errors import BadAnswer, ConfigurationError
from alma_async.load.row import InputError

__all__ = ["JobTemplate"]

_MOST: Final = 1_000_000  # chosen: characters; a body has some hundred
_SET, _NAME = "set_id", "job_name"
_URL: Final = re.compile(r"/conf/jobs/([A-Za-z0-9]+)")
_MANUAL: Final = re.compile("M[0-9]+", re.ASCII)


@attrs.frozen(kw_only=True)
class JobTemplate:
    """A job and its parameters, in their order.

    :param job_id: ``M`` and digits: a manual job, whose runs have names by which they are found
        again
    :param parameters: names and values; ``set_id`` is one of them
    :raises ConfigurationError: where it is no job that works on a set.
    """

    job_id: str
    parameters: tuple[tuple[str, str], ...]

    def __attrs_post_init__(self) -> None:
        if _MANUAL.fullmatch(self.job_id) is None:
            raise ConfigurationError(
                f"{self.job_id!r} is not the id of a manual job, which is M and digits.", advice=_SHOWN
            )
        names = [name for name, _ in self.parameters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"The job's parameter {twice[0]} is there twice.", advice=_SHOWN)
        if _SET not in names:
            raise ConfigurationError(
                f"The job takes no set: it has no parameter {_SET} (it has {', '.join(names) or 'none'}).",
                advice=_SHOWN,
            )

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, job_id: str | None = None) -> Self:
        """The job in a file: the URL, and below it the body in XML or JSON, both as API Information
        shows them.

        :param job_id: where the file has the body alone
        :raises InputError: where the file cannot be read.
        :raises ConfigurationError: where it shows no such job, or another one than ``job_id``.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The job's template {os.fspath(path)!r} cannot be read: {error}.") from None
        return cls.of(text, job_id=job_id)

    @classmethod
    def of(cls, text: str, *, job_id: str | None = None) -> Self:
        """The job in the text of such a file.

        :raises ConfigurationError: where it shows no such job, or another one than ``job_id``.
        """
        begins = min((at for at in map(text.find, "<{") if at >= 0), default=len(text))
        shown = _URL.search(text[:begins])
        named = shown[1] if shown else None
        if job_id and named and job_id != named:
            raise ConfigurationError(f"The template's URL names job {named}, not {job_id}.", advice=_SHOWN)
        if not (own_id := job_id or named):
            raise ConfigurationError("The template does not say which job it is of.", advice=_ID)
        body = text[begins:].strip()
        try:
            found = _of_json(loads(body.encode())) if body.startswith("{") else _of_xml(body)
        except (BadAnswer, ValueError, TypeError, AttributeError, KeyError) as error:
            said = f"The template's body cannot be read as that of a job: {error}"
            raise ConfigurationError(said.rstrip(".") + ".", advice=_SHOWN) from None
        return cls(job_id=own_id, parameters=tuple(found))

    @classmethod
    def restored(cls, written: str) -> Self:
        """The one that was written into a journal."""
        known: dict[str, Any] = loads(written.encode())
        return cls(
            job_id=known["job"], parameters=tuple((name, value) for name, value in known["parameters"])
        )

    @property
    def written(self) -> str:
        """As it is written into a journal, which needs the file no more."""
        return dumps({"job": self.job_id, "parameters": [list(one) for one in self.parameters]}).decode()

    def over(self, set_id: str, name: str) -> Mapping[str, str]:
        """The parameters of a run over this set, of this name."""
        return {**dict(self.parameters), _SET: set_id, _NAME: name}


def _of_json(body: dict[str, Any]) -> list[tuple[str, str]]:
    listed = body.get("parameter") or []
    return [(_text(one["name"]), _text(one.get("value"))) for one in listed]


def _text(value: Any) -> str:
    """A value, coded or plain."""
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, bool):
        return str(value).lower()
    if value is not None and not isinstance(value, (str, int)):
        raise TypeError(f"{str(value)[:60]} is no value of a parameter")
    return "" if value is None else str(value)


def _of_xml(body: str) -> list[tuple[str, str]]:
    parameters = _Parameters()
    walk(body, parameters, what="It", most=_MOST)
    return [(one["name"], one.get("value", "")) for one in parameters.found]


@attrs.define
class _Parameters:
    """``parameter`` elements, each with the texts of its ``name`` and ``value``."""

    found: list[dict[str, str]] = attrs.field(factory=list)
    _inside: list[str] = attrs.field(factory=list)

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._inside.append(name)
        if name == "parameter":
            self.found.append({})

    def end(self, _name: str) -> None:
        self._inside.pop()

    def characters(self, text: str) -> None:
        name, parents = self._inside[-1], self._inside[:-1]
        if name in ("name", "value") and parents[-1:] == ["parameter"]:
            self.found[-1][name] = self.found[-1].get(name, "") + text


_SHOWN: Final = (
    "Nothing was sent. In Alma: Run a Job, choose the job, its set and what it does; the last step, API Information, shows the "
    "URL and the body to put into the file."
)
_ID: Final = "Nothing was sent. Put the URL that API Information shows above the body, or name the job: --job ID (job_id=)."
