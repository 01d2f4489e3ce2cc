"""URLs fit to be shown and kept: without what would let a reader in."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote, unquote

#: Query parameters, in lower case, whose values are credentials: of presigned URLs (S3, Google, Azure, CloudFront) and
#: of hosts that take a token in the query.
_CREDENTIALS: Final = frozenset(
    {
        *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "awsaccesskeyid", "signature"),
        *("x-goog-signature", "x-goog-credential", "googleaccessid", "sig", "key-pair-id", "policy"),
        *("token", "access_token", "private_token", "jwt", "auth", "authorization", "api_key", "apikey", "key"),
        *("password", "passwd", "pwd", "secret", "client_secret"),
    }
)
_USER = re.compile(r"(?<=://)[^/?#]*@")
_MASKED = re.compile(r"masked-[0-9a-f]{16}\Z")


def masked(url: str) -> str:
    """``url`` without user information, and with each credential of its query replaced by digits of its hash.

    So what was different stays different, and what is masked stays as it is. A URL within the query (``ref=``) is
    masked likewise; text that is no URL is left alone.
    """
    before, mark, query = url.partition("?")
    return _USER.sub("", before) + mark + "&".join(map(_shown, query.split("&")))


def _shown(parameter: str) -> str:
    name, mark, value = parameter.partition("=")
    if unquote(name).lower() in _CREDENTIALS:
        known = not value or _MASKED.match(value)
        return parameter if known else f"{name}{mark}masked-{hashlib.sha256(value.encode()).hexdigest()[:16]}"
    plain = unquote(value)
    inner = masked(plain) if "://" in plain else plain
    return parameter if inner == plain else f"{name}{mark}{quote(inner, safe='')}"
