"""sha256, the only digest that names anything here: a checked type, and hashing while bytes pass."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Union

_HEX = re.compile(r"[0-9a-f]{64}\Z")


class Sha256(str):
    """A full sha256 as 64 lower-case hexadecimal digits. To build one is to validate it.

    Raises:
        ValueError: the text is anything else (a shorter hint included: hints are plain strings).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Sha256:
        if not _HEX.match(text):
            raise ValueError("a sha256 is 64 lower-case hexadecimal digits")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: Union[bytes, bytearray, memoryview]) -> Sha256:
        return cls(hashlib.sha256(data).hexdigest())

    def matches_hint(self, hint: str) -> bool:
        """Whether ``hint`` (the first 8 or more digits, as in published file names) fits this digest."""
        return self.startswith(hint.lower())

    def repr_digest(self) -> str:
        """The value of a ``Repr-Digest`` field (RFC 9530, section 3): a structured-field byte sequence."""
        return f"sha-256=:{base64.b64encode(bytes.fromhex(self)).decode()}:"


class Hasher:
    """Counts and hashes bytes while they pass."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()
        self.size = 0

    def update(self, data: Union[bytes, bytearray, memoryview]) -> None:
        self._state.update(data)
        self.size += len(data)

    def digest(self) -> Sha256:
        return Sha256(self._state.hexdigest())
