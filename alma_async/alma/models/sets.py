"""Sets and their members, with every member known by name.

Decides only names and kinds; how they are kept and written: see ``alma_async._http.codec``. Fields
as documented for ``rest_set.xsd`` and recorded in 2025; grades as in ``common``. Answers never hold
members (documented): ``members`` is for what is sent, and what is in a set is listed by
``alma.sets.members``.
"""

from __future__ import annotations

from attrs import define, field

from alma_async._http.codec import Model, checked
from alma_async.alma.models.common import Coded, Counted, Linked, Updatable, run_in

__all__ = ["AlmaSet", "SetMember", "SetMembers"]


@define(kw_only=True, repr=False, on_setattr=checked)
class SetMember(Model):
    """A member. Of portfolio sets it has no link (seen): it does not show collection, service and
    MMS id.
    """

    id: str = ""
    description: str | None = None
    link: str | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class SetMembers(Model):
    """A page of members, or those to be sent. The list is absent from an empty set (seen)."""

    member: list[SetMember] = field(factory=list)
    total_record_count: int | None = None


@define(kw_only=True, repr=False, on_setattr=checked)
class AlmaSet(Updatable):
    """A set, itemized or logical.

    Mandatory on create (documented): ``name``, which must be unique (402263), ``type``
    (``ITEMIZED`` or ``LOGICAL``, 402262), ``content`` (of the table SetContentType: ``PORTFOLIO``,
    ``IEPA`` for electronic collections, ``BIB_MMS``, ``ITEM``, ``USER`` …), and ``query`` for a
    logical one. ``private`` is ``"true"`` by default (documented), and then staff do not see what
    an API key made. ``query.value`` is the query, ``desc`` the text of the user interface: take it
    from a set made there. Dates are kept as text, since they were recorded as moments and are
    documented as dates. ``additional_info`` of a set that a job fills names the run (seen); it is
    documented as text, which is read as its ``value``.
    """

    _always = ("link", "number_of_members")

    name: str | None = None
    description: str | None = None
    type: Coded = field(factory=Coded)
    content: Coded = field(factory=Coded)
    query: Coded = field(factory=Coded)
    private: Coded = field(factory=Coded)
    status: Coded = field(factory=Coded)
    origin: Coded = field(factory=Coded)
    status_date: str | None = None
    created_by: Coded = field(factory=Coded)
    created_date: str | None = None
    note: str | None = None
    additional_info: Linked = field(factory=Linked)
    number_of_members: Counted = field(factory=Counted)
    members: SetMembers = field(factory=SetMembers)
    link: str | None = None

    @property
    def run(self) -> tuple[str, str] | None:
        """The job and its run that fills the set, where Alma names one."""
        return run_in(self.additional_info.link)
