"""What a client can be set up with: frozen values, checked when made, and how the environment
spells them.

Decides nothing at run time. Numbers that come from Alma say so; what is only inferred about Alma
can be set here.
"""

from __future__ import annotations

import math
import os
import re
import ssl
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import SplitResult, urlsplit

import attrs

from alma_async._secret import SHORTEST, Secret, secretive, texts_of
from alma_async._storage.files import user_state_dir
from alma_async.errors import AlmaError, ConfigurationError

__all__ = [
    "COUNT",
    "EXPECTED",
    "FLAG",
    "LABEL",
    "LANGUAGE",
    "NOT_NEGATIVE",
    "POSITIVE",
    "PRIORITY",
    "REGIONS",
    "RETRY",
    "SSL",
    "TEXT",
    "TIMEOUT",
    "WHOLE",
    "Check",
    "Environment",
    "JobLimits",
    "Limits",
    "Priority",
    "RetryPolicy",
    "Timeouts",
    "check_all",
    "from_environment",
    "instance_of",
    "one_of",
    "origin_of",
    "priority_of",
    "read_only_from",
    "shown",
    "shown_url",
    "state_dir",
]

# Documented: the servers of Ex Libris' OpenAPI documents (2026-05-29). Other spellings seen in the
# wild are wrong or old.
REGIONS: Final[Mapping[str, str]] = {
    "na": "https://api-na.hosted.exlibrisgroup.com",
    "eu": "https://api-eu.hosted.exlibrisgroup.com",
    "ap": "https://api-ap.hosted.exlibrisgroup.com",
    "aps": "https://api-aps.hosted.exlibrisgroup.com",
    "ca": "https://api-ca.hosted.exlibrisgroup.com",
    "cn": "https://api-cn.hosted.exlibrisgroup.com.cn",
}


class Priority(Enum):
    """Who goes first when calls wait.

    ``BULK`` stops at the reserve, ``NORMAL`` lower, ``INTERACTIVE`` at zero.
    """

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BULK = "bulk"


# Enum's own is a Python function, and the governor finds a line by it for every call. Here, so that
# checkers know the class.
Priority.__hash__ = object.__hash__  # type: ignore[method-assign]


Environment: TypeAlias = Literal["sandbox", "production"]
"""Where a key works: the kinds of environment that ``expect`` can name."""


