"""Asking a running proxy whether it is ready: what a container's health check does."""

from __future__ import annotations

import urllib.request
from urllib.error import HTTPError, URLError

from zooproxy.errors import NotReady
from zooproxy.serving.settings import Settings
from zooproxy.wire.routes import READY

_ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared with, not listened on


def check_ready(settings: Settings, timeout: float = 4.0) -> None:
    """Asks the proxy that ``settings`` describe, on this machine; ``timeout`` in seconds.

    Raises:
        NotReady: it does not answer, or answers that it cannot serve.
    """
    url = f"http://{_ANY.get(settings.host, settings.host)}:{settings.port}{READY}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout):
            return
    except HTTPError as error:
        with error:
            raise NotReady(f"{url} answered {error.code}") from error
    except (URLError, TimeoutError) as error:
        raise NotReady(f"{url} does not answer") from error
