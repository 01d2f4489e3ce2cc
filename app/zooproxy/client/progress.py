"""A progress bar for people: one line on a terminal, nothing anywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Optional, TextIO

_WIDTH = 30
_SECONDS_BETWEEN = 0.1
_LEAST_BYTES = 1 << 20


class Progress:
    """Draws how much of ``total`` bytes has arrived; a transfer of less than a mebibyte draws nothing."""

    def __init__(self, label: str, total: int, stream: Optional[TextIO] = None) -> None:
        self._label = "".join(character for character in label if character.isprintable())
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._shown = total >= _LEAST_BYTES and self._stream is not None and self._stream.isatty()
        self._done = 0
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._shown:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._shown and now - self._drawn >= _SECONDS_BETWEEN:
            self._drawn = now
            self._draw()

    def _draw(self) -> None:
        share = self._done / self._total
        bar = "#" * int(share * _WIDTH)
        speed = self._done / max(time.monotonic() - self._started, 1e-3)
        self._stream.write(
            f"\r{self._label} [{bar:<{_WIDTH}}] {share:4.0%} of {self._total / 1e6:,.0f} MB, {speed / 1e6:,.0f} MB/s "
        )
        self._stream.flush()


class Bar:
    """A progress bar whose total is known only once the answer has begun."""

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown
        self._progress: Optional[Progress] = None
        self._done = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)

    def report(self, label: str, done: int, total: Optional[int]) -> None:
        if self._progress is None:
            self._progress = Progress(label, (total or 0) if self._shown else 0)
        self._progress.advance(done - self._done)
        self._done = done
