"""Problems as RFC 9457 ``application/problem+json``: how an error's slug, title, detail and extras travel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zooproxy.errors import ZooproxyError

_TYPE_PREFIX = "urn:zooproxy:problem:"


def problem_type(slug: str) -> str:
    return _TYPE_PREFIX + slug


def slug_of(problem: Mapping[str, Any]) -> str:
    """The slug in a problem's ``type``; empty where the answer is not one of ours."""
    kind = problem.get("type")
    if isinstance(kind, str) and kind.startswith(_TYPE_PREFIX):
        return kind[len(_TYPE_PREFIX) :]
    return ""


def problem_of(error: ZooproxyError, status: int) -> dict[str, Any]:
    """The body of a problem: the error's ``extras`` never displace a standard member, ``attempts`` failed before it."""
    body: dict[str, Any] = {
        "type": problem_type(error.slug),
        "title": error.title,
        "status": status,
        "detail": str(error),
    }
    for name, value in error.extras.items():
        body.setdefault(name, value)
    if error.attempts:
        body["attempts"] = [_attempt_of(attempt) for attempt in error.attempts]
    return body


def _attempt_of(error: ZooproxyError) -> dict[str, Any]:
    return {"type": problem_type(error.slug), "detail": str(error), **error.extras}
