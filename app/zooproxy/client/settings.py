"""Where the client's proxy is: the one place of the client that reads the environment."""

from __future__ import annotations

import base64
import netrc
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Optional
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # public, and no stub has it

from zooproxy.errors import ProxyNotConfigured, SettingsError
from zooproxy.wire.routes import DEFAULT_PORT

DIRECT: Final = "direct"
OFF: Final = "off"
MEMORY: Final = "memory"

_EXAMPLE = f"export ZOOPROXY=http://cache.lan:{DEFAULT_PORT}"
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True)
class Timeouts:
    """Seconds. ``read`` bounds one silent wait: the proxy may need minutes to fetch what it does not hold yet."""

    connect: float = 5.0
    read: float = 600.0


@dataclass(frozen=True)
class ClientSettings:
    """How and where to load from.

    Attributes:
        proxies: base URLs in the order tried, none ending in a slash; the last may be ``direct`` or ``off``.
        token: sent to each of them as a bearer token.
        connections: at most so many to one proxy at once; a small checkpoint takes one.
        gateways: what ``http_proxy`` and ``https_proxy`` name, for proxies that ``no_proxy`` does not list.
        part: a connection takes at least so many bytes at once: a checkpoint of fewer takes one connection.
        folder: of the node's store; None receives into memory only.
        capacity: of the node's store in bytes; 0 for any.
        lock: a weights.lock; with one, nothing is loaded but what it lists.
    """

    proxies: tuple[str, ...]
    token: Optional[str] = field(default=None, repr=False)
    timeouts: Timeouts = Timeouts()
    connections: int = 2
    part: int = 32 << 20
    folder: Optional[Path] = None
    capacity: int = 0
    gateways: Mapping[str, str] = field(default_factory=dict)
    lock: Optional[Path] = None

    def gateway_of(self, base: str) -> Optional[str]:
        """The URL of the HTTP proxy through which ``base`` is reached; None where it is reached directly."""
        url = urlsplit(base)
        if proxy_bypass_environment(url.netloc, dict(self.gateways)):
            return None
        return self.gateways.get(url.scheme)

    def login_of(self, base: str) -> Optional[str]:
        """The value of an ``Authorization`` field for ``base``: the token, else what netrc has for the host."""
        return f"Bearer {self.token}" if self.token else login_for(base)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> ClientSettings:
        """What ``ZOOPROXY`` (a comma list, tried in order) and the client's other variables say.

        What follows ``direct`` or ``off`` is never reached, and is checked all the same.

        Raises:
            ProxyNotConfigured: ``ZOOPROXY`` is unset or names nothing.
            SettingsError: an entry is no http(s) URL, the token cannot stand in a header, or a number is none.
        """
        entries = [entry.strip() for entry in environ.get("ZOOPROXY", "").split(",")]
        proxies = [_checked_entry(entry) for entry in entries if entry]
        if not proxies:
            raise ProxyNotConfigured(f"the environment variable ZOOPROXY does not name a proxy; set it: {_EXAMPLE}")
        return cls(
            _up_to_a_final_word(proxies),
            _checked_token(environ.get("ZOOPROXY_TOKEN", "")),
            connections=max(1, _number(environ, "ZOOPROXY_CONNECTIONS", min(4, os.cpu_count() or 2))),
            folder=store_folder(environ),
            capacity=_number(environ, "ZOOPROXY_CACHE_SIZE", 0),
            gateways=_gateways(environ),
            lock=lock_path(environ),
        )


def store_folder(environ: Mapping[str, str] = os.environ) -> Optional[Path]:
    """The node's store: ``ZOOPROXY_CACHE_DIR``, else a folder in mmengine's home; None where it says ``memory``."""
    named = environ.get("ZOOPROXY_CACHE_DIR", "").strip()
    if named == MEMORY:
        return None
    return Path(named).expanduser() if named else mmengine_home(environ) / "zooproxy"


def lock_path(environ: Mapping[str, str] = os.environ) -> Optional[Path]:
    """The lock file that ``ZOOPROXY_LOCK`` names; None where it names none."""
    named = environ.get("ZOOPROXY_LOCK", "").strip()
    return Path(named).expanduser() if named else None


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    return size_in_bytes(name, text) if text else default


def size_in_bytes(name: str, text: str) -> int:
    """``8``, or ``200G``; powers of 1000.

    Raises:
        SettingsError: it is neither; the message says so of ``name``.
    """
    match = re.match(r"(\d{1,15})\s?([kMGT]?)B?\Z", text)
    if match is None:
        raise SettingsError(f"{name} is no number; write it as 8, or as 200G for bytes")
    return int(match[1]) * _FACTORS[match[2]]


def _gateways(environ: Mapping[str, str]) -> dict[str, str]:
    """In the form of ``urllib.request.getproxies``: ``http``, ``https`` and ``no``; lower case outranks upper case."""
    named = {}
    for scheme in ("http", "https", "no"):
        value = environ.get(f"{scheme}_proxy") or ("" if scheme == "http" else environ.get(f"{scheme}_proxy".upper()))
        if value:
            named[scheme] = value
    return named


def login_for(url: str, environ: Mapping[str, str] = os.environ) -> Optional[str]:
    """The value of an ``Authorization`` field for the host of ``url``, from the user's netrc; None without one."""
    path = Path(environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        found = netrc.netrc(str(path)).authenticators(urlsplit(url).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    if found is None or not found[2]:
        return None
    return "Basic " + base64.b64encode(f"{found[0]}:{found[2]}".encode()).decode()


def has_proxy(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``ZOOPROXY`` names anything."""
    return bool(environ.get("ZOOPROXY", "").strip(" ,"))


def mmengine_home(environ: Mapping[str, str] = os.environ) -> Path:
    """mmengine's own directory for what it downloads, by its rules."""
    default = Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "mmengine"
    return Path(environ.get("MMENGINE_HOME", default)).expanduser()


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


#: Bytes that a label of a host's name is shorter than (RFC 1035, section 2.3.4).
_LABEL: Final = 64


def _is_base_url(entry: str) -> bool:
    if not _VISIBLE.match(entry):
        return False
    try:
        url = urlsplit(entry)
        port = url.port
    except ValueError:
        return False
    labels = (url.hostname or "").removesuffix(".").split(".")
    if not all(0 < len(label) < _LABEL for label in labels):
        return False
    return url.scheme in ("http", "https") and port != 0 and not (url.query or url.fragment)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _checked_token(token: str) -> Optional[str]:
    token = token.strip()
    if token and not _VISIBLE.match(token):
        raise SettingsError("ZOOPROXY_TOKEN cannot stand in a header: it has to be one line of visible ASCII")
    return token or None
