"""How many wrong tokens an address has tried lately: guessing what an operator chose must not be quick."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from zooproxy.errors import TooManyWrongTokens

MOST: Final = 10  # in a window
WINDOW_SECONDS: Final = 60.0
ADDRESSES: Final = 4096  # remembered at once; the one whose window began first makes room


class WrongTokens:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def refuse_if_too_many(self, peer: str) -> None:
        """
        Raises:
            TooManyWrongTokens: ``peer`` is not heard until its window ends.
        """
        begun, count = self._window(peer)
        if count >= MOST:
            left = begun + WINDOW_SECONDS - self._clock()
            raise TooManyWrongTokens(
                f"{MOST} wrong tokens came from this address; it is heard again in {left:.0f} s", retry_after=left
            )

    def count(self, peer: str) -> None:
        begun, count = self._window(peer)
        self._windows[peer] = begun, count + 1
        while len(self._windows) > ADDRESSES:
            self._windows.popitem(last=False)

    def _window(self, peer: str) -> tuple[float, int]:
        """When the window of ``peer`` began, and how many wrong tokens it has had since."""
        now = self._clock()
        begun, count = self._windows.get(peer, (now, 0))
        if now - begun < WINDOW_SECONDS:
            return begun, count
        del self._windows[peer]
        return now, 0
