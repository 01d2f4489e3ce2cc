"""Bytes of a file to a socket by sendfile(2): no copy through this process, and no wait on the event loop.

A page that is not in memory blocks the thread that asks for it, so every call is made in a small pool. The socket is
not blocking: when it takes no more, the event loop waits for it.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from zooproxy.errors import BlobCorrupt

SLICE: Final = 8 << 20  # bytes for one call into the pool: long enough to hide the hop, short enough to share the pool

_POOL_THREADS: Final = 8


class SendfilePool:
    """The threads that call sendfile; threads start when first needed."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_POOL_THREADS, "sendfile")

    def submit(self, transfer: Transfer) -> Future[bool]:
        return self._threads.submit(transfer.slice)


class Transfer:
    """``count`` bytes from ``offset`` on, from one descriptor to another; ``send`` once, ``abort`` at any time.

    Works on duplicates of both descriptors: whoever owns the originals may close them while a thread is still inside
    the kernel, and a number that was closed may already be another file.
    """

    def __init__(self, socket: int, file: int, offset: int, count: int) -> None:
        self._socket = os.dup(socket)
        self._file = os.dup(file)
        self._offset = offset
        self._left = count
        self._writable: asyncio.Future[None] | None = None
        self._aborted = False

    async def send(self, pool: SendfilePool) -> None:
        """
        Raises:
            ConnectionError: the client has left, or ``abort`` was called.
            BlobCorrupt: the file ends early.
        """
        running: Future[bool] | None = None
        try:
            while self._left:
                if self._aborted:
                    raise ConnectionAbortedError
                running = pool.submit(self)
                if not await asyncio.wrap_future(running):
                    await self._until_writable()
        finally:
            # Cancelled while a thread is inside: it closes them, a moment later.
            if running is None or running.done() or running.cancel():
                self._close()
            else:
                running.add_done_callback(lambda _: self._close())

    def slice(self) -> bool:
        """Sends until the slice is done (True) or the socket takes no more (False). Runs in a thread."""
        end = max(self._left - SLICE, 0)
        while self._left > end:
            try:
                sent = os.sendfile(self._socket, self._file, self._offset, self._left - end)
            except BlockingIOError:
                return False
            if not sent:
                raise BlobCorrupt(f"a blob ends {self._left} bytes early; it has to be fetched again")
            self._offset += sent
            self._left -= sent
        return True

    def abort(self) -> None:
        """Ends a wait for a client that is gone."""
        self._aborted = True
        self._wake()

    async def _until_writable(self) -> None:
        loop = asyncio.get_running_loop()
        self._writable = loop.create_future()
        loop.add_writer(self._socket, self._wake)
        try:
            await self._writable
        finally:
            loop.remove_writer(self._socket)
            self._writable = None

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def _close(self) -> None:
        os.close(self._socket)
        os.close(self._file)
