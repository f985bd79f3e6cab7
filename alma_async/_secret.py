"""A secret, and what keeps it out of all that is shown: its own repr, a message that repeats it, the
frames of an exception that hold it.

Decides which forms of a secret are never shown. Where texts are masked by them is ``_text``'s.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import wraps
from inspect import iscoroutinefunction, isfunction, signature
from typing import Any, Final, NoReturn, ParamSpec, Self, TypeVar
from urllib.parse import quote

from alma_async._text import MASK, holds_secret, keep_from_print
from alma_async.errors import AlmaError, ConfigurationError

__all__ = ["SHORTEST", "Secret", "bare", "discreet", "secret_forms", "secretive", "texts_of"]

P = ParamSpec("P")
C = TypeVar("C")
E = TypeVar("E", bound=BaseException)
R = TypeVar("R")


def secretive(function: Callable[P, R]) -> Callable[P, R]:
    """For what is given secrets: an exception leaves it without the frames that hold them.

    Many programs show a traceback with the values of local variables. Here it begins at a frame
    that holds nothing.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is raised again
            escaped = _quiet(bare(error), function, args, kwargs)
        del args, kwargs
        try:
            raise escaped
        finally:
            del escaped  # its traceback leads here: a cycle

    return guarded


def discreet(cls: type[C]) -> type[C]:
    """For a class the methods of which are given no secrets: where one is given all the same, by
    mistake or inside of something, an exception leaves the method without the frames that hold it.
    """
    for name, member in list(vars(cls).items()):
        if isfunction(member) and not name.startswith("_"):
            setattr(cls, name, _awaited(member) if iscoroutinefunction(member) else secretive(member))
    return cls


def _awaited(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    @wraps(function)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            if not _may_hold_secret(args, kwargs):
                raise
            escaped = bare(error)
        del args, kwargs
        try:
            raise escaped
        finally:
            del escaped  # its traceback leads here: a cycle

    return guarded


def _may_hold_secret(*given: object) -> bool:
    try:
        text = repr(given)
        return MASK in text or holds_secret(text)  # a model masks its own repr
    except Exception:  # noqa: BLE001 - a strange object's own doing
        return True


_SECRETS: Final = frozenset({"api_key", "key", "token", "password", "secrets", "auth", "proxy"})


def texts_of(secret: object) -> Iterable[str]:
    """The texts that what was given for a secret holds."""
    if isinstance(secret, Secret):
        return (secret.reveal(),)
    if callable(headers := getattr(secret, "authorise", None)):
        return tuple(headers().values())
    return (secret,) if isinstance(secret, str) else ()


def _quiet(error: E, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> E:
    """The error, the message of which repeats none of the secrets that were given: pasted twice,
    say.
    """
    given = {**dict(zip(signature(function).parameters, args, strict=False)), **kwargs}
    secrets = [value for name, value in given.items() if name in _SECRETS]
    texts = [text for one in secrets for text in texts_of(one) if "//" not in text or "@" in text]
    if isinstance(error, AlmaError):
        for form in secret_forms(one for one in texts if one.isprintable()):
            error.message = error.message.replace(form, MASK)
        error.args = (error.message,)
    return error


def bare(error: E) -> E:
    """The exception without the frames that it came through, nor those of what led to it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def secret_forms(credential: Iterable[str]) -> list[str]:
    """The secrets in the values of a credential's headers, as they are and as they may be encoded:
    what is never to be repeated.
    """
    secrets, whole = [], []
    for value in credential:
        word = value.rpartition(" ")[2]
        secrets += [word, *word.split(":")[1:], *_basic(word)]
        whole += [base64.b64encode(value.encode()).decode().rstrip("=")] if value != word else []
    return [*whole, *(form for secret in secrets if len(secret) >= SHORTEST for form in _forms(secret))]


SHORTEST: Final = 6  # characters from which a text is no coincidence


def _basic(word: str) -> list[str]:
    """The password of ``Authorization: Basic``."""
    try:
        return base64.b64decode(word, validate=True).decode().split(":", 1)[1:]
    except ValueError:
        return []


def _forms(secret: str) -> set[str]:
    plain = secret.encode()
    return {
        secret,
        secret.replace("/", "\\/"),
        quote(secret, safe=""),
        "".join(f"%{byte:02X}" for byte in plain),
        "".join(f"%{byte:02x}" for byte in plain),
        secret.upper(),
        secret.lower(),
        base64.b64encode(plain).decode().rstrip("="),
        base64.urlsafe_b64encode(plain).decode().rstrip("="),
        plain.hex(),
        plain.hex().upper(),
    }


class Secret:
    """A value that shows itself to nobody but ``reveal()``: not in repr, str, format, pickle or
    copies.

    :raises ConfigurationError: where it is no text, is shorter than six characters, or holds some
        that no header may carry.
    """

    __slots__ = ("__forms", "__reveal", "__weakref__")

    @secretive
    def __init__(self, value: str) -> None:
        given: object = value
        text = given.strip() if isinstance(given, str) else ""
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise ConfigurationError("The key is empty or holds characters that no header may carry.")
        if len(text) < SHORTEST:
            raise ConfigurationError(
                f"The key has fewer than {SHORTEST} characters: copy the whole of it. (One so short "
                "could not be distinguished from other words, and so not be hidden where an answer "
                "repeats it.)"
            )
        # Closures, not attributes: walking the object's state finds functions, never the text.
        self.__reveal: Callable[[], str] = lambda: text
        forms = tuple(secret_forms([text]))
        self.__forms: Callable[[], tuple[str, ...]] = lambda: forms
        keep_from_print(self)

    @classmethod
    def of(cls, value: str | Self) -> Self:
        """Any text, unchecked: whoever uses it checks it, so that no frame that may raise holds the
        text itself.
        """
        if isinstance(value, cls):
            return value
        secret, text = cls.__new__(cls), str(value).strip()
        secret.__reveal, secret.__forms = (lambda: text), tuple
        return secret

    def reveal(self) -> str:
        """The text itself, for the one place that writes it into a header."""
        return self.__reveal()

    def forms(self) -> tuple[str, ...]:
        """The text as it is and as it may be encoded: what is never shown, and never part of a URL."""
        return self.__forms()

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
