"""Hash hints: the first digits of a file's sha256, as publishers put them into its name.

A hint is some 32 bits: good against accidents, weak against an attacker. torch.hub's pattern
(``-([a-f0-9]*)\\.``) takes metrics for hashes and misses a third of what is published; this one asks for 8 to
64 lower-case digits in the places where hashes are put, and refuses whatever reads as a date.
"""

from __future__ import annotations

import datetime
import re
from typing import Final, Optional

#: In the order in which they are tried.
_PLACES: Final = (
    re.compile(r"-([0-9a-f]{8,64})\."),  # resnet50-0676ba61.pth
    re.compile(r"(?<!iter)(?<!epoch)(?<!step)_([0-9a-f]{8,64})\."),  # …_deadbeef.pth, but not iter_00160000.pth
    re.compile(r"[-_]([0-9a-f]{8,64})[_-][0-9]{8}(?:-[0-9]{6})?\."),  # …-b9e0b3ab_20200708.pth
)
_REST_OF_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}\Z")
_STAMP_LENGTHS = (8, 10, 12, 14)  # YYYYMMDD, then hours, minutes, seconds


def sha256_hint(file_name: str) -> Optional[str]:
    """The hash hint in a file name (8 to 64 lower-case hexadecimal digits), None where there is none."""
    for place in _PLACES:
        for match in place.finditer(file_name):
            digits = match[1]
            if not _is_stamp(digits) and not _ends_uuid(file_name[: match.start()], digits):
                return digits
    return None


def _is_stamp(digits: str) -> bool:
    """Whether this is a date, with or without a time of day."""
    if len(digits) not in _STAMP_LENGTHS or not digits.isdigit():
        return False
    try:
        datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return True


def _ends_uuid(before: str, digits: str) -> bool:
    return len(digits) == 12 and _REST_OF_UUID.search(before) is not None
