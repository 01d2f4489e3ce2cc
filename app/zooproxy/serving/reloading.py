"""Settings read again on SIGHUP: all that can be replaced while the service runs is, at once, or nothing is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from zooproxy.errors import SettingsError
from zooproxy.provide.audit import an_entry
from zooproxy.serving.settings import RELOADED, Settings, read_settings
from zooproxy.serving.tls import load_certificate, server_context
from zooproxy.serving.wiring import Service

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys by what becomes of them: ``taken`` over now, or only by a ``restart``."""

    taken: tuple[str, ...]
    restart: tuple[str, ...]


class Reloading:
    """``settings`` are those in force; ``tls`` is what new connections are greeted with, None without TLS.

    ``read`` says what this process is to keep to.
    """

    def __init__(
        self,
        settings: Settings,
        service: Service,
        tls: ssl.SSLContext | None = None,
        read: Callable[[], Settings] = read_settings,
    ) -> None:
        self.settings = settings
        self._service = service
        self._tls = tls
        self._read = read

    async def reload(self) -> Changes:
        """Takes over what the settings say now.

        Raises:
            SettingsError: one of them is wrong; all are as they were.
        """
        read = self._read()
        changed = [key for key in Settings.model_fields if getattr(read, key) != getattr(self.settings, key)]
        restart = tuple(key for key in changed if key not in RELOADED)
        settings = read.model_copy(update={key: getattr(self.settings, key) for key in restart})
        take_over = await asyncio.to_thread(self._service.prepared, settings)
        self._renew(settings)
        take_over()
        self.settings = settings
        return Changes(tuple(key for key in changed if key in RELOADED), restart)

    def _renew(self, settings: Settings) -> None:
        """The certificate's files may say something new under the same names."""
        fresh = server_context(settings)
        if (fresh is None) != (self._tls is None):
            raise SettingsError("TLS_CERT and TLS_KEY: TLS is neither begun nor ended while the proxy runs; restart it")
        if self._tls is not None and settings.tls_cert is not None and settings.tls_key is not None:
            load_certificate(self._tls, settings.tls_cert, settings.tls_key)

    async def told(self) -> None:
        """As ``reload``; how it went is said in the log and, where something changed, in the audit log."""
        try:
            changes = await self.reload()
        except SettingsError as error:
            _log.error("the settings were not reloaded, and the old ones stay in force: %s", error)
            return
        _log.info(
            "the settings were reloaded: %s", f"changed {_named(changes.taken)}" if changes.taken else "no change"
        )
        if changes.restart:
            _log.warning("changed settings that need a restart: %s", _named(changes.restart))
        entry = an_entry("signal", None, "reload settings", {"settings": list(changes.taken)}, "done")
        try:
            await asyncio.to_thread(self._service.gate.audit.write, entry)
        except OSError as error:
            _log.error("the audit log cannot be written: %s; done by signal: reload settings", error.strerror)


def _named(keys: tuple[str, ...]) -> str:
    return ", ".join(keys)


@contextmanager
def hangups() -> Iterator[asyncio.Event]:
    """Set by each SIGHUP, which ends a process that does not listen to it: entered before anything is begun."""
    wanted, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, wanted.set)
    try:
        yield wanted
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@asynccontextmanager
async def reloaded_when(wanted: asyncio.Event, reloading: Reloading) -> AsyncIterator[None]:
    """Within it, settings are reloaded whenever ``wanted``; what is wanted meanwhile is done once more afterwards."""
    following = asyncio.create_task(_follow(wanted, reloading))
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _follow(wanted: asyncio.Event, reloading: Reloading) -> None:
    while True:
        await wanted.wait()
        wanted.clear()
        await reloading.told()
