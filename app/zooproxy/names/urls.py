"""http and https URLs in the one spelling that stands for a source (RFC 3986; nothing is ever re-quoted)."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Optional

from zooproxy.errors import MalformedReference

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
MAX_HOST_LENGTH: Final = 253
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


def split_authority(scheme: str, authority: str) -> tuple[str, Optional[int]]:
    """Host (lower case, IPv6 in brackets) and port (None for the scheme's own) of what stands between ``//`` and ``/``.

    Raises:
        MalformedReference: user information, a host that is not ASCII or no host at all, a port out of range.
    """
    if "@" in authority:
        raise MalformedReference("a reference may not carry a user name or password; the proxy keeps no credentials")
    if authority.startswith("["):
        address, closed, after = authority[1:].partition("]")
        if not closed or (after and not after.startswith(":")):
            raise MalformedReference("the host of this URL is no IPv6 address in brackets")
        return f"[{_ipv6(address)}]", _port(scheme, after[1:])
    host, _, port = authority.partition(":")
    return _host(host), _port(scheme, port)


def _ipv6(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError as error:
        raise MalformedReference("the host of this URL is no IPv6 address in brackets") from error
    if "%" in address:
        raise MalformedReference("an IPv6 address in a reference may not name a zone")
    return parsed.compressed


def _host(host: str) -> str:
    if not host:
        raise MalformedReference("this URL names no host")
    if not host.isascii():
        raise MalformedReference("the host of this URL is not ASCII; write it in its xn-- form")
    lowered = host.lower()
    if len(lowered) > MAX_HOST_LENGTH or not _LABELS.match(lowered):
        raise MalformedReference("the host of this URL is no host name")
    return lowered


def _port(scheme: str, port: str) -> Optional[int]:
    if not port:
        return None
    if not _PORT.match(port) or not 0 < int(port) < 65536:
        raise MalformedReference("the port of this URL is no number from 1 to 65535")
    number = int(port)
    return None if number == DEFAULT_PORTS[scheme] else number


def check_target(target: str) -> None:
    """Refuse what no request line can carry unchanged, so that path and query travel byte for byte as written.

    Raises:
        MalformedReference: a fragment, a space, a character that is not ASCII, or a ``.`` or ``..`` segment.
    """
    if "#" in target:
        # Dropped in silence, "#sha256=…" would read like a check that was made.
        raise MalformedReference(
            "a URL's fragment never reaches its host; remove it, or write %23 if the name holds a #"
        )
    if " " in target or not target.isascii():
        raise MalformedReference("path and query of a URL are ASCII without spaces; percent-encode everything else")
    segments = target.partition("?")[0].split("/")
    if "." in segments or ".." in segments:
        raise MalformedReference("the path of this URL holds a '.' or '..' segment; write the path that it leads to")
