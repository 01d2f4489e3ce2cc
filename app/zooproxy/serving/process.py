"""What every process of the service begins with: its log, its event loop, the listening socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Coroutine
from typing import Any

from zooproxy.errors import SettingsError
from zooproxy.serving.access_log import LOGGER, WithoutCredentials
from zooproxy.serving.settings import Settings

_STALLED_MILLISECONDS = 90_000

_log = logging.getLogger(__name__)


def run_until_done(service: Coroutine[Any, Any, None]) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx2", "alembic.runtime.plugins"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger(LOGGER).addFilter(WithoutCredentials())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(service)


def listen(settings: Settings) -> socket.socket:
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


def tell(listening: socket.socket, settings: Settings) -> None:
    """Says where it listens: the line that whoever started the service waits for."""
    host, port = listening.getsockname()[:2]
    scheme = "http" if settings.tls_cert is None else "https"
    _log.info("zooproxy listens on %s://%s:%d", scheme, f"[{host}]" if ":" in host else host, port)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # no uvloop on this platform
        return None
    return uvloop.Loop
