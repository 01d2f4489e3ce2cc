"""What is learnt of a parent's map: what is published there, and of whatever else it may send nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.upstream import Upstream, answer, redirect, status
from zooproxy.fetch.http import open_http
from zooproxy.names.sections import PARENT, section_from_json
from zooproxy.provide import parent_names
from zooproxy.provide.parent_names import ParentNames

PATH = "/v1/zoos/site/map"
DIGEST = "ab" * 32
URL = f"published://-/{DIGEST}/net.pth"


@pytest.fixture
async def names(upstream: Upstream, tmp_path: Path) -> AsyncIterator[ParentNames]:
    async with open_http(exempt=lambda host, port: True) as http:
        yield ParentNames(http, lambda: upstream.url, tmp_path / "parent" / "site.json")


def put(upstream: Upstream, told: object, etag: str) -> None:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    upstream.put(PATH, answer(200, body, ETag=etag))


async def test_names_of_published_files_are_learnt_and_kept_and_no_others(
    names: ParentNames, upstream: Upstream, tmp_path: Path
) -> None:
    strange = {"team/elsewhere": "https://a.example/x.pth", "team/none": None, "team/number": 7}
    strange |= {"../../etc": URL, "alone": URL, "team/bad": f"published://-/{DIGEST[:-1]}/x.pth", "team/x@latest": URL}
    put(upstream, {"team/model": URL, "team/model@v1": URL, **strange}, '"1"')
    learnt = await names.read()
    assert learnt is not None
    assert learnt.models == {"team/model": URL, "team/model@v1": URL}
    assert learnt.records["team/model"].sha256 == DIGEST
    assert learnt.synonyms["team/model@latest"].target == "team/model"
    assert section_from_json((tmp_path / "parent" / "site.json").read_text(), PARENT) == learnt


async def test_map_that_has_not_changed_is_not_read_again_and_one_that_has_is(
    names: ParentNames, upstream: Upstream
) -> None:
    put(upstream, {"team/model": URL}, '"1"')
    first = await names.read()
    asked = upstream.methods.count("GET")
    assert await names.read() == first
    assert upstream.methods.count("GET") == asked
    put(upstream, {"team/other": URL}, '"2"')
    second = await names.read()
    assert second is not None
    assert list(second.models) == ["team/other"]
    upstream.put(PATH, status(404))  # nothing is published there any more
    third = await names.read()
    assert third is not None
    assert not third.models


@pytest.mark.parametrize(
    "what",
    [status(500), status(401), redirect("/elsewhere"), answer(200, b"no JSON", ETag='"2"'), b"x" * 2000],
    ids=["broken", "no token", "redirected", "no JSON", "too long"],
)
async def test_parent_that_cannot_be_asked_is_told_of_once_and_what_was_known_stays(
    names: ParentNames,
    upstream: Upstream,
    what: object,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(upstream, {"team/model": URL}, '"1"')
    known = await names.read()
    monkeypatch.setattr(parent_names, "_LARGEST", 1000)
    upstream.put(PATH, what)  # type: ignore[arg-type]
    assert [await names.read() for _ in range(3)] == [known] * 3
    assert caplog.text.count("the parent cannot be asked for the names that it publishes") == 1


async def test_nobody_is_asked_where_nobody_is_to_be_asked(tmp_path: Path, upstream: Upstream) -> None:
    async with open_http() as http:
        assert await ParentNames(http, lambda: None, tmp_path / "site.json").read() is None
    assert upstream.seen == []
