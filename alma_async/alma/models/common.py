"""What Alma's objects have in common: coded and linked values, notes, group settings, metadata.

Decides only names and kinds. Field names are Alma's own. Grades: *recorded* in an answer of a live Alma (2018-19, 2025-26),
*documented* by Ex Libris, *seen* in other clients' models only (2022). How a model keeps and writes what was sent, and why objects
and lists are never None, is told in ``alma_async.wire.codec``.
"""

from __future__ import annotations

from datetime import date

from attrs import define, field

from alma_async.wire.codec import Model

__all__ = ["Coded", "Counted", "GroupSetting", "Interface", "Linked", "Note", "ResourceMetadata", "code_of"]


@define(repr=False)
class Coded(Model):
    """A code of one of Alma's tables and its description (recorded).

    Alma ignores ``desc`` on write (documented) and writes it in the language asked for, so two codes are equal whatever theirs is.
    """

    value: str | None = None
    desc: str | None = field(default=None, eq=False)


@define(repr=False)
class Linked(Model):
    """An id and the address of what it names (recorded). Two are equal by id: links are absolute here and relative there."""

    value: str | None = None
    link: str | None = field(default=None, eq=False)


@define(repr=False)
class Counted(Model):
    """A number of things and where they are listed. Recorded as an integer; the schema says text; both are read."""

    value: int | None = None
    link: str | None = field(default=None, eq=False)


def code_of(value: str | Coded | None) -> str | None:
    """The code of a month or day, which is plain text in answers of 2026 and an object in older ones."""
    return value.value if isinstance(value, Coded) else value


@define(kw_only=True, repr=False)
class ResourceMetadata(Model):
    """The bib record behind a collection or portfolio (recorded)."""

    mms_id: Linked = field(factory=Linked)
    title: str | None = None
    author: str | None = None
    issn: str | None = None


@define(kw_only=True, repr=False)
class Interface(Model):
    """The platform (recorded)."""

    name: str | None = None
    vendor: Linked = field(factory=Linked)


@define(kw_only=True, repr=False)
class Note(Model):
    """A note (seen)."""

    content: str | None = None
    creation_date: date | None = None
    created_by: str | None = None
    type: str | None = None


@define(kw_only=True, repr=False)
class GroupSetting(Model):
    """What one group of the institution sees instead (seen)."""

    group: Coded = field(factory=Coded)
    proxy_enabled: Coded = field(factory=Coded)
    proxy: str | None = None
    public_name: str | None = None
    authentication_note: str | None = None
    public_note: str | None = None
