"""What another zooproxy said about the bytes of a source, which holds here too.

A parent that is down, busy or without the file is passed over. One that has *judged* the bytes is not: whoever asked
the host instead would get what the parent refuses, and trust it.
"""

from __future__ import annotations

from collections.abc import Mapping

from zooproxy.digest import Sha256
from zooproxy.errors import DigestMismatch, FetchError, NotLocked, SourceChanged, UpstreamStatus, ZooproxyError
from zooproxy.fetch.proof import Wanted
from zooproxy.wire.problems import slug_of


def verdict_of(error: FetchError, wanted: Wanted) -> ZooproxyError | None:
    """The parent's error as our own; None where others may be asked.

    Bytes that are known by their full digest here can be had from anybody. Against a hint alone a mismatch is no
    verdict, a change is one: it fits the hint.
    """
    problem = error.problem if isinstance(error, UpstreamStatus) else None
    if problem is None or wanted.pin or wanted.seen:
        return None
    slug, detail = (
        slug_of(problem),
        f"{wanted.url} was refused by the proxy that this one asks: {problem.get('detail')}",
    )
    if slug == NotLocked.slug:
        return NotLocked(detail, reference=wanted.url)
    expected, actual = _digest(problem, "expected_sha256"), _digest(problem, "actual_sha256")
    if slug == SourceChanged.slug and expected and actual:
        return SourceChanged(detail, expected=expected, actual=actual)
    if slug == DigestMismatch.slug and expected and actual and not wanted.hint:
        return DigestMismatch(detail, expected=expected, actual=actual)
    return None


def _digest(problem: Mapping[str, object], member: str) -> Sha256 | None:
    try:
        return Sha256(str(problem.get(member)))
    except ValueError:
        return None