@attrs.frozen
class Check:
    """What an option may be: a test, and the words for it.

    The one place where a wrong option becomes an error.
    """

    wanted: str
    allows: Callable[[Any], bool]

    def __call__(self, _: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        """As a validator of attrs."""
        self.require(attribute.name, value)

    def require(self, name: str, value: Any, error: type[AlmaError] = ConfigurationError) -> None:
        """Raise unless the option ``name`` can be this.

        :param error: what is raised: ``ConfigurationError`` for what a client is set up with,
            ``InvalidRequest`` for what a call is given.
        :raises ConfigurationError: naming option, value and what it may be.
        """
        try:
            allowed = self.allows(value)
        except Exception:  # noqa: BLE001 - a strange object's own doing
            allowed = False
        if not allowed:
            raise error(f"{name} must be {self.wanted}, not {shown(value)}.")

    def or_none(self) -> Check:
        """A check that also allows None."""
        return Check(f"{self.wanted}, or None", lambda value: value is None or self.allows(value))


def check_all(
    checks: Mapping[str, Check], given: Mapping[str, Any], error: type[AlmaError] = ConfigurationError
) -> None:
    """Raise unless each of the options can be what was given for it.

    :raises ConfigurationError: or ``error``, as in ``Check.require``, at the first that cannot.
    """
    for name, check in checks.items():
        check.require(name, given[name], error)


def shown(value: Any) -> str:
    """A value for a message: whatever it is, on one line and short."""
    if isinstance(value, str):
        text = shown_url(value) if "//" in value or "?" in value else ascii(value)
    elif value is None or isinstance(value, (int, float)):
        text = ascii(value)
    else:  # what is in it may be a secret, and may be anything
        kind = type(value).__name__
        text = f"{'an' if kind[0] in 'AEIOUaeio' else 'a'} {kind}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_of(choices: Iterable[str]) -> Check:
    """One of these texts."""
    known = tuple(choices)
    return Check(
        f"one of {', '.join(map(repr, known))}", lambda value: isinstance(value, str) and value in known
    )


def instance_of(kind: type | tuple[type, ...], words: str) -> Check:
    """An object of a kind, or of one of several."""
    return Check(words, lambda value: isinstance(value, kind))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


POSITIVE: Final = Check("a positive number", lambda value: _number(value) and value > 0)
WHOLE: Final = Check(
    "a positive whole number",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
)
NOT_NEGATIVE: Final = Check("a number, 0 or more", lambda value: _number(value) and value >= 0)
COUNT: Final = Check(
    "a whole number, 0 or more",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
)
FLAG: Final = instance_of(bool, "True or False")
TEXT: Final = instance_of(str, "a text")
EXPECTED: Final = one_of(get_args(Environment)).or_none()
LANGUAGE: Final = Check(
    "a code such as 'en'",
    lambda value: (
        isinstance(value, str)
        and re.fullmatch("[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?", value, re.ASCII) is not None
    ),
)


def priority_of(value: Any) -> Any:
    """The priority that a text names; what is none is left for ``PRIORITY`` to reject."""
    return next((one for one in Priority if value == one.value), value)


SSL: Final = Check(
    "an SSLContext that checks certificate and host name",
    lambda value: (
        isinstance(value, ssl.SSLContext) and value.verify_mode is ssl.CERT_REQUIRED and value.check_hostname
    ),
)
PRIORITY: Final = Check(
    f"a Priority, or one of {', '.join(repr(one.value) for one in Priority)}",
    lambda value: isinstance(value, Priority),
)


def _reserve(value: float | str) -> float | str:
    """A number that came as a text is one; other texts in lower case."""
    if isinstance(value, str):
        text = value.strip().lower()
        return float(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) else text
    return value


def _is_reserve(value: Any) -> bool:
    if isinstance(value, str):
        return value == "forecast" or re.fullmatch(r"\d{1,2}(\.\d+)?%", value, re.ASCII) is not None
    return _number(value) and value >= 0


_RESERVE: Final = Check("'forecast', a number of calls, or a share such as '10%'", _is_reserve)
_MARGIN: Final = Check("a share between 0 and 0.5", lambda value: _number(value) and 0 <= value <= 0.5)


@attrs.frozen(kw_only=True)
class Limits:
    """The share of the institution's allowance that may be used.

    :param per_second: 25 is documented (slides of 2016); one newer third-party source says 50 in
        production, 10 in a sandbox
    :param reserve: what bulk work leaves of the daily quota: ``forecast``, or at least a number of
        calls or a share such as ``50%``, where that is more than the forecast
    :param pacing: bulk work over the day: ``even`` spreads it to the reset, ``greedy`` does not
    :param margin: how much wider than ``1 / per_second`` the spacing starts
    :param in_flight: calls under way at once, at most; 300 are 25 a second at 12 s each (a POST of
        11.1 s was recorded)
    :param hold: the most seconds for which the per-second threshold holds all calls; a single
        rejection holds a fifth of it
    :param members: machines that are taken to share the rate where the store that they share cannot
        say how many there are
    """

    per_second: float = attrs.field(default=25.0, validator=POSITIVE)
    reserve: float | str = attrs.field(default="forecast", converter=_reserve, validator=_RESERVE)
    pacing: Literal["even", "greedy"] = attrs.field(default="even", validator=one_of(("even", "greedy")))
    margin: float = attrs.field(default=0.01, validator=_MARGIN)
    in_flight: int = attrs.field(default=300, validator=WHOLE)
    hold: float = attrs.field(default=1.0, validator=POSITIVE)
    members: int = attrs.field(default=4, validator=WHOLE)


@attrs.frozen(kw_only=True)
class JobLimits:
    """The limits of jobs that the API starts (documented): 3 running, 5 starts of one job in an hour.

    ``margin`` (chosen) is for how far Alma's own clock may be from the ``Date`` that it sends.
    """

    running: int = attrs.field(default=3, validator=WHOLE)
    starts: int = attrs.field(default=5, validator=WHOLE)
    window: float = attrs.field(default=3600.0, validator=POSITIVE)
    margin: float = attrs.field(default=2.0, validator=NOT_NEGATIVE)

    @property
    def span(self) -> float:
        """Seconds for which a start counts."""
        return self.window + self.margin


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """The rules by which one call is sent again: how often, and how long it waits in between.

    Only reads are ever sent again, and writes that provably were not sent or not processed. All
    numbers are chosen.

    :param attempts: how often one call is sent at most, throttled sends not counted
    :param throttled: how often one call may be throttled before that is its error
    :param first_wait: seconds of the first wait (none where nothing was sent); each further one is
        twice as long, and all are shortened at random, by half at most
    :param longest_wait: seconds of one wait at most, unless the server asks for more
        (``Retry-After``)
    """

    attempts: int = attrs.field(default=4, validator=WHOLE)
    throttled: int = attrs.field(default=8, validator=WHOLE)
    first_wait: float = attrs.field(default=0.5, validator=POSITIVE)
    longest_wait: float = attrs.field(default=30.0, validator=POSITIVE)


@attrs.frozen(kw_only=True)
class Timeouts:
    """Seconds.

    POSTs of 7.7 s and 11.1 s were recorded and one write was applied 52 s into a request: hence 120
    for writes.
    """

    connect: float = attrs.field(default=10.0, validator=POSITIVE)
    read: float = attrs.field(default=60.0, validator=POSITIVE)
    write: float = attrs.field(default=120.0, validator=POSITIVE)


RETRY: Final = instance_of(RetryPolicy, "RetryPolicy(...)")
TIMEOUT: Final = Check(
    "a positive number of seconds, or Timeouts(...)",
    lambda value: isinstance(value, Timeouts) or POSITIVE.allows(value),
)
LABEL: Final = Check(
    "a label that can be printed", lambda value: isinstance(value, str) and value.isprintable()
)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


# A host as names and addresses are written; no other character ever reaches a resolver or an error
# of its library.
_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", re.ASCII
)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is read here, since reading it can fail
    except ValueError:
        return None
    return parts


