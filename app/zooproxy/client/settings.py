"""Where the client's proxy is: the one place of the client that reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Optional
from urllib.parse import urlsplit

from zooproxy.errors import ProxyNotConfigured, SettingsError
from zooproxy.wire.routes import DEFAULT_PORT

DIRECT: Final = "direct"
OFF: Final = "off"

_EXAMPLE = f"export ZOOPROXY=http://cache.lan:{DEFAULT_PORT}"
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True)
class Timeouts:
    """Seconds. ``read`` bounds one silent wait: the proxy may need minutes to fetch what it does not hold yet."""

    connect: float = 5.0
    read: float = 600.0


@dataclass(frozen=True)
class ClientSettings:
    """``proxies``: base URLs in the order tried, none ending in a slash; the last may be ``direct`` or ``off``."""

    proxies: tuple[str, ...]
    token: Optional[str] = field(default=None, repr=False)
    timeouts: Timeouts = Timeouts()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> ClientSettings:
        """What ``ZOOPROXY`` (a comma list, tried in order) and ``ZOOPROXY_TOKEN`` say.

        What follows ``direct`` or ``off`` is never reached, and is checked all the same.

        Raises:
            ProxyNotConfigured: ``ZOOPROXY`` is unset or names nothing.
            SettingsError: an entry is no http(s) URL, or the token cannot stand in a header.
        """
        entries = [entry.strip() for entry in environ.get("ZOOPROXY", "").split(",")]
        proxies = [_checked_entry(entry) for entry in entries if entry]
        if not proxies:
            raise ProxyNotConfigured(f"the environment variable ZOOPROXY does not name a proxy; set it: {_EXAMPLE}")
        return cls(_up_to_a_final_word(proxies), _checked_token(environ.get("ZOOPROXY_TOKEN", "")))


def _up_to_a_final_word(proxies: list[str]) -> tuple[str, ...]:
    for position, entry in enumerate(proxies):
        if entry in (DIRECT, OFF):
            return tuple(proxies[: position + 1])
    return tuple(proxies)


def _checked_entry(entry: str) -> str:
    if entry in (DIRECT, OFF):
        return entry
    if "@" in entry:
        raise SettingsError("an entry of ZOOPROXY holds a user name or password; a token belongs into ZOOPROXY_TOKEN")
    if not _is_base_url(entry):
        raise SettingsError(
            f"ZOOPROXY holds '{_printable(entry)}', which is no http(s) base URL; for example: {_EXAMPLE}"
        )
    return entry.rstrip("/")


def _is_base_url(entry: str) -> bool:
    if not _VISIBLE.match(entry):
        return False
    try:
        url = urlsplit(entry)
        port = url.port
        (url.hostname or "").encode("idna")
    except ValueError:  # UnicodeError (a label too long) is one too
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and port != 0 and not (url.query or url.fragment)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _checked_token(token: str) -> Optional[str]:
    token = token.strip()
    if token and not _VISIBLE.match(token):
        raise SettingsError("ZOOPROXY_TOKEN cannot stand in a header: it has to be one line of visible ASCII")
    return token or None
