"""The record sets of a simulated Polaris, and its rules for them.

Decides what a set takes and what is answered; who may call is `polaris_staff`'s. Knows no web and no clock. Documented: the
members, the five types, that a weeding set needs an organization as its owner, `RecordSetId` in the answer to a creation and
`RecordSetID` elsewhere, one warning for an id that comes twice, `NumberOfRecords` 0 although there are some, the header with
nulls and the year 1 where the owner alone is asked for, pages from 0 of 1,000, and 0 for everything. The wording of all other
warnings and errors is inferred; a stack trace comes with errors, since such were seen elsewhere.

Who may use a simulated Polaris: staff logins, their tokens, and the lock after too many failures.

Decides who a caller is, and for how long; knows no web and no clock. Documented: Basic with the domain in the user name, the
members of the answer, `PAS site:token:secret`, empty tokens for a checked API key, a token of 32 and a secret of 16 characters;
the lock after three failures in five minutes and 24 h for a token are documented for PAPI and inferred here. How long a
lock lasts is not known. That a locked account is rejected like a wrong password is inferred.
"""

from __future__ import annotations

import base64
import binascii
import random
import string
from collections.abc import Container, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

from alma_async.sim.tally import Tally

__all__ = [
    "POLARIS_DOMAIN",
    "POLARIS_KEY",
    "POLARIS_ORGANIZATION",
    "POLARIS_PASSWORD",
    "POLARIS_USER",
    "POLARIS_WORKSTATION",
    "PolarisWorld",
]

Json = dict[str, Any]

_FAILURES, _WITHIN = 3, 300.0


