"""What a client can be told: frozen values, checked when made, and how the environment spells them.

Decides nothing at run time. Numbers that come from Alma say so; what is only inferred about Alma can be set here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias, TypeVar
from urllib.parse import urlsplit

import attrs

from alma_async.errors import ConfigurationError

__all__ = [
    "REGIONS",
    "JobLimits",
    "Limits",
    "Priority",
    "RetryPolicy",
    "Secret",
    "Timeouts",
    "from_environment",
    "origin_of",
    "state_dir",
]

# Documented: the servers of Ex Libris' OpenAPI documents (2026-05-29). Other spellings seen in the wild are wrong or old.
REGIONS: Final[Mapping[str, str]] = {
    "na": "https://api-na.hosted.exlibrisgroup.com",
    "eu": "https://api-eu.hosted.exlibrisgroup.com",
    "ap": "https://api-ap.hosted.exlibrisgroup.com",
    "aps": "https://api-aps.hosted.exlibrisgroup.com",
    "ca": "https://api-ca.hosted.exlibrisgroup.com",
    "cn": "https://api-cn.hosted.exlibrisgroup.com.cn",
}


class Priority(Enum):
    """Who goes first when calls wait. ``BULK`` stops at the reserve, ``NORMAL`` lower, ``INTERACTIVE`` at zero."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BULK = "bulk"

    __hash__ = (
        object.__hash__
    )  # Enum's own is a Python function, and the governor looks a line up for every call


class Secret:
    """A value that shows itself to nobody but ``reveal()``: not in repr, str, format, pickle or copies."""

    __slots__ = ("__reveal",)

    def __init__(self, value: str) -> None:
        text = value.strip()
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ConfigurationError("The key is empty or holds characters that no header may carry.")
        # A closure, not an attribute: walking the object's state finds a function, never the text.
        self.__reveal: Callable[[], str] = lambda: text

    def reveal(self) -> str:
        """The text itself, for the one place that writes it into a header."""
        return self.__reveal()

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())


def _positive(_: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not value > 0 or value == float("inf"):
        raise ConfigurationError(f"{attribute.name} must be a positive number, not {value!r}.")


def _reserve(value: float | str) -> float | str:
    """``forecast``, a number of calls, or a share such as ``10%`` (kept as text)."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text == "forecast" or re.fullmatch(r"\d{1,2}(\.\d+)?%", text, re.ASCII):
            return text
        if re.fullmatch(r"\d{1,12}", text, re.ASCII):
            return float(text)
    elif value >= 0:
        return value
    raise ConfigurationError(
        f"A reserve is 'forecast', a number of calls, or a share such as '10%', not {value!r}."
    )


@attrs.frozen(kw_only=True)
class Limits:
    """What may be used of the institution's allowance.

    ``per_second``: 25 is documented (slides of 2016); one newer third-party source says 50 in production and 10 in a
    sandbox. ``reserve``: what bulk work leaves of the daily quota for everybody else. ``margin``: how much wider than
    ``1 / per_second`` the spacing starts. ``in_flight``: calls under way at once, at most; 300 are 25 a second at 12 s
    each (a POST of 11.1 s was recorded). ``hold``: the most seconds for which refusals for too many calls a second hold
    everything back; one by itself does so for a fifth of it.
    """

    per_second: float = attrs.field(default=25.0, validator=_positive)
    reserve: float | str = attrs.field(default="forecast", converter=_reserve)
    pacing: Literal["even", "greedy"] = attrs.field(
        default="even", validator=attrs.validators.in_(("even", "greedy"))
    )
    courtesy: Literal["normal", "polite"] = attrs.field(
        default="normal", validator=attrs.validators.in_(("normal", "polite"))
    )
    margin: float = attrs.field(default=0.01, validator=[attrs.validators.ge(0), attrs.validators.le(0.5)])
    in_flight: int = attrs.field(default=300, validator=_positive)
    hold: float = attrs.field(default=1.0, validator=_positive)


@attrs.frozen(kw_only=True)
class JobLimits:
    """What Alma lets the API do with jobs (documented): 3 running, 5 starts of one job in an hour.

    ``margin`` (chosen) is for how far Alma's own clock may be from the ``Date`` it tells.
    """

    running: int = attrs.field(default=3, validator=_positive)
    starts: int = attrs.field(default=5, validator=_positive)
    window: float = attrs.field(default=3600.0, validator=_positive)
    margin: float = attrs.field(default=2.0, validator=attrs.validators.ge(0))

    @property
    def span(self) -> float:
        """Seconds for which a start counts."""
        return self.window + self.margin


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often one call is sent again, and how long it waits in between.

    Only what provably had no effect is ever sent again: reads, and writes that were not sent or not processed. ``attempts``
    counts sends of one call that failed for another reason than being throttled; throttled sends are bounded by
    ``throttled``.
    """

    attempts: int = attrs.field(default=4, validator=_positive)
    throttled: int = attrs.field(default=8, validator=_positive)
    first_wait: float = attrs.field(default=0.5, validator=_positive)
    longest_wait: float = attrs.field(default=30.0, validator=_positive)


@attrs.frozen(kw_only=True)
class Timeouts:
    """Seconds. POSTs of 7.7 s and 11.1 s were recorded and one write was applied 52 s into a request: hence 120 for
    writes.
    """

    connect: float = attrs.field(default=10.0, validator=_positive)
    read: float = attrs.field(default=60.0, validator=_positive)
    write: float = attrs.field(default=120.0, validator=_positive)


_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def origin_of(base_url: str) -> str:
    """``scheme://host[:port]`` of a base URL, checked: https anywhere, http on loopback only, nothing after the host.

    :raises ConfigurationError: for any other scheme, credentials, a path, a query or a fragment.
    """
    try:
        parts = urlsplit(base_url.strip().rstrip("/"))
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"The base URL {base_url!r} is not a URL.") from None
    host = parts.hostname or ""
    if "@" in parts.netloc or parts.query or parts.fragment or parts.path or not host or not host.isascii():
        raise ConfigurationError(
            f"The base URL must be scheme://host[:port] and nothing more, such as https://api.example.org, not {base_url!r}."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ConfigurationError(
            "The base URL must begin with https:// (http:// only for this machine itself)."
        )
    shown = f"[{host}]" if ":" in host else host
    default = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, default) else "")


