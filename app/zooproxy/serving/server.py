"""The service in one process: uvicorn on a listening socket, an orderly end."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn

from zooproxy.serving.acceleration import Acceleration
from zooproxy.serving.app import create_app
from zooproxy.serving.process import listen, run_until_done, tell
from zooproxy.serving.protocol import ZeroCopyProtocol
from zooproxy.serving.reloading import Reloading, hangups, reloaded_when
from zooproxy.serving.settings import Settings, read_settings
from zooproxy.serving.tls import server_context
from zooproxy.serving.transfers import Transfers
from zooproxy.serving.wiring import Service, open_service
from zooproxy.serving.workers import Tether

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM; then running transfers get ``shutdown_seconds`` to end. SIGHUP reloads settings.

    Raises:
        SettingsError, CacheError: it cannot start.
    """
    run_until_done(_serve_alone(settings))


def run_worker(settings: Settings, listening: int, tether: int) -> None:
    """As one of ``settings.workers``, over the parent's socket. Both are descriptors. Ends when its parent has.

    Raises:
        SettingsError, CacheError: it cannot start.
    """
    run_until_done(_serve_as_worker(settings.workers, socket.socket(fileno=listening), Tether(tether)))


async def _serve_alone(settings: Settings) -> None:
    tls = server_context(settings)
    with hangups() as hung_up, listen(settings) as listening:
        async with open_service(settings) as service:
            tell(listening, settings)
            async with reloaded_when(hung_up, Reloading(settings, service, tls)):
                with _acceleration(settings) as acceleration:
                    await _server(settings, service, tls, acceleration).serve(sockets=[listening])


async def _serve_as_worker(workers: int, listening: socket.socket, tether: Tether) -> None:
    def share() -> Settings:
        return read_settings().share(workers)

    settings = share()
    tls = server_context(settings)
    with hangups() as hung_up, listening, tether:
        async with open_service(settings) as service:
            with _acceleration(settings) as acceleration:
                server = _server(settings, service, tls, acceleration)
                async with (
                    tether.held(alone=server.end),
                    reloaded_when(hung_up, Reloading(settings, service, tls, share)),
                ):
                    await server.serve(sockets=[listening])


@contextmanager
def _acceleration(settings: Settings) -> Iterator[Acceleration | None]:
    if settings.accel_redirect is None:
        yield None
        return
    with closing(Acceleration(settings.accel_redirect)) as acceleration:
        yield acceleration


def _server(
    settings: Settings, service: Service, tls: ssl.SSLContext | None, acceleration: Acceleration | None
) -> _Server:
    config = uvicorn.Config(
        create_app(
            service.provider,
            Transfers(settings.transfers),
            service.gate,
            acceleration,
        ),
        http=ZeroCopyProtocol,
        ws="none",
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    def end(self) -> None:
        """As a signal would end it."""
        self.should_exit = True

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
