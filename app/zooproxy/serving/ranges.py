"""Conditional and range requests (RFC 9110, sections 13 and 14), as a pure function of header values.

One range is honoured. A set of several is answered in full, which section 14.2 leaves to the server: multipart
bodies have cost others dearly, and no client of weights needs them. A malformed Range counts as none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,19})[ \t]*-[ \t]*(\d{0,19})[ \t]*\Z", re.ASCII | re.IGNORECASE)
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Whole:
    """200: everything."""


@dataclass(frozen=True, slots=True)
class Part:
    """206: ``length`` bytes from ``start`` on; at least one."""

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class NotModified:
    """304: the client has it."""


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416: the range begins beyond the end."""


Answer = Union[Whole, Part, NotModified, Unsatisfiable]


def answer(headers: Mapping[str, str], length: int, etag: str) -> Answer:
    """What to send of a representation of ``length`` bytes whose strong entity tag, quotes included, is ``etag``."""
    if _is_known(headers.get("if-none-match", ""), etag):
        return NotModified()
    requested = headers.get("range")
    if requested is None or headers.get("if-range", etag) != etag:
        return Whole()
    return _part(requested, length)


def _is_known(if_none_match: str, etag: str) -> bool:
    """Weak comparison (RFC 9110, section 8.8.3.2), as If-None-Match asks for."""
    return if_none_match.strip() == "*" or etag.strip('"') in _ENTITY_TAG.findall(if_none_match)


def _part(requested: str, length: int) -> Answer:
    match = _ONE_RANGE.match(requested.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return Whole()
    first, last = match.groups()
    if not first:  # a suffix: the last n bytes
        wanted = min(int(last), length)
        return Part(length - wanted, wanted) if wanted else Unsatisfiable() if length else Whole()
    start, end = int(first), min(int(last or length), length - 1)
    if last and int(last) < start:
        return Whole()
    return Part(start, end - start + 1) if start < length else Unsatisfiable()
