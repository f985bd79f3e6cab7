"""The calls of Polaris.ApplicationServices that are known, as data, and the six parts that most of
their URLs carry.

Documented: the parts, their order and values, and all calls here. Calls that change a set's
contents, delete, undelete or search exist (Leap makes them), but no known page names them: none is
guessed.
"""

from __future__ import annotations

from typing import Final

import attrs

from alma_async._http.routes import Route
from alma_async.errors import ConfigurationError, InvalidRequest

__all__ = [
    "LOGIN",
    "LOGIN_OAUTH",
    "RECORDS",
    "RECORD_SET",
    "RECORD_SETS",
    "ROOT",
    "SITE_DOMAIN",
    "STATUS",
    "Place",
    "at_site",
]

ROOT: Final = "/Polaris.ApplicationServices/api"
SITE_DOMAIN: Final = "[A-Za-z0-9._-]{1,64}"  # inferred: what can be a domain and no other part of a URL

_LOGIN: Final = f"{ROOT}/v1/{{language}}/{{product}}/authentication/staffuser"
_PLACE: Final = f"{ROOT}/v1/{{language}}/{{product}}/{{site}}/{{organization}}/{{workstation}}"
_SITE: Final = 6  # where the site domain stands between the slashes of a path under _PLACE

_PARTS: Final = {
    "language": "ara|chi|eng|fas|fre|hat|haw|kor|rus|spa|vie",
    "product": "1?[0-9]|2[0-4]",
    "site": SITE_DOMAIN,
    "organization": "[1-9][0-9]{0,9}",
    "workstation": "[1-9][0-9]{0,9}",
    "record_set_id": "[1-9][0-9]{0,9}",
}

STATUS: Final = Route("GET", ROOT, "GET status")
LOGIN: Final = Route("POST", _LOGIN, "POST login", _PARTS)
LOGIN_OAUTH: Final = Route("POST", f"{_LOGIN}/oauth", "POST login", _PARTS)
RECORD_SETS: Final = Route("POST", f"{_PLACE}/recordsets", "POST record set", _PARTS)
RECORD_SET: Final = Route("GET", f"{_PLACE}/recordsets/{{record_set_id}}", "GET record set", _PARTS)
RECORDS: Final = Route("GET", f"{_PLACE}/recordsets/{{record_set_id}}/records", "list records", _PARTS)


@attrs.frozen(kw_only=True)
class Place:
    """Where somebody is logged on: the parts of each URL, checked.

    ``product_id`` 20 is Leap's own (documented; 19 is seen in one client). ``site_domain`` is the
    documented default; what the login names takes its place.
    """

    organization_id: int
    workstation_id: int
    language: str = "eng"
    product_id: int = 20
    site_domain: str = "polaris"

    def __attrs_post_init__(self) -> None:
        try:
            RECORD_SETS.bind(*self.parts)
        except InvalidRequest as error:
            wrong = error.message
        else:
            return
        raise ConfigurationError(wrong)

    @property
    def parts(self) -> tuple[str, ...]:
        """In the order of the path."""
        numbers = (str(self.organization_id), str(self.workstation_id))
        return (self.language, str(self.product_id), self.site_domain, *numbers)


def at_site(path: str, site_domain: str) -> str:
    """A path below a place, with this site domain in it."""
    parts = path.split("/")
    return "/".join((*parts[:_SITE], site_domain, *parts[_SITE + 1 :]))
