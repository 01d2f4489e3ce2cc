"""The digest of bytes whose parts arrive over several connections, in any order: hashed behind them, first to last."""

from __future__ import annotations

import threading
from typing import Callable, Final

from zooproxy.client.parts import Part
from zooproxy.digest import Hasher, Sha256

_PIECE: Final = 1 << 20


class InOrder:
    """Whoever completes a part hashes what is whole from the beginning on, unless somebody is at it already.

    ``read`` gives bytes of the memory that have arrived: where from, how many. Only whole parts are looked at: one that
    broke off is received again, and may then be another.
    """

    def __init__(self, read: Callable[[int, int], memoryview]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._arrived: dict[int, int] = {}
        self._at = 0
        self._is_hashing = False
        self._hasher = Hasher()

    def completed(self, part: Part) -> None:
        """``part`` is whole; called from any thread, once for each part."""
        with self._lock:
            self._arrived[part.span.at] = part.span.at + part.span.size
            if self._is_hashing:
                return
            self._is_hashing = True
        while self._has_next():
            self._hash_to(self._arrived.pop(self._at))

    def digest(self) -> Sha256:
        """Of everything, once every part is whole."""
        return self._hasher.digest()

    def _has_next(self) -> bool:
        with self._lock:
            self._is_hashing = self._at in self._arrived
            return self._is_hashing

    def _hash_to(self, stop: int) -> None:
        while self._at < stop:
            data = self._read(self._at, min(_PIECE, stop - self._at))
            self._hasher.update(data)
            self._at += len(data)
