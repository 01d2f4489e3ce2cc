"""Which of a parent's answers hold for those behind it."""

from __future__ import annotations

import pytest

from zooproxy.digest import Sha256
from zooproxy.errors import DigestMismatch, NotLocked, SourceChanged, UpstreamStatus, UpstreamUnreachable
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.verdicts import verdict_of
from zooproxy.wire.problems import problem_type

ONE, TWO = Sha256.of(b"1"), Sha256.of(b"2")
URL = "https://download.pytorch.org/x.pth"


def said(slug: str, **members: object) -> UpstreamStatus:
    problem = {"type": problem_type(slug), "detail": "words", **members}
    return UpstreamStatus("upstream answered 502", url="http://parent/", status=502, problem=problem)


DIGESTS = {"expected_sha256": ONE, "actual_sha256": TWO}


def test_a_change_holds_here_with_both_digests() -> None:
    verdict = verdict_of(said("source-changed", **DIGESTS), Wanted(URL, hint=TWO[:8]))
    assert isinstance(verdict, SourceChanged)
    assert (verdict.expected, verdict.actual) == (ONE, TWO)
    assert "words" in str(verdict)


def test_a_lock_holds_here() -> None:
    verdict = verdict_of(said("not-locked", reference=URL), Wanted(URL))
    assert isinstance(verdict, NotLocked)
    assert verdict.reference == URL


def test_a_mismatch_holds_where_nothing_here_could_tell() -> None:
    assert isinstance(verdict_of(said("digest-mismatch", **DIGESTS), Wanted(URL)), DigestMismatch)
    assert verdict_of(said("digest-mismatch", **DIGESTS), Wanted(URL, hint=TWO[:8])) is None


@pytest.mark.parametrize("slug", ["source-changed", "not-locked", "digest-mismatch"])
@pytest.mark.parametrize("known", [{"pin": ONE}, {"seen": ONE}])
def test_bytes_that_are_known_here_by_their_digest_can_be_had_from_anybody(slug: str, known: dict[str, Sha256]) -> None:
    assert verdict_of(said(slug, **DIGESTS), Wanted(URL, **known)) is None


@pytest.mark.parametrize(
    "error",
    [
        said("upstream-status"),
        said("offline"),
        said("source-changed"),
        said("source-changed", expected_sha256="0676ba61", actual_sha256=TWO),
        said("digest-mismatch", expected_sha256=None, actual_sha256=TWO),
        UpstreamStatus("no problem at all", url=URL, status=502),
        UpstreamStatus("one that could not be read", url=URL, status=502, problem={}),
        UpstreamUnreachable("down", url=URL),
    ],
)
def test_everything_else_lets_others_be_asked(error: UpstreamStatus) -> None:
    assert verdict_of(error, Wanted(URL)) is None
