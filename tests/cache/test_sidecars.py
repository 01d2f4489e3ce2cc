"""What lies beside a blob: written, read back, and disbelieved."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.cache.blobs import SIDECAR_BYTES
from zooproxy.cache.sidecars import Origin, Sidecar, sidecar_from_json, sidecar_to_json
from zooproxy.digest import Sha256
from zooproxy.errors import SidecarMalformed

DIGEST, OTHER = Sha256.of(b"some weights"), Sha256.of(b"other weights")
TIME = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
HELD = Origin("https://zoo.example/x.pth", TIME, DIGEST, TIME)
LEFT = Origin("https://zoo.example/y.pth", None, OTHER, TIME, TIME)
SIDECAR = Sidecar(DIGEST, 12, (HELD, LEFT))


def test_sidecar_is_read_as_it_was_written() -> None:
    assert sidecar_from_json(sidecar_to_json(SIDECAR), DIGEST) == SIDECAR


def test_sidecar_says_in_words_what_it_says() -> None:
    document = json.loads(sidecar_to_json(SIDECAR))
    assert document["format"] == 1
    assert document["sources"][0] == {
        "url": HELD.url,
        "filled_at": "2026-01-31T12:00:00.000001+00:00",
        "trusted": DIGEST,
        "since": "2026-01-31T12:00:00.000001+00:00",
        "accepted_at": None,
    }


def test_origin_of_a_url_replaces_the_one_before_it() -> None:
    later = replace(HELD, filled_at=None)
    assert Sidecar(DIGEST, 12, (HELD, LEFT)).with_origin(later).origins == (later, LEFT)
    assert SIDECAR.of(HELD.url) == HELD
    assert SIDECAR.of("https://zoo.example/z.pth") is None


def changed(**members: Any) -> bytes:
    return json.dumps({**json.loads(sidecar_to_json(SIDECAR)), **members}).encode()


def source(**members: Any) -> bytes:
    document = json.loads(sidecar_to_json(SIDECAR))
    return changed(sources=[{**document["sources"][0], **members}])


HOSTILE = {
    "empty": b"",
    "zeros": bytes(4096),
    "no text": b"\xff\xfe\x00{",
    "cut short": sidecar_to_json(SIDECAR)[:-3],
    "deep": b"[" * 100_000,
    "deeper object": b'{"format":' * 100_000,
    "a list": b"[1]",
    "a number": b"1",
    "null": b"null",
    "a huge number": b'{"format":1,"size":' + b"9" * 10_000 + b"}",
    "too long": sidecar_to_json(SIDECAR) + b" " * SIDECAR_BYTES,
    "another blob's": changed(sha256=OTHER),
    "half a digest": changed(sha256=DIGEST[:8]),
    "a digest in capitals": changed(sha256=DIGEST.upper()),
    "a later format": changed(format=2),
    "no size": changed(size=None),
    "a size of true": changed(size=True),
    "a size below zero": changed(size=-1),
    "a size beyond every disk": changed(size=1 << 70),
    "a size with a fraction": changed(size=12.5),
    "sources that are an object": changed(sources={"url": "x"}),
    "sources that are text": changed(sources="abc"),
    "a source that is null": changed(sources=[None]),
    "a url that is a number": source(url=7),
    "an empty url": source(url=""),
    "a url of a megabyte": source(url="https://zoo.example/" + "x" * (1 << 20)),
    "a url with a line feed": source(url="https://zoo.example/\n[forged log line]"),
    "a url with a zero": source(url="https://zoo.example/\0"),
    "a url that is no text": source(url="https://zoo.example/\ud800"),
    "a time without a zone": source(filled_at="2026-01-31T12:00:00"),
    "a time before all": source(since="0001-01-01T00:00:00+14:00"),
    "a time after all": source(since="9999-12-31T23:59:59-14:00"),
    "a time that is a number": source(filled_at=1.5),
    "half a trusted digest": source(trusted="0676ba61"),
    "no time of trust": source(since=None),
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_hostile_sidecar_is_refused_by_type_and_without_its_content(document: bytes) -> None:
    with pytest.raises(SidecarMalformed) as refusal:
        sidecar_from_json(document, DIGEST)
    assert str(refusal.value).startswith(f"the sidecar of {DIGEST} ")
    assert "forged" not in str(refusal.value)


@given(st.data())
def test_sidecar_with_any_bytes_changed_is_refused_or_speaks_of_its_own_blob(data: st.DataObject) -> None:
    document = bytearray(sidecar_to_json(SIDECAR))
    for _ in range(data.draw(st.integers(1, 8))):
        document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    with suppress(SidecarMalformed):
        assert sidecar_from_json(bytes(document), DIGEST).sha256 == DIGEST


def test_sidecar_of_thousands_of_sources_is_read_at_once() -> None:
    many = Sidecar(DIGEST, 12, tuple(replace(HELD, url=f"https://zoo.example/{number:05}") for number in range(10_000)))
    assert sidecar_from_json(sidecar_to_json(many), DIGEST) == many
