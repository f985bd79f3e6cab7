"""A small file that keeps a value from one run to the next: sealed, owned by this user alone,
and naming what it is of.

Decides whether a file is just what was written, here and for this; one that is not is never used.
What a value means is its writer's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import attrs

from alma_async._http.json_text import dumps, loads
from alma_async._storage.files import OwnFile, private_directory
from alma_async._storage.seal import Seal
from alma_async._text import logger
from alma_async.errors import AlmaError
from alma_async.settings import state_dir

__all__ = ["KeptFile"]

_log = logger("alma_async.load")
T = TypeVar("T")

_SEAL: Final = 16  # characters of the seal before the text
# chosen: bytes of a file that are read, some 500,000 records of an index of identifiers
_LARGEST: Final = 64 * 2**20


@attrs.frozen
class KeptFile:
    """One such file. All methods block."""

    path: Path
    of: list[str]

    @classmethod
    def named(cls, directory: str, *of: str, end: str = "json") -> Self:
        """The file of this, in that directory of the state directory."""
        name = sha256("\0".join(of).encode()).hexdigest()[:32]
        return cls(state_dir() / directory / f"{name}.{end}", list(of))

    def read(self, structure: Callable[[Any], T], otherwise: T) -> T:
        """What it holds, or ``otherwise``: where there is no file, and with a warning where the file is
        not what was written. Never fails.
        """
        try:
            if self.path.is_file():
                with closing(self.open()) as file, file.locked():
                    return structure(self.believed(file.read(_LARGEST)))
        except (OSError, AlmaError, ValueError, TypeError, KeyError):
            _log.warning("%s is not what was written, and is not used.", self.path)
        return otherwise

    def write(self, held: Any) -> None:
        """Keep this in place of what it holds. Never fails: where it cannot
        be kept, a warning says so.
        """
        try:
            with closing(self.open()) as file, file.locked():
                file.replace(self.sealed(held))
        except (OSError, AlmaError) as error:
            _log.warning("What was learned cannot be kept for the next run: %s: %s.", self.path, error)

    def open(self) -> OwnFile:
        """The file itself, made where there is none; to be closed.

        :raises OSError: where it is not this user's alone.
        """
        private_directory(self.path.parent)
        return OwnFile(self.path)

    def sealed(self, held: Any) -> bytes:
        """What stands in the file for this."""
        body = dumps({"of": self.of, "held": held})
        return _seal(body) + body

    def believed(self, text: bytes) -> Any:
        """What a file of this holds.

        :raises ValueError: where it is not what was written.
        """
        if text[:_SEAL] != _seal(text[_SEAL:]):
            raise ValueError(_OTHER)
        found = loads(text[_SEAL:])
        if found["of"] != self.of:
            raise ValueError(_OTHER)
        return found["held"]


_OTHER: Final = "not what was written"


def _seal(body: bytes) -> bytes:
    return Seal.of(state_dir())((body,)).hex().encode()
