"""Asking a running proxy whether it is ready: what a container's health check does."""

from __future__ import annotations

import urllib.request
from http.client import HTTPException
from urllib.error import HTTPError

from zooproxy.errors import NotReady
from zooproxy.serving.settings import Settings
from zooproxy.serving.tls import own_context
from zooproxy.wire.routes import READY

_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared with, not listened on


def check_ready(settings: Settings, timeout: float = 4.0) -> None:
    """Asks the proxy that ``settings`` describe, on this machine; ``timeout`` in seconds.

    Raises:
        NotReady: it does not answer, or answers that it cannot serve.
        SettingsError: its certificate cannot be read.
    """
    tls = own_context(settings)
    url = f"{'http' if tls is None else 'https'}://{_ANY.get(settings.host, settings.host)}:{settings.port}{READY}"
    handlers = [] if tls is None else [urllib.request.HTTPSHandler(context=tls)]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    try:
        with opener.open(url, timeout=timeout):
            return
    except HTTPError as error:
        with error:
            raise NotReady(f"{url} answered {error.code}") from error
    except (OSError, HTTPException) as error:
        raise NotReady(f"{url} does not answer") from error
