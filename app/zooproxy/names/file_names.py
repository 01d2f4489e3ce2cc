"""The file name that a URL suggests, made safe to show and to save under."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

NAMELESS: Final = "checkpoint"
MAX_BYTES: Final = 255  # what common file systems take
_UNSAFE = frozenset('/\\:*?"<>|')


def file_name_of(path: str) -> str:
    """The last segment of a path (no query), unquoted.

    Separators, characters that some file system refuses and characters that do not print become ``_``; leading
    dots go, so nothing is hidden or climbs. ``checkpoint`` where nothing is left. At most 255 bytes of UTF-8, the
    end of the name kept: hash and extension stand there.
    """
    segment = unquote(path.rpartition("/")[2])
    shown = "".join("_" if character in _UNSAFE or not character.isprintable() else character for character in segment)
    short = shown.encode("utf-8", "replace")[-MAX_BYTES:].decode("utf-8", "ignore")
    return short.strip().lstrip(". ") or NAMELESS
