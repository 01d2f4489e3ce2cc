"""Work that is done again and again in the background for as long as the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from zooproxy.errors import ZooproxyError

_log = logging.getLogger(__name__)


class Again:
    """Tells that the work is due now."""

    def __init__(self) -> None:
        self._due = asyncio.Event()

    def ask(self) -> None:
        self._due.set()

    async def asked(self, patience: float) -> None:
        """Returns when somebody asks, or after ``patience`` seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()


@asynccontextmanager
async def repeated(work: Callable[[], Awaitable[None]], seconds: float, doing: str) -> AsyncIterator[Again]:
    """Does ``work`` every so many ``seconds``, and when asked, within the context; a round that began is ended.

    A round that fails is told in the log (``doing`` names it), and the next one comes.
    """
    again, ending = Again(), asyncio.Event()

    async def rounds() -> None:
        while not ending.is_set():
            await again.asked(seconds)
            if not ending.is_set():
                await _tried(work, doing)

    task = asyncio.create_task(rounds())
    try:
        yield again
    finally:
        ending.set()
        again.ask()
        await task


async def _tried(work: Callable[[], Awaitable[None]], doing: str) -> None:
    try:
        await work()
    except ZooproxyError as error:
        _log.warning("%s failed and is tried again: %s: %s", doing, error.slug, error)
    except Exception:  # noqa: BLE001  # a bug in one round must not end all those after it
        _log.exception("%s failed and is tried again", doing)
