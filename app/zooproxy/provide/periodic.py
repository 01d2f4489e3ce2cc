"""Work that is done again and again in the background for as long as the service runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from zooproxy.errors import ZooproxyError

_log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]


@asynccontextmanager
async def repeated(work: Work, seconds: float, doing: str) -> AsyncIterator[None]:
    """Does ``work`` every so many ``seconds`` within the context; a round that began is ended.

    A round that fails is told in the log (``doing`` names it), and the next one comes.
    """
    ending = asyncio.Event()
    task = asyncio.create_task(_rounds(work, seconds, doing, ending))
    try:
        yield
    finally:
        ending.set()
        await task


async def _rounds(work: Work, seconds: float, doing: str, ending: asyncio.Event) -> None:
    while True:
        try:
            async with asyncio.timeout(seconds):
                await ending.wait()
            return
        except TimeoutError:
            await _tried(work, doing)


async def _tried(work: Work, doing: str) -> None:
    try:
        await work()
    except ZooproxyError as error:
        _log.warning("%s failed and is tried again: %s: %s", doing, error.slug, error)
    except Exception:  # noqa: BLE001  # a bug in one round must not end all those after it
        _log.exception("%s failed and is tried again", doing)
