"""Renditions kept: found again, within a bounded memory, the least recently used leaving first."""

from __future__ import annotations

from zooproxy.digest import Sha256
from zooproxy.formats.forms import Form
from zooproxy.formats.segments import BlobRange, Literal, Rendition
from zooproxy.provide.renditions import Renditions

BLOB = Sha256("0" * 64)


def rendition(size: int) -> Rendition:
    return Rendition((Literal(bytes(size)), BlobRange(0, 10**9)), size + 10**9, "application/octet-stream", ".pth")


def test_a_rendition_is_found_by_blob_form_and_recipe():
    kept = Renditions()
    made = rendition(10)
    kept.put((BLOB, Form(), None), made)
    assert kept.get((BLOB, Form(), None)) is made
    assert kept.get((BLOB, Form(), "mmcls")) is None
    assert kept.get((BLOB, Form(prefix="a"), None)) is None


def test_the_least_recently_used_leaves_first_and_what_is_too_large_is_not_kept():
    kept = Renditions(memory=3000)
    keys = [(BLOB, Form(prefix=str(number)), None) for number in range(4)]
    for key in keys[:2]:
        kept.put(key, rendition(1000))
    kept.get(keys[0])
    kept.put(keys[2], rendition(1000))
    kept.put(keys[3], rendition(5000))
    assert [kept.get(key) is not None for key in keys] == [True, False, True, False]


def test_a_fingerprint_tells_segments_apart():
    assert rendition(3).fingerprint == rendition(3).fingerprint != rendition(4).fingerprint
