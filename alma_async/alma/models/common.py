"""What Alma's objects have in common: coded and linked values, notes, group settings, metadata.

Decides only names and kinds. Field names are Alma's own. Grades: *recorded* in an answer of a live
Alma (2018-19, 2025-26), *documented* by Ex Libris, *seen* in other clients' models only (2022). How
a model keeps and writes what was sent, and why objects and lists are never None: see
``alma_async._http.codec``.
"""

from __future__ import annotations

import re
from datetime import date
from typing import ClassVar, Final

from attrs import define, field

from alma_async._http.codec import Model, checked

__all__ = [
    "Coded",
    "Counted",
    "GroupSetting",
    "Interface",
    "Linked",
    "Note",
    "ResourceMetadata",
    "Updatable",
    "code_of",
    "run_in",
]

_RUN: Final = re.compile(r"/jobs/([A-Z][0-9]{1,32})/instances/([0-9]{1,32})/?(?:\?.*)?$")


@define(kw_only=True, repr=False, on_setattr=checked)
class Updatable(Model):
    """An object that an update replaces, and whether all of it is known.

    What ``get`` answered is whole; an item of a list is not, whatever it holds. Any other (an
    answer to a write, an object from JSON, one made by hand) is known by what it was read from:
    recorded answers to ``get`` have all the members of ``_always``, and recorded items of lists
    have none. Copies know it too; to set a field makes no object whole.
    """

    _always: ClassVar[tuple[str, ...]] = ()

    _whole: bool | None = field(default=None, alias="_whole", repr=False, eq=False)
    id: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, so that an update with it empties nothing by accident."""
        return not self.missing if self._whole is None else self._whole

    @property
    def missing(self) -> tuple[str, ...]:
        """The members that a whole object always has, and that this one was read without."""
        source = self._source if isinstance(self._source, dict) else {}
        return tuple(
            name
            for name in self._always
            if name not in source or (not source[name] and isinstance(getattr(self, name), Model))
        )


@define(repr=False, on_setattr=checked)
class Coded(Model):
    """A code of one of Alma's tables and its description (recorded).

    Alma ignores ``desc`` on write (documented) and writes it in the language asked for, so two
    codes are equal whatever theirs is.
    """

    _bare = "value"

    value: str | None = None
    desc: str | None = field(default=None, eq=False)


@define(repr=False, on_setattr=checked)
class Linked(Model):
    """An id and the address of what it names (recorded). Two are equal by id: links are absolute
    here and relative there.
    """

    _bare = "value"

    value: str | None = None
    link: str | None = field(default=None, eq=False)


@define(repr=False, on_setattr=checked)
class Counted(Model):
    """A number of things and where they are listed. Recorded as an integer; the schema says text;
    both are read.
    """

    _bare = "value"

    value: int | None = None
    link: str | None = field(default=None, eq=False)


def code_of(value: str | Coded | None) -> str | None:
    """The code of a month or day, which is plain text in answers of 2026 and an object in older
    ones.
    """
    return value.value if isinstance(value, Coded) else value


def run_in(link: str | None) -> tuple[str, str] | None:
    """The job and the run that a link names (recorded: the answers to what starts a job)."""
    found = _RUN.search(link or "")
    return (found[1], found[2]) if found else None


@define(kw_only=True, repr=False, on_setattr=checked)
class ResourceMetadata(Model):
    """The bib record behind a collection or portfolio (recorded)."""

    mms_id: Linked = field(factory=Linked)
    title: str | None = None
    author: str | None = None
    issn: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class Interface(Model):
    """The platform (recorded)."""

    name: str | None = None
    vendor: Linked = field(factory=Linked)


@define(kw_only=True, repr=False, on_setattr=checked)
class Note(Model):
    """A note (seen)."""

    content: str | None = None
    creation_date: date | None = None
    created_by: str | None = None
    type: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class GroupSetting(Model):
    """What one group of the institution sees instead (seen)."""

    group: Coded = field(factory=Coded)
    proxy_enabled: Coded = field(factory=Coded)
    proxy: str | None = None
    public_name: str | None = None
    authentication_note: str | None = None
    public_note: str | None = None
