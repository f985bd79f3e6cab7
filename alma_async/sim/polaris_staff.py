"""Who may use a simulated Polaris: staff logins, their tokens, and the lock after too many failures.

Decides who a caller is, and for how long; knows no web and no clock. Documented: Basic with the domain in the user name, the
members of the answer, `PAS site:token:secret`, empty tokens for a checked API key, a token of 32 and a secret of 16 characters;
the lock after three failures in five minutes and 24 h for a token are documented for PAPI and inferred here. How long a
lock lasts is not known. That a locked account is refused like a wrong password is inferred.
"""

from __future__ import annotations

import base64
import binascii
import random
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import attrs

Json = dict[str, Any]

_FAILURES, _WITHIN = 3, 300.0


class Denied(Exception):
    """A call that Polaris refuses."""

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
    """Whether the end of a token is told with an offset; both were seen."""
    lock: float = 900.0
    tokens_for_keys: bool = False
    """Whether a bearer token is answered by a token; not known."""
    logins: int = 0
    refused: int = 0
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
            self.refused += 1
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
            told = base64.b64decode(given, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        name, _, password = told.partition(":")
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
