"""What is worth asking again, how often, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from zooproxy.errors import (
    FetchError,
    RangeNotBelieved,
    UpstreamStalled,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)

_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_ATTEMPTS: Final = 200  # of one candidate, however much progress each of them made


def passes(error: FetchError) -> bool:
    """Whether the same upstream may do better when asked again."""
    if isinstance(error, UpstreamStatus):
        return error.status in _PASSING and not error.verdict
    return isinstance(error, (UpstreamUnreachable, UpstreamTruncated, UpstreamStalled, RangeNotBelieved))


def blames_host(error: FetchError) -> bool:
    """Whether the failure says something about the host, and not about this one file."""
    if isinstance(error, UpstreamStatus):
        return error.status in _PASSING and not error.verdict
    return isinstance(error, (UpstreamUnreachable, UpstreamStalled))


@dataclass(frozen=True, slots=True)
class Retries:
    """Exponential backoff with jitter.

    Attributes:
        tries: attempts in a row that bring no new byte, the first one included; an attempt that did begins a new row.
        first_delay, longest_delay: in seconds; the delay doubles from the one up to the other.
        longest_wait: how many seconds of a Retry-After are waited for; a longer one ends the tries.
    """

    tries: int = 5
    first_delay: float = 0.5
    longest_delay: float = 20.0
    longest_wait: float = 60.0
    jitter: Callable[[], float] = field(default=random.random)

    def delay(self, error: FetchError, fruitless: int, attempt: int) -> float | None:
        """Seconds to wait after ``error``; None to give up. ``fruitless`` attempts in a row brought nothing new."""
        delay = self.pause(fruitless, attempt) if passes(error) else None
        asked = error.retry_after if isinstance(error, UpstreamStatus) else None
        if asked is None or delay is None:
            return delay
        return max(asked, delay) if asked <= self.longest_wait else None

    def pause(self, fruitless: int, attempt: int) -> float | None:
        """As ``delay``, after what is worth another try whatever it was."""
        if fruitless >= self.tries or attempt >= _MOST_ATTEMPTS:
            return None
        delay: float = min(self.first_delay * 2.0 ** max(fruitless - 1, 0), self.longest_delay)
        return delay * (0.5 + self.jitter() / 2)
