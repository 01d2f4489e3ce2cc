"""``Want-Repr-Digest`` (RFC 9530, section 4): how much a client would like a digest of the whole representation."""

from __future__ import annotations

import re
from typing import Final

HEADER: Final = "want-repr-digest"
_MEMBER: Final = re.compile(r"[ \t]*([a-z*][a-z0-9_\-.*]*)(?:=(\d{1,2}))?[ \t]*\Z")
_MOST: Final = 10  # the largest preference that the field may state


def sha256_wish(field: str | None) -> int | None:
    """The preference for sha-256, 0 (not acceptable) to 10; None where the field says nothing, or is malformed.

    A malformed dictionary is ignored as a whole (RFC 9651, section 4.2).
    """
    if field is None:
        return None
    wishes: dict[str, int] = {}
    for member in field.split(","):
        found = _MEMBER.match(member)
        if found is None or found.group(2) is None or int(found.group(2)) > _MOST:
            return None
        wishes[found.group(1)] = int(found.group(2))
    return wishes.get("sha-256")