def shown_url(url: str) -> str:
    """A URL or path for a message: without what may be a secret (user, password, query, fragment),
    and not too long.
    """
    plain = re.split(r"[?#]", url, maxsplit=1)[0].strip()
    before, slashes, rest = plain.rpartition("//")
    return ascii(f"{before}{slashes}{rest.rpartition('@')[2]}")[:120]


@secretive
def origin_of(base_url: str) -> str:
    """``scheme://host[:port]`` of a base URL, checked: https anywhere, http on loopback only,
    nothing after the host.

    :raises ConfigurationError: for any other scheme, credentials, a path, a query or a fragment.
    """
    TEXT.require("base_url", base_url)
    parts = _split(base_url.strip().rstrip("/"))
    host = parts.hostname or "" if parts else ""
    if (
        parts is None
        or not base_url.strip().isprintable()
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
        or parts.path
        or not _HOST.fullmatch(host)
    ):
        raise ConfigurationError(
            "The base URL must be scheme://host[:port] and nothing more, such as https://api.example.org, "
            f"not {shown_url(base_url)}."
        )
    port = parts.port
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ConfigurationError(
            "The base URL must begin with https:// (http:// only for this machine itself)."
        )
    named = f"[{host}]" if ":" in host else host
    default = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{named}" + (f":{port}" if port not in (None, default) else "")


@secretive
def state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where ledger, journals and the machine's budget live: ``ALMA_STATE_DIR``, else the user's
    state directory of this system.
    """
    env = os.environ if environ is None else environ
    if named := env.get("ALMA_STATE_DIR"):
        try:
            return Path(named).expanduser()
        except RuntimeError:
            raise ConfigurationError(
                f"ALMA_STATE_DIR begins with a user's home that is not known: {shown(named)}."
            ) from None
    return user_state_dir(env)


@secretive
def from_environment(environ: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a client as the environment gives them, below those given by hand.

    :raises ConfigurationError: where no key is found, or a number is not one.
    """
    found: dict[str, Any] = {} if "api_key" in overrides else {"api_key": _key_from(environ)}
    _keep_apart(environ, overrides.get("api_key", found.get("api_key")))
    found |= {
        name: environ[variable]
        for name, variable in (
            ("region", "ALMA_REGION"),
            ("base_url", "ALMA_BASE_URL"),
            ("institution", "ALMA_INSTITUTION"),
            ("language", "ALMA_LANGUAGE"),
        )
        if environ.get(variable)
    }
    if "region" in overrides or "base_url" in overrides:  # the address is one choice, made in one place
        found = {name: value for name, value in found.items() if name not in ("region", "base_url")}
    if (proxy := environ.get("ALMA_PROXY")) and "proxy" not in overrides and "trust_env" not in overrides:
        found |= {"trust_env": True} if proxy == "environment" else {"proxy": Secret.of(proxy)}
    if "limits" not in overrides:
        found["limits"] = limits_from(environ)
    if "job_limits" not in overrides:
        found["job_limits"] = job_limits_from(environ)
    if overrides.get("read_only", False) is False:
        overrides = {**overrides, "read_only": read_only_from(environ)}
    if "expect" not in overrides and (expected := environ.get("ALMA_EXPECT")):
        found["expect"] = _expected(expected)
    return {**found, **overrides}


_SWITCHES: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
}


