"""The service as a process: a listening socket, uvicorn on it, an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from zooproxy.errors import SettingsError
from zooproxy.serving.acceleration import Acceleration
from zooproxy.serving.access_log import LOGGER, WithoutCredentials
from zooproxy.serving.app import create_app
from zooproxy.serving.protocol import ZeroCopyProtocol
from zooproxy.serving.reloading import Reloading, hangups, reloaded_when
from zooproxy.serving.settings import Settings
from zooproxy.serving.tls import server_context
from zooproxy.serving.transfers import Transfers
from zooproxy.serving.wiring import open_service

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_STALLED_MILLISECONDS = 90_000

_log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM; then running transfers get ``shutdown_seconds`` to end. SIGHUP reloads settings.

    Raises:
        SettingsError, CacheError: it cannot start.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx2", "alembic.runtime.plugins"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger(LOGGER).addFilter(WithoutCredentials())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    tls = server_context(settings)
    with hangups() as hung_up, _listen(settings) as listening:
        async with open_service(settings) as service:
            host, port = listening.getsockname()[:2]
            scheme = "http" if tls is None else "https"
            _log.info("zooproxy listens on %s://%s:%d", scheme, f"[{host}]" if ":" in host else host, port)
            config = uvicorn.Config(
                create_app(
                    service.provider,
                    Transfers(settings.transfers),
                    service.gate,
                    Acceleration(settings.accel_redirect) if settings.accel_redirect else None,
                ),
                http=ZeroCopyProtocol,
                ws="none",
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=settings.shutdown_seconds,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
            async with reloaded_when(hung_up, Reloading(settings, service, tls)):
                await _Server(config).serve(sockets=[listening])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signals again when it is done, which kills the process before its caller can close
        the provider; here the signal has done its work once the server has ended."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)


def _listen(settings: Settings) -> socket.socket:
    """Bound before anything is opened: a second start on the same port fails before it touches the first's data."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Inherited by every connection: the kernel drops a client that takes nothing for so long. Nothing above it
        # can do that without leaking the descriptor.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MILLISECONDS)
    return listening


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # no uvloop on this platform
        return None
    return uvloop.Loop
