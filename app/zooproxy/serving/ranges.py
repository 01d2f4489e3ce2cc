"""Conditional and range requests (RFC 9110, sections 13 and 14), as a pure function of header values.

One range is honoured, and several that touch or overlap as the one that they make. Others are answered in full, which
section 14.2 leaves to the server: multipart bodies have cost others dearly, and no client of weights needs them. A
malformed Range counts as none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Union

MAX_RANGES: Final = 100

_SPEC = re.compile(r"(\d{0,19})[ \t]*-[ \t]*(\d{0,19})\Z", re.ASCII)
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
    unit, equals, ranges = requested.partition("=")
    specs = ranges.split(",")
    if not equals or unit.strip().lower() != "bytes" or len(specs) > MAX_RANGES:
        return Whole()
    spans = [_span(spec.strip(" \t"), length) for spec in specs if spec.strip(" \t")]
    if not spans or None in spans or (not length and any(_is_suffix(spec) for spec in specs)):
        return Whole()
    satisfiable = sorted(span for span in spans if span is not None and span[0] < span[1])
    if not satisfiable:
        return Unsatisfiable()
    return _joined(satisfiable)


def _span(spec: str, length: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of one range, empty where nothing of it exists; None where it is malformed."""
    match = _SPEC.match(spec)
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:  # a suffix: the last n bytes
        return max(length - int(last), 0), length
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, length) if last else length


def _is_suffix(spec: str) -> bool:
    return spec.strip(" \t").startswith("-")


def _joined(spans: list[tuple[int, int]]) -> Answer:
    """The one part that the spans make where they touch or overlap, else everything."""
    start, end = spans[0]
    for first, last in spans[1:]:
        if first > end:
            return Whole()
        end = max(end, last)
    return Part(start, end - start)
