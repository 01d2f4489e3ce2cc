"""The manifest: one spelling, and nothing believed that does not hang together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from zooproxy.digest import Sha256
from zooproxy.errors import MalformedBundle
from zooproxy.provide.bundles.manifest import (
    BundledIndex,
    BundledLayer,
    BundledSource,
    Contents,
    Manifest,
    Member,
    identity,
    joined,
    manifest_from_bytes,
    sealed,
)

BLOBS = [Member(Sha256.of(b"%d" % number), number + 1) for number in range(4)]
WHEN = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)


def source(number: int) -> BundledSource:
    blob = BLOBS[number]
    return BundledSource(f"https://a/{number}.pth", blob.sha256, blob.size, WHEN, number == 0, (f"mmcls://{number}",))


CONTENTS = Contents(
    layers=(BundledLayer("synced", "mmcls", BLOBS[2].sha256),),
    indexes=(BundledIndex(BLOBS[0].sha256, 3, BLOBS[3].sha256),),
    sources=(source(0), source(1)),
    members=(BLOBS[2], BLOBS[3], BLOBS[0], BLOBS[1]),
)


def written(contents: Contents = CONTENTS) -> Manifest:
    return sealed("zooproxy 1", [contents])[0]


def test_a_manifest_comes_back_as_it_was_written() -> None:
    assert manifest_from_bytes(written().to_bytes()) == written()
    assert written(Contents()).contents == manifest_from_bytes(written(Contents()).to_bytes()).contents


def test_parts_join_to_the_whole_and_have_its_identity() -> None:
    one = replace(CONTENTS, layers=(), indexes=(), sources=(source(1),), members=(BLOBS[1],))
    two = replace(CONTENTS, sources=(source(0),), members=CONTENTS.members[:3])
    parts = sealed("zooproxy 1", [one, two])
    whole = joined([one, two])
    assert {part.part.whole for part in parts} == {identity("zooproxy 1", whole)}
    assert [(part.part.number, part.part.count) for part in parts] == [(1, 2), (2, 2)]
    assert [manifest_from_bytes(part.to_bytes()) for part in parts] == parts
    assert whole.sources == CONTENTS.sources


def spelt(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The manifest with a change, spelt as ours are, its digest put right."""
    members = json.loads(written().to_bytes())
    change(members)
    lines = []
    for name, value in members.items():
        text = json.dumps(value)
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f" {json.dumps(entry)}" for entry in value) + "\n]"
        lines.append(f'"{name}": {text}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def test_spelling_without_a_change_changes_nothing() -> None:
    assert spelt(lambda members: None) == written().to_bytes()


def the_set_put_right(change: Callable[[dict[str, Any]], object]) -> bytes:
    def and_digest(members: dict[str, Any]) -> None:
        change(members)
        members["set"] = None
        unsigned = spelt(lambda fresh: (fresh.clear(), fresh.update(members)))
        members["set"] = Sha256.of(unsigned)

    return spelt(and_digest)


def test_the_digest_put_right_is_the_digest() -> None:
    assert the_set_put_right(lambda members: None) == written().to_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(format="tar"), "not a zooproxy bundle's"),
        (lambda m: m.update(version=2), "later zooproxy"),
        (lambda m: m.update(created_by=""), "not what zooproxy writes"),
        (lambda m: m.update(created_by="a\nb"), "not what zooproxy writes"),
        (lambda m: m.update(created_by="\ud800"), "not what zooproxy writes"),
        (lambda m: m.update(surplus=1), "not spelt"),
        (lambda m: m.pop("members"), "not what zooproxy writes"),
        (lambda m: m.update(part=0), "part 0 of 1"),
        (lambda m: m.update(part=2), "part 2 of 1"),
        (lambda m: m.update(part=True), "not what zooproxy writes"),
        (lambda m: m["members"].append(m["members"][0]), "a member twice"),
        (lambda m: m["members"].append([Sha256.of(b"stranger"), 1]), "nothing in it speaks of"),
        (lambda m: m["members"].pop(), "does not list"),
        (lambda m: m["members"][0].append(1), "not what zooproxy writes"),
        (lambda m: m["members"][0].__setitem__(1, -1), "not what zooproxy writes"),
        (lambda m: m["members"][0].__setitem__(1, 1.0), "not what zooproxy writes"),
        (lambda m: m["members"][0].__setitem__(1, 1 << 63), "not what zooproxy writes"),
        (lambda m: m["members"][0].__setitem__(0, "../../etc/passwd"), "not what zooproxy writes"),
        (lambda m: m["members"][0].__setitem__(1, 65 << 20), "a document of more than"),
        (lambda m: m["members"][-1].__setitem__(1, 7), "two sizes"),
        (lambda m: m["sources"].reverse(), "a source twice, or out of order"),
        (lambda m: m["sources"].append(m["sources"][1]), "a source twice"),
        (lambda m: m["sources"][0].update(url="a\0b"), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(url=7), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(url="x" * 20_000), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(sha256="0676ba61"), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(filled_at="yesterday"), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(filled_at="2026-01-31T12:00:00"), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(filled_at="1960-01-31T12:00:00.000000+00:00"), "not what zooproxy writes"),
        (lambda m: m["sources"][0].update(trust="blind"), "not spelt"),
        (lambda m: m["sources"][0].update(references="mmcls://x"), "not spelt"),
        (lambda m: m["catalog"].append(m["catalog"][0]), "a layer of the catalog twice"),
        (lambda m: m["tensor_indexes"].append(m["tensor_indexes"][0]), "a tensor index twice"),
        (lambda m: m.update(previous=[BLOBS[0].sha256] * 2), "a previous bundle twice"),
        (lambda m: m.update(previous=BLOBS[0].sha256), "not what zooproxy writes"),
    ],
)
def test_what_does_not_hang_together_is_refused(change: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(MalformedBundle, match=words):
        manifest_from_bytes(the_set_put_right(change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"format": ' + b"9" * 10_000 + b"}",
        written().to_bytes() + b" ",
        written().to_bytes().replace(b'"version": 1,', b'"version": 1,\n"version": 1,'),
        written().to_bytes().replace(b"zooproxy 1", b"zoopr\\u006fxy 1"),
    ],
)
def test_what_is_no_manifest_or_not_spelt_as_one_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedBundle):
        manifest_from_bytes(data)


def test_a_whole_whose_own_digest_is_wrong_is_refused() -> None:
    wrong = replace(written(), part=replace(written().part, whole=Sha256.of(b"another")))
    with pytest.raises(MalformedBundle, match="own digest"):
        manifest_from_bytes(wrong.to_bytes())
