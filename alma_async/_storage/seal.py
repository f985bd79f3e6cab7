"""The seal of a record: whether it is what was written, and by whom.

A flipped byte inside a value is seen by no database, and who can write a file can write its
checksums. So a record is sealed with a secret: of this installation where it is in a file, of the
store where it is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import attrs

from alma_async._storage.files import OwnFile, own_directory

__all__ = ["Seal"]

_SIZE: Final = 32  # bytes of the secret


@attrs.frozen
class Seal:
    """Seals records with a secret."""

    _secret: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, directory: Path) -> Seal:
        """The installation whose state lies in ``directory``; its secret is made where there is
        none.

        :raises OSError: where it cannot be kept for this user alone.
        """
        own_directory(directory)
        file = OwnFile(directory / "secret")
        try:
            with file.locked():
                secret = file.read(_SIZE)
                if len(secret) < _SIZE:
                    secret = os.urandom(_SIZE)
                    file.write(secret)
                    file.sync()
        finally:
            file.close()
        return cls(secret)

    def __call__(self, values: Iterable[Any]) -> bytes:
        """The seal of a record's values."""
        return blake2b(repr(tuple(values)).encode(), key=self._secret, digest_size=8).digest()

    @property
    def name(self) -> str:
        """An id of this secret, which shows nothing of it."""
        return blake2b(b"name", key=self._secret, digest_size=8).hexdigest()