class Denied(Exception):
    """A call that Polaris rejects."""

    def __init__(self, status: int, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.members: dict[str, Any] = {"Message": message, **members}


@attrs.define(kw_only=True)
class Staff:
    """One account: how it proves itself, and what it may do."""

    user_id: int
    domain: str = ""
    name: str = ""
    password: str = attrs.field(default="", repr=False)
    api_key: str = attrs.field(default="", repr=False)
    bearer: str = attrs.field(default="", repr=False)
    organization_id: int = 3
    may_create: bool = True
    may_read: bool = True
    failures: list[float] = attrs.field(factory=list)
    locked_until: float = 0.0


@attrs.frozen
class _Token:
    secret: str
    staff: Staff
    ends: float


@attrs.define(kw_only=True)
class Door:
    """Lets staff in, and knows them again by their tokens."""

    staff: list[Staff]
    site_domain: str = "polaris"
    lifetime: float = 86_400.0
    dates: Literal["offset", "bare"] = "offset"
    """Whether the end of a token is written with an offset; both were seen."""
    lock: float = 900.0
    tokens_for_keys: bool = False
    """Whether a bearer token is answered by a token; not known."""
    logins: int = 0
    rejected: int = 0
    _rng: random.Random = attrs.field(factory=lambda: random.Random(0))
    _tokens: dict[str, _Token] = attrs.field(factory=dict, repr=False)

    def log_in(self, headers: Mapping[str, str], *, oauth: bool, now: float) -> Json:
        """The answer to a login that is good."""
        self.logins += 1
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        if oauth:
            staff = self._by("bearer", given if scheme == "Bearer" else "")
        elif scheme == "Basic":
            staff = self._by_password(given, now)
        else:
            staff = self._by("api_key", headers.get("x-api-key", ""))
        if staff is None:
            self.rejected += 1
            raise Denied(401, "Authorization has been denied for this request.")
        with_token = staff.password != "" or self.tokens_for_keys
        return self._answer(staff, now) if with_token else _checked(staff)

    def who(self, headers: Mapping[str, str], now: float) -> Staff:
        """Whose call this is."""
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        if scheme == "PAS":
            site, _, rest = given.partition(":")
            name, _, secret = rest.partition(":")
            token = self._tokens.get(name)
            fits = token is not None and (site, secret) == (self.site_domain, token.secret)
            staff = token.staff if token is not None and fits and now < token.ends else None
        elif scheme == "Bearer":
            staff = self._by("bearer", given)
        else:
            staff = self._by("api_key", headers.get("x-api-key", ""))
        if staff is None:
            raise Denied(401, "Authorization has been denied for this request.")
        return staff

    def sweep(self) -> None:
        """Forget all tokens, whatever their dates say."""
        self._tokens.clear()

    def _by(self, member: str, given: str) -> Staff | None:
        return next((one for one in self.staff if given and getattr(one, member) == given), None)

    def _by_password(self, given: str, now: float) -> Staff | None:
        try:
            text = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        name, _, password = text.partition(":")
        staff = next((one for one in self.staff if one.name and f"{one.domain}\\{one.name}" == name), None)
        if staff is None or now < staff.locked_until:
            return None
        if staff.password == password:
            staff.failures.clear()
            return staff
        staff.failures = [at for at in staff.failures if now - at < _WITHIN] + [now]
        if len(staff.failures) >= _FAILURES:
            staff.locked_until = now + self.lock
        return None

    def _answer(self, staff: Staff, now: float) -> Json:
        letters = string.ascii_letters + string.digits
        name, secret = ("".join(self._rng.choices(letters, k=size)) for size in (32, 16))
        self._tokens[name] = _Token(secret, staff, now + self.lifetime)
        ends = datetime.fromtimestamp(now + self.lifetime, UTC)
        if self.dates == "bare":
            ends = ends.replace(tzinfo=None)
        token = {
            "AccessToken": name,
            "AccessSecret": secret,
            "AuthExpDate": ends.isoformat(timespec="milliseconds"),
        }
        return _checked(staff) | {"SiteDomain": self.site_domain, "UserDomain": staff.domain} | token


def _checked(staff: Staff) -> Json:
    user = {
        "PolarisUserID": staff.user_id,
        "OrganizationID": staff.organization_id,
        "Name": staff.name or "simulated",
        "BranchID": None,
        "Enabled": True,
        "CreatorID": 1,
        "ModifierID": None,
        "CreationDate": "2011-02-16T20:28:16.177",
        "ModificationDate": None,
        "Groups": [],
    }
    empty = {"SiteDomain": "", "UserDomain": "", "AccessToken": "", "AccessSecret": "", "AuthExpDate": None}
    return {**empty, "PolarisUser": user, "ERMSNetworkAddress": "", "DataSource": "SIM", "SiteCode": "SIM/"}


POLARIS_DOMAIN = "SIM"
POLARIS_USER = "librarian"
POLARIS_PASSWORD = "sim-password"  # noqa: S105 - of the simulator
POLARIS_KEY = "sim-polaris-key"
POLARIS_ORGANIZATION = 3
POLARIS_WORKSTATION = 1

_TYPES = (1, 2, 3, 27, 107)
_WEEDING = 107
_MOST = 2**31 - 1
_FIRST = 36_928  # the id in the documented answer


@attrs.define(kw_only=True)
class RecordSet:
    """A set as it is kept."""

    id: int
    name: str
    object_type: int
    creator: int
    creator_name: str
    owner: int | None
    note: str | None
    created_at: float
    records: list[int]


def _demo_door() -> Door:
    librarian = Staff(user_id=923, domain=POLARIS_DOMAIN, name=POLARIS_USER, password=POLARIS_PASSWORD)
    return Door(staff=[librarian, Staff(user_id=924, api_key=POLARIS_KEY, bearer="sim-bearer")])


@attrs.define(kw_only=True)
class PolarisWorld:
    """One library's Polaris, with one staff user and one key unless it is set up otherwise."""

    door: Door = attrs.field(factory=_demo_door)
    organizations: Container[int] = range(1, 100)
    workstations: Container[int] = range(1, 1000)
    known: Container[int] | None = None
    """Ids of records that exist, of any type; None: every one."""
    record_sets: dict[int, RecordSet] = attrs.field(factory=dict, init=False)
    tally: Tally = attrs.field(factory=Tally, init=False)
    most_at_once: int = attrs.field(default=0, init=False)

    def reset(self) -> None:
        """Forget sets, tokens and counts."""
        self.record_sets.clear()
        self.door.sweep()
        self.tally = Tally()
        self.most_at_once = 0

    def summary(self) -> Json:
        """What `GET /_sim/stats` answers."""
        sizes = {str(one.id): len(one.records) for one in self.record_sets.values()}
        return self.tally.summary() | {"record_sets": sizes, "most_at_once": self.most_at_once}

    def create(self, staff: Staff, sent: Any, *, now: float) -> Json:
        """Make a set of what was sent."""
        asked = _read(sent)
        if not staff.may_create:
            raise Denied(403, "Permission(s) not granted.")
        if asked.owner is not None and asked.owner not in self.organizations:
            raise Denied(400, "OrganizationOwnerID is not a valid organization.")
        if asked.object_type == _WEEDING and asked.owner is None:
            raise Denied(400, "Weeding record sets can only be owned by an organization.")
        asked.id = _FIRST + len(self.record_sets)
        asked.creator, asked.creator_name = asked.creator or staff.user_id, staff.name
        asked.created_at = now
        asked.records, warnings = self._taken(asked.records)
        self.record_sets[asked.id] = asked
        self.tally.created[str(asked.id)] += 1
        return {
            "RecordSetId": asked.id,
            "NumberOfRecordsAdded": len(asked.records),
            "NumberOfRecordsRemoved": 0,
            "NumberOfRecords": 0,
            "Warnings": warnings,
        }

    def get(self, staff: Staff, record_set_id: int) -> Json:
        """The header of a set."""
        kept = self._found(staff, record_set_id)
        return _header(kept) | {
            "Name": kept.name,
            "CreatorName": kept.creator_name,
            "ModifierID": 0,
            "CreationDate": _date(kept.created_at),
            "Note": kept.note,
            "NumberOfRecords": len(kept.records),
            "RecordStatusID": 1,
        }

    def owner(self, record_set_id: int) -> Json:
        """Whose it is, to anybody who is logged in."""
        return _header(self._found(None, record_set_id))

    def records(self, staff: Staff, record_set_id: int, *, start: int, count: int) -> Json:
        """A page of what is in it; a count of 0 is everything."""
        kept = self._found(staff, record_set_id)
        page = kept.records[start : start + count if count else None]
        return {"ObjectTypeID": kept.object_type, "Records": [_record(kept.object_type, one) for one in page]}

    def _taken(self, ids: list[int]) -> tuple[list[int], list[str]]:
        taken: dict[int, None] = {}
        warnings = []
        for one in ids:
            if one in taken:
                warnings.append(f"Duplicate id {one}.")
            elif self.known is not None and one not in self.known:
                warnings.append(f"Record id {one} does not exist.")
            else:
                taken[one] = None
        return list(taken), warnings

    def _found(self, staff: Staff | None, record_set_id: int) -> RecordSet:
        if staff is not None and not staff.may_read:
            raise Denied(403, "Permission(s) not granted.")
        if record_set_id not in self.record_sets:
            raise _traced(404, "Record set not found.")
        return self.record_sets[record_set_id]


def _read(sent: Any) -> RecordSet:
    """The set that was asked for; what is not one is rejected as ASP.NET rejects what it cannot bind."""
    wrong: dict[str, list[str]] = {}
    sent = sent if isinstance(sent, dict) else {}
    name, kind, records = sent.get("Name"), sent.get("ObjectTypeID"), sent.get("Records") or []
    if not isinstance(name, str) or not name.strip():
        wrong["Name"] = ["The Name field is required."]
    if kind not in _TYPES:
        wrong["ObjectTypeID"] = ["The field ObjectTypeID is invalid."]
    if not isinstance(records, list) or not all(_is_id(one) for one in records):
        wrong["Records"] = ["The field Records is invalid."]
    for member in ("CreatorID", "OrganizationOwnerID"):
        if sent.get(member) not in (None, 0) and not _is_id(sent[member]):
            wrong[member] = [f"The field {member} is invalid."]
    if wrong:
        raise Denied(400, "The request is invalid.", ModelState=wrong)
    return RecordSet(
        id=0,
        name=str(name),
        object_type=int(kind or 0),
        creator=sent.get("CreatorID") or 0,
        creator_name="",
        owner=sent.get("OrganizationOwnerID") or None,
        note=sent.get("Note"),
        created_at=0.0,
        records=records,
    )


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST


def _traced(status: int, message: str) -> Denied:
    trace = "   at Simulated.RecordSets.Get(Int32 id)"
    seen: Json = {"MessageDetail": None, "StackTrace": trace, "InnerException": None, "Data": {}}
    return Denied(status, message, ErrorCode=90_000 + status, **seen)


def _header(kept: RecordSet) -> Json:
    return {
        "RecordSetID": kept.id,
        "Name": None,
        "ObjectTypeID": kept.object_type,
        "CreatorID": kept.creator,
        "CreatorName": None,
        "ModifierID": None,
        "ModifierName": None,
        "OrganizationOwnerID": kept.owner or 0,
        "CreationDate": "0001-01-01T00:00:00-05:00",
        "ModificationDate": None,
        "Note": None,
        "NumberOfRecords": 0,
        "RecordStatusID": 0,
    }


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _record(object_type: int, one: int) -> Json:
    """A record as the documented samples show them, of simulated content."""
    if object_type == 1:
        about: Json = {"Heading": f"Heading {one}", "ControlNumber": one, "LinkedBibCount": 1, "IsName": True}
    elif object_type == 2:
        about = {"Title": f"Title {one}", "Author": None, "PublicationDate": "1995", "ControlNumber": one}
    elif object_type == 27:
        about = {"Barcode": f"{21_000_000_000_000 + one}", "PatronName": f"Patron {one}", "RecordStatusID": 1}
    else:
        about = {
            "Title": f"Title {one}",
            "Barcode": f"{one:013}",
            "LastActivityDate": "2000-11-29T00:00:00-05:00",
        }
    return {"RecordID": one, **about}
