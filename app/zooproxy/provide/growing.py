"""A source's bytes while they arrive, for any number of readers.

Readers share one descriptor's file through the page cache and have positions of their own; nothing is copied per
reader and a slow one slows nobody. The last ``HOLD_BACK`` bytes are shown to no one before the whole is proven, so that
nobody can ever hold a complete wrong file.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import BinaryIO, Final

from zooproxy.cache.blobs import BLOCK_BYTES, HeldBlob
from zooproxy.cache.claims import mark_read
from zooproxy.digest import Sha256
from zooproxy.errors import FetchError

HOLD_BACK: Final = 64 << 10
_MARKS = 5  # seconds over which the speed is taken


class Growing:
    """Written by the one fill of ``url`` in this process, whether it leads or watches another's."""

    def __init__(self, url: str, pin: Sha256 | None = None) -> None:
        """``pin``: the digest that the whole will have, where it is known beforehand."""
        self.url = url
        self.pin = pin
        self.candidate = ""
        self.attempt = 0
        self.length: int | None = None
        self.size = 0
        self.generation = 0
        self._name = ""
        self._file: BinaryIO | None = None
        self._outcome: HeldBlob | Exception | None = None
        self._proven = False
        self._changed = asyncio.Event()
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)
        self._then: list[Callable[[HeldBlob], None]] = []

    # -- the fill's side -----------------------------------------------------------------------------------

    def trying(self, candidate: str, attempt: int) -> None:
        self.candidate, self.attempt = candidate, attempt
        self._tell()

    def begin(self, name: str, file: BinaryIO, length: int | None, size: int) -> None:
        """The staged bytes ``name`` are what grows from now on; unless they are what grew before, readers start anew.

        ``file`` belongs to this object, whatever becomes of it.
        """
        if name == self._name:
            file.close()
        else:
            self._close()
            self._file, self._name = file, name
            self.generation += 1
        self.length, self.size = length, size
        self._marks.clear()
        self._mark()
        self._tell()

    def advance(self, size: int) -> None:
        self.size = size
        self._mark()
        self._tell()

    def speed(self) -> int:
        """Bytes per second of the last seconds."""
        if not self._marks:
            return 0
        since, size = self._marks[0]
        elapsed = time.monotonic() - since
        return int(max(0, self.size - size) / elapsed) if elapsed > 0 else 0

    def _mark(self) -> None:
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, self.size))

    def forget(self) -> None:
        """What had come is not believed any more."""
        if self._file is not None:
            self._close()
            self._name = ""
            self.generation += 1
            self.length, self.size = None, 0
            self._tell()

    def prove(self) -> None:
        """All that came is what was wanted: the rest may be shown while the disk still makes it durable."""
        self._proven = True
        self._tell()

    def finish(self, blob: HeldBlob) -> None:
        self._outcome = blob
        self.length = self.size = blob.size
        if self._file is not None:
            mark_read(self._file)  # and with it the duplicates of those who follow: they read the blob from now on
        self._close()
        self._tell()
        for call in self._then:
            call(blob)

    def fail(self, error: Exception) -> None:
        self._outcome = error
        self._close()
        self._tell()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # -- the readers' side ---------------------------------------------------------------------------------

    def when_done(self, call: Callable[[HeldBlob], None]) -> None:
        """``call`` is made with the blob if the fill ends well; at once if it has."""
        if isinstance(self._outcome, HeldBlob):
            call(self._outcome)
        else:
            self._then.append(call)

    async def opened(self) -> HeldBlob | Following:
        """As soon as a first byte may be shown: what can be read, or the blob where all is done.

        Raises:
            ZooproxyError: the fill failed before that.
        """
        while True:
            if isinstance(self._outcome, HeldBlob):
                return self._outcome
            # Once proven it is a blob in a moment, with all that a blob's reply can tell.
            if self._file is not None and not self._proven and self.shown(self.generation) > 0:
                return Following(self, self.generation, self.length)
            await self.change()

    async def done(self) -> HeldBlob:
        """The published blob.

        Raises:
            ZooproxyError: the fill failed.
        """
        while not isinstance(self._outcome, HeldBlob):
            await self.change()
        return self._outcome

    async def change(self) -> None:
        """Returns when something has changed since this call; at once, raising, if the fill has failed."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        await self._changed.wait()

    def shown(self, generation: int) -> int:
        """How many bytes a reader of ``generation`` may have by now.

        Raises:
            ZooproxyError: the fill failed, or began anew with bytes that need not be the same.
        """
        if isinstance(self._outcome, Exception):
            raise self._outcome
        if generation != self.generation:
            raise FetchError("the transfer began anew in the middle; ask again", url=self.url)
        if self._outcome is not None or self._proven:
            return self.size
        if self.length is None:
            return max(0, self.size - HOLD_BACK)
        return max(0, min(self.size, self.length - HOLD_BACK))

    @property
    def is_whole(self) -> bool:
        """Whether no byte will come any more."""
        return self._proven or isinstance(self._outcome, HeldBlob)

    def file(self) -> BinaryIO:
        """A handle of the reader's own over what grows, to be closed by it; its position means nothing."""
        if isinstance(self._outcome, HeldBlob):
            return self._outcome.file()
        if self._file is None:
            raise FetchError("nothing of the transfer is there any more; ask again", url=self.url)
        return os.fdopen(os.dup(self._file.fileno()), "rb")


class Following:
    """What grows, as one reader sees it: ``length`` in bytes, None as long as nobody has declared it."""

    def __init__(self, growing: Growing, generation: int, length: int | None) -> None:
        self._growing = growing
        self._generation = generation
        self.length = length

    def file(self) -> BinaryIO:
        """A handle over the bytes, for ``read`` or for the kernel; the caller closes it.

        Raises:
            ZooproxyError: the fill failed, or began anew.
        """
        self._growing.shown(self._generation)
        return self._growing.file()

    async def spans(self, start: int, length: int | None) -> AsyncGenerator[tuple[int, int]]:
        """Offset and count of bytes that may be read, in order, as they come, of ``[start, start + length)``.

        To the end, wherever that is, if ``length`` is None.

        Raises:
            ZooproxyError: the fill failed, or began anew.
        """
        growing, position = self._growing, start
        end = None if length is None else start + length
        while position != end:
            shown = growing.shown(self._generation)
            upto = shown if end is None else min(shown, end)
            if position < upto:
                count = min(upto - position, BLOCK_BYTES)
                yield position, count
                position += count
            elif end is None and growing.is_whole:
                return
            else:
                await growing.change()

    def read(self, file: BinaryIO, offset: int, count: int) -> bytes:
        """The bytes of a span.

        Raises:
            FetchError: the file is shorter than it was.
        """
        block = os.pread(file.fileno(), count, offset)
        if len(block) < count:
            raise FetchError("the transfer's file lost bytes that it had; ask again", url=self._growing.url)
        return block
