"""The service as several processes on one listening socket and one data directory.

::

    parent ── the bound socket ──> every worker
       │  <── "ready" from each; then the parent says that it listens
       ├── SIGTERM, SIGINT ──> SIGTERM to every worker; the parent ends with the last of them
       ├── SIGHUP ──> SIGHUP to every worker: each reads the settings again
       └── a worker that dies is started again; one that dies before it was ready ends them all

The parent serves nothing itself, and imports nothing that does. One socket, not one for each worker (SO_REUSEPORT): a
connection that waits for a worker which dies is taken by another, and a second service on the same port is still
refused. Between workers, a fill is led and followed as between any processes on one data directory.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from zooproxy.errors import NotReady
from zooproxy.serving.process import listen, run_until_done, tell
from zooproxy.serving.settings import Settings

_READY = b"+"
_PAUSE_SECONDS = 1.0  # before a worker that died is started again

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serves with ``settings.workers`` processes until SIGINT or SIGTERM.

    Raises:
        SettingsError, NotReady: it cannot start.
    """
    run_until_done(_serve(settings))


async def _serve(settings: Settings) -> None:
    with listen(settings) as listening:
        await Workers(listening, settings.workers).run(ready=lambda: tell(listening, settings))


class Tether:
    """A worker's end of what connects it with its parent: it says once that it is ready, and learns if it is alone."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)

    @asynccontextmanager
    async def held(self, alone: Callable[[], None]) -> AsyncIterator[None]:
        """Says that the worker is ready; within it, ``alone`` is called when the parent has ended, however it did."""
        holding = asyncio.create_task(self._hold(alone))
        try:
            yield
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)

    async def _hold(self, alone: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):  # it ended while this worker was starting
            await loop.sock_sendall(self._socket, _READY)
            await loop.sock_recv(self._socket, 1)
        alone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class Workers:
    """``count`` workers over ``listening``; ``run`` once."""

    def __init__(self, listening: socket.socket, count: int) -> None:
        self._listening = listening
        self._count = count
        self._ready: set[Process] = set()
        self._hangups = 0
        self._ending = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Returns when all have ended after a signal; ``ready`` is called when all serve.

        Raises:
            NotReady: a worker ended before it could serve; its own words on stderr say why.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on)
        serving = [asyncio.Event() for _ in range(self._count)]
        try:
            async with asyncio.TaskGroup() as group:
                for event in serving:
                    group.create_task(self._kept(event))
                for event in serving:
                    await event.wait()
                if not self._ending.is_set():
                    ready()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    def _pass_on(self) -> None:
        self._hangups += 1
        for process in self._ready:
            process.send_signal(signal.SIGHUP)

    async def _kept(self, serving: asyncio.Event) -> None:
        """One worker, and the next one when it dies; ``serving`` is set when it serves, or when that is over."""
        while not self._ending.is_set():
            hangups = self._hangups
            async with _started(self._listening) as worker:
                said = await self._unless_ending(worker.said())
                if not said and not self._ending.is_set():
                    await worker.process.wait()  # it may not have said yet what it has to say
                    raise NotReady("a worker ended before it could serve; what it said before tells why")
                serving.set()
                self._ready.add(worker.process)
                if hangups != self._hangups:  # it may have read the settings before they were changed
                    worker.process.send_signal(signal.SIGHUP)
                await self._unless_ending(worker.process.wait())
                self._ready.discard(worker.process)
            if not self._ending.is_set():
                status = worker.process.returncode
                _log.error("worker %d ended with status %s; another one is started", worker.process.pid, status)
                await self._unless_ending(asyncio.sleep(_PAUSE_SECONDS))
        serving.set()

    async def _unless_ending(self, waited_for: Coroutine[Any, Any, _T]) -> _T | None:
        """What ``waited_for`` returns; None as soon as the service is to end."""
        work, ending = asyncio.create_task(waited_for), asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({work, ending}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            work.cancel()
            ending.cancel()
            await asyncio.gather(work, ending, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Worker:
    process: Process
    tether: socket.socket

    async def said(self) -> bytes:
        """That it is ready; nothing where it ended before."""
        return await asyncio.get_running_loop().sock_recv(self.tether, 1)


@asynccontextmanager
async def _started(listening: socket.socket) -> AsyncIterator[_Worker]:
    """A worker; at the end of the context it is told to end, and has ended."""
    tether, its = socket.socketpair()
    tether.setblocking(False)
    with tether:
        with its:
            handed = (listening.fileno(), its.fileno())
            command = [sys.executable, "-m", "zooproxy", "serve", "--worker", *map(str, handed)]
            process = await asyncio.create_subprocess_exec(*command, pass_fds=handed)
        try:
            yield _Worker(process, tether)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
