"""What the environment says of Polaris: ``POLARIS_BASE_URL``, who we are, where we are logged on, and our own politeness.

Decides how each variable is read. One way to log in is taken: a staff user where ``POLARIS_USER`` is set, else a key, else a
bearer token; a secret comes from its variable or from a file (``…_FILE``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from alma_async.errors import ConfigurationError
from alma_async.polaris.login import ApiKey, Auth, BearerToken, StaffPassword
from alma_async.settings import Limits, secretive

__all__ = ["LIMITS", "from_environment"]

# Ours, not the vendor's: Polaris states no limits at all. It often is one server in a library's own rooms.
LIMITS: Final = Limits(per_second=10.0, in_flight=4)

# Each variable: the argument it gives, and how its text is read.
_ARGUMENTS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "POLARIS_BASE_URL": ("base_url", str),
    "POLARIS_ORGANIZATION_ID": ("organization_id", int),
    "POLARIS_WORKSTATION_ID": ("workstation_id", int),
    "POLARIS_PRODUCT_ID": ("product_id", int),
    "POLARIS_SITE_DOMAIN": ("site_domain", str),
    "POLARIS_LANGUAGE": ("language", str),
}
_LIMITS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "POLARIS_PER_SECOND": ("per_second", float),
    "POLARIS_IN_FLIGHT": ("in_flight", int),
}
_NEEDED: Final = ("POLARIS_BASE_URL", "POLARIS_ORGANIZATION_ID", "POLARIS_WORKSTATION_ID")


@secretive
def from_environment(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a client as the environment gives them, below those given by hand.

    :raises ConfigurationError: where a variable is missing or wrong; it names the variable.
    """
    found = {name: value for name, value in _read(environ, _ARGUMENTS).items() if name not in overrides}
    if "limits" not in overrides:
        found["limits"] = _limits(environ)
    if "auth" not in overrides:
        found["auth"] = _auth(environ)
    arguments = {**found, **overrides}
    if missing := [variable for variable in _NEEDED if _ARGUMENTS[variable][0] not in arguments]:
        raise ConfigurationError(f"Set {', '.join(missing)}.")
    return arguments


def _read(
    environ: Mapping[str, str], table: Mapping[str, tuple[str, Callable[[str], Any]]]
) -> dict[str, Any]:
    found = {}
    for variable, (name, read) in table.items():
        if text := environ.get(variable):
            try:
                found[name] = read(text)
            except ValueError:
                raise ConfigurationError(f"{variable} must be a number, not {ascii(text)[:60]}.") from None
    return found


def _limits(environ: Mapping[str, str]) -> Limits:
    try:
        return attrs.evolve(LIMITS, **_read(environ, _LIMITS))
    except ConfigurationError as error:
        wrong = error.message
    raise ConfigurationError(f"{' or '.join(_LIMITS)} is wrong: {wrong}")


def _auth(environ: Mapping[str, str]) -> Auth:
    if user := environ.get("POLARIS_USER"):
        password = _secret(environ, "POLARIS_PASSWORD")
        if password is None or not environ.get("POLARIS_DOMAIN"):
            raise ConfigurationError(
                "POLARIS_USER needs POLARIS_DOMAIN and POLARIS_PASSWORD (or POLARIS_PASSWORD_FILE)."
            )
        return StaffPassword(environ["POLARIS_DOMAIN"], user, password)
    if key := _secret(environ, "POLARIS_API_KEY"):
        return ApiKey(key)
    if token := _secret(environ, "POLARIS_BEARER_TOKEN"):
        return BearerToken(token)
    raise ConfigurationError(
        "No login: set POLARIS_DOMAIN, POLARIS_USER and POLARIS_PASSWORD (or POLARIS_PASSWORD_FILE), or POLARIS_API_KEY, "
        "or POLARIS_BEARER_TOKEN."
    )


def _secret(environ: Mapping[str, str], variable: str) -> str | None:
    """A secret, or the first line of the file that holds it."""
    if text := environ.get(variable):
        return text
    path = environ.get(f"{variable}_FILE")
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, ValueError, RuntimeError):
        pass
    # What it says is not quoted: it may be the secret itself.
    raise ConfigurationError(f"{variable}_FILE must be the path of a file that can be read.")
