"""URLs fit to be shown and kept: without what would let a reader in."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from zooproxy.digest import Sha256

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
_USER = re.compile(r"(?<=://)[^/?#@]*@")
_MASKED = re.compile(r"masked-[0-9a-f]{16}\Z")


def masked(url: str) -> str:
    """``url`` without user information, and with each credential of its query replaced by digits of its hash.

    So what was different stays different, and what is masked stays as it is. Text that is no URL is left alone.
    """
    before, mark, query = url.partition("?")
    return _USER.sub("", before) + mark + "&".join(map(_shown, query.split("&")))


def _shown(parameter: str) -> str:
    name, mark, value = parameter.partition("=")
    if not value or unquote(name).lower() not in _CREDENTIALS or _MASKED.match(value):
        return parameter
    return f"{name}{mark}masked-{Sha256.of(value.encode())[:16]}"
