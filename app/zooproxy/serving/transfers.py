"""How many bodies leave at once: a bounded number, a bounded queue behind it, and a word to those beyond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from zooproxy.errors import TooBusy

RETRY_SECONDS: Final = 5.0


class Transfers:
    """``at_once`` bodies, and as many requests waiting for one of them to end, in order of arrival."""

    def __init__(self, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._waiting = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """
        Raises:
            TooBusy: the queue is full too.
        """
        if self._slots.locked() and self._waiting >= self._at_once:
            message = f"this proxy sends {self._at_once} files at once and has as many requests waiting; try again"
            raise TooBusy(message, retry_after=RETRY_SECONDS)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()


class LimitedResponse(Response):
    """A response whose body takes one of the transfers; one without a body takes none."""

    def __init__(self, inner: Response, transfers: Transfers) -> None:
        self._inner = inner
        self._transfers = transfers
        self.status_code = inner.status_code
        self.background = inner.background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD" or self.status_code not in (200, 206):
            await self._inner(scope, receive, send)
            return
        async with self._transfers.slot():
            await self._inner(scope, receive, send)