def read_only_from(environ: Mapping[str, str]) -> bool:
    """What ``ALMA_READ_ONLY`` says; False where it is not set. No argument and no option lifts it.

    :raises ConfigurationError: where it is neither yes nor no. Nothing may be written by a slip of
        the pen.
    """
    text = environ.get("ALMA_READ_ONLY", "")
    if (found := _SWITCHES.get(text.strip().lower())) is None:
        raise ConfigurationError(f"ALMA_READ_ONLY must be 1 or 0, not {shown(text)}.")
    return found


def _expected(text: str) -> str:
    if text.strip().lower() not in get_args(Environment):
        raise ConfigurationError(
            f"ALMA_EXPECT must be {' or '.join(get_args(Environment))}, not {shown(text)}."
        )
    return text.strip().lower()


T = TypeVar("T", Limits, JobLimits)
S = TypeVar("S")

# Each variable: the limit it sets, how its text is read, and what is asked for where it cannot be.
LimitVariables: TypeAlias = Mapping[str, tuple[str, Callable[[str], Any], str]]
_LIMITS: Final[LimitVariables] = {
    "ALMA_PER_SECOND": ("per_second", float, "a positive number of calls a second"),
    "ALMA_DAILY_RESERVE": ("reserve", str, "'forecast', a number of calls, or a share such as '10%'"),
    "ALMA_PACING": ("pacing", str, "'even' or 'greedy'"),
    "ALMA_IN_FLIGHT": ("in_flight", int, "a positive whole number of calls"),
    "ALMA_MARGIN": ("margin", float, "a share between 0 and 0.5"),
    "ALMA_MEMBERS": ("members", int, "a positive whole number of machines"),
}
_JOB_LIMITS: Final[LimitVariables] = {
    "ALMA_JOBS_RUNNING": ("running", int, "a positive whole number of jobs"),
    "ALMA_JOB_STARTS": ("starts", int, "a positive whole number of starts of one job in an hour"),
}


@secretive
def limits_from(environ: Mapping[str, str]) -> Limits:
    """What the variables say over the defaults.

    :raises ConfigurationError: where one cannot be; it names the variable.
    """
    return limits_by(Limits(), _LIMITS, environ)


@secretive
def job_limits_from(environ: Mapping[str, str]) -> JobLimits:
    """The job guard's limits: what the variables say over the defaults.

    :raises ConfigurationError: where one cannot be; it names the variable.
    """
    return limits_by(JobLimits(), _JOB_LIMITS, environ)


def limits_by(limits: T, variables: LimitVariables, environ: Mapping[str, str]) -> T:
    for variable, (name, read, wanted) in variables.items():
        if text := environ.get(variable):
            try:
                limits = attrs.evolve(limits, **{name: read(text)})
            except (ConfigurationError, ValueError):
                raise ConfigurationError(f"{variable} must be {wanted}, not {shown(text)}.") from None
    return limits


def _keep_apart(environ: Mapping[str, str], key: object) -> None:
    """Raise where the key stands in another variable: other variables are quoted, logged, and name
    files.
    """
    keys = [text for text in texts_of(key) if len(text) >= SHORTEST]
    for variable, text in environ.items():
        if not variable.startswith("ALMA_") or variable in _KEYS:
            continue
        if any(one in text for one in keys):
            raise ConfigurationError(f"{variable} holds the API key: that belongs in ALMA_API_KEY alone.")


_KEYS: Final = frozenset({"ALMA_API_KEY", "ALMA_APIKEY"})


@secretive
def secret_file(variable: str, path: str, *, kind: Callable[[str], S]) -> S:
    """The secret in the file that a variable names, which may begin with a mark of its encoding, as
    editors of Windows write it.

    :raises ConfigurationError: where it cannot be read; it names the variable alone.
    """
    with suppress(OSError, UnicodeDecodeError, ValueError, RuntimeError):
        data = Path(path).expanduser().read_bytes()
        is_utf_16 = data.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        return kind(data.decode("utf-16" if is_utf_16 else "utf-8-sig"))
    raise ConfigurationError(  # outside: what it says may be the secret itself
        f"{variable} cannot be read: it must be the path of a file that holds it."
    )


def _key_from(environ: Mapping[str, str]) -> Secret:
    if text := environ.get("ALMA_API_KEY") or environ.get("ALMA_APIKEY"):
        return Secret(text)
    if path := environ.get("ALMA_API_KEY_FILE"):
        return secret_file("ALMA_API_KEY_FILE", path, kind=Secret)
    raise ConfigurationError(
        "No API key: set ALMA_API_KEY (or ALMA_API_KEY_FILE to the path of a file that holds it)."
    )