def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where ledger, journals and the machine's budget live: ``ALMA_STATE_DIR``, else the user's state directory."""
    env = os.environ if environ is None else environ
    if named := env.get("ALMA_STATE_DIR"):
        return Path(named).expanduser()
    base = env.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "alma-async"


def from_environment(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a client as the environment gives them, below those given by hand.

    :raises ConfigurationError: where no key is found, or a number is not one.
    """
    found: dict[str, Any] = {
        name: environ[variable]
        for name, variable in (
            ("region", "ALMA_REGION"),
            ("base_url", "ALMA_BASE_URL"),
            ("institution", "ALMA_INSTITUTION"),
            ("language", "ALMA_LANGUAGE"),
        )
        if environ.get(variable)
    }
    if "region" in overrides or "base_url" in overrides:  # where to is one choice, made in one place
        found = {name: value for name, value in found.items() if name not in ("region", "base_url")}
    if "limits" not in overrides:
        found["limits"] = limits_from(environ)
    if "job_limits" not in overrides:
        found["job_limits"] = job_limits_from(environ)
    if "api_key" not in overrides:
        found["api_key"] = _key_from(environ)
    return {**found, **overrides}


T = TypeVar("T", Limits, JobLimits)

# Each variable: the limit it sets, how its text is read, and what is asked for where it cannot be.
_Variables: TypeAlias = Mapping[str, tuple[str, Callable[[str], Any], str]]
_LIMITS: Final[_Variables] = {
    "ALMA_PER_SECOND": ("per_second", float, "a positive number of calls a second"),
    "ALMA_DAILY_RESERVE": ("reserve", str, "'forecast', a number of calls, or a share such as '10%'"),
    "ALMA_PACING": ("pacing", str, "'even' or 'greedy'"),
    "ALMA_COURTESY": ("courtesy", str, "'normal' or 'polite'"),
    "ALMA_IN_FLIGHT": ("in_flight", int, "a positive whole number of calls"),
    "ALMA_MARGIN": ("margin", float, "a share between 0 and 0.5"),
}
_JOB_LIMITS: Final[_Variables] = {
    "ALMA_JOBS_RUNNING": ("running", int, "a positive whole number of jobs"),
    "ALMA_JOB_STARTS": ("starts", int, "a positive whole number of starts of one job in an hour"),
}


def limits_from(environ: Mapping[str, str]) -> Limits:
    """What the variables say over the defaults.

    :raises ConfigurationError: where one cannot be; it names the variable.
    """
    return _changed(Limits(), _LIMITS, environ)


def job_limits_from(environ: Mapping[str, str]) -> JobLimits:
    """The same for the job guard.

    :raises ConfigurationError: where one cannot be; it names the variable.
    """
    return _changed(JobLimits(), _JOB_LIMITS, environ)


def _changed(limits: T, variables: _Variables, environ: Mapping[str, str]) -> T:
    for variable, (name, read, wanted) in variables.items():
        if text := environ.get(variable):
            try:
                limits = attrs.evolve(limits, **{name: read(text)})
            except (ConfigurationError, ValueError):
                raise ConfigurationError(f"{variable} must be {wanted}, not {text!r}.") from None
    return limits


def _key_from(environ: Mapping[str, str]) -> Secret:
    if text := environ.get("ALMA_API_KEY") or environ.get("ALMA_APIKEY"):
        return Secret(text)
    if path := environ.get("ALMA_API_KEY_FILE"):
        try:
            return Secret(Path(path).read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            unreadable = True
        if unreadable:
            raise ConfigurationError(f"ALMA_API_KEY_FILE names {path!r}, which cannot be read as a key.")
    raise ConfigurationError(
        "No API key: set ALMA_API_KEY (or ALMA_API_KEY_FILE to the path of a file that holds it)."
    )
