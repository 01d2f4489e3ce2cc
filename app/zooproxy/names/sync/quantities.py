"""The values of metafiles: text that may be a list, numbers that may be text with a unit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Optional

from zooproxy.names.records import Metric

_NUMBER = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT])\s*\Z")
_UNITS: Final = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNIT_IN_KEY = re.compile(r"\((?P<unit>[KMGT])\)\Z")


def texts(value: Any) -> list[str]:
    """One value or a list of them as text without surrounding space; what is empty, a mapping or null is left out."""
    values = value if isinstance(value, list) else [value]
    found = (" ".join(str(one).split()) for one in values if isinstance(one, (str, int, float)))
    return [text for text in found if text]


def quantity(members: Mapping[str, Any], *keys: str) -> Optional[int]:
    """The first of ``keys`` that has a number: a whole one, or one with a unit (``102.7G``, ``Params(M)``).

    A number without a unit that is no count (``0.22``) is not guessed at.
    """
    for key in keys:
        number = _count(members.get(key), _UNIT_IN_KEY.search(key))
        if number is not None:
            return number
    return None


def _count(value: Any, unit_in_key: Optional[re.Match[str]]) -> Optional[int]:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)) and math.isfinite(value):
        if unit_in_key is not None:
            return round(value * _UNITS[unit_in_key["unit"]])
        return int(value) if value == int(value) and value > 0 else None
    match = _NUMBER.match(value) if isinstance(value, str) else None
    return round(float(match["number"]) * _UNITS[match["unit"]]) if match else None


def metrics_of(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Metric]]:
    """Metrics by name; a mapping of metrics (one for each data set) is told as ``outer inner``, one level deep."""
    for key, value in given.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and not prefix:
            yield from metrics_of(value, f"{name} ")
        elif isinstance(value, str) and value.strip():
            yield name, " ".join(value.split())
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield name, value
