"""Circuit breakers: a host that failed several fills in a row is left alone for a while, then probed by one.

::

    closed --failures--> open --rest over--> half-open --probe delivers--> closed
                          ^                      |
                          +------probe fails-----+
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from zooproxy.errors import UpstreamResting

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half-open"


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    rests_until: float = 0.0
    probing: bool = False


class Breakers:
    """One circuit per host (``host[:port]``); ``rest_seconds`` is how long an open one refuses."""

    def __init__(
        self, failures: int = 5, rest_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}

    def states(self) -> Mapping[str, str]:
        """The state of each host that has failed lately."""
        return {host: self._state(circuit) for host, circuit in self._circuits.items()}

    def enter(self, host: str, url: str) -> None:
        """Before a host is asked.

        Raises:
            UpstreamResting: its circuit is open, or half open and probed by another.
        """
        circuit = self._circuits.get(host)
        if circuit is None or circuit.failures < self._failures:
            return
        left = circuit.rests_until - self._clock()
        if left > 0 or circuit.probing:
            raise UpstreamResting(
                f"the host '{host}' failed {circuit.failures} times in a row and is left alone for a while",
                url=url,
                retry_after=max(left, 1.0),
            )
        circuit.probing = True

    def delivered(self, host: str) -> None:
        """The host works, whatever it said."""
        self._circuits.pop(host, None)

    def failed(self, host: str) -> None:
        circuit = self._circuits.setdefault(host, _Circuit())
        circuit.failures += 1
        circuit.probing = False
        circuit.rests_until = self._clock() + self._rest_seconds

    def left(self, host: str) -> None:
        """The asking ended without a verdict on the host (it was cancelled, or failed on our side)."""
        if host in self._circuits:
            self._circuits[host].probing = False

    def _state(self, circuit: _Circuit) -> str:
        if circuit.failures < self._failures:
            return CLOSED
        return OPEN if circuit.rests_until > self._clock() else HALF_OPEN
