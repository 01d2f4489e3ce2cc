"""The tar file's headers, judged by GNU tar and by Python's tarfile."""

from __future__ import annotations

import io
import tarfile

import pytest

from zooproxy.digest import Sha256
from zooproxy.errors import MalformedBundle
from zooproxy.provide.bundles import layout

DIGEST = Sha256.of(b"x")


@pytest.mark.parametrize("size", [0, 1, 512, 8**11 - 1, 8**11, 1 << 40, layout.LARGEST])
def test_a_header_is_what_tarfile_reads_and_what_comes_back_as_its_size(size: int) -> None:
    block = layout.header(layout.blob_name(DIGEST), size)
    read = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    assert (read.name, read.size, read.type, read.mode) == (f"blobs/sha256/{DIGEST}", size, tarfile.REGTYPE, 0o644)
    assert layout.parsed_size(block, layout.blob_name(DIGEST)) == size
    assert layout.parsed_size(block, layout.MANIFEST) is None


def test_a_small_header_is_byte_for_byte_what_tarfile_writes() -> None:
    named = tarfile.TarInfo("manifest.json")
    named.size = 1234
    assert layout.header("manifest.json", 1234) == named.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("size", [-1, layout.LARGEST + 1])
def test_a_size_that_no_member_has_makes_no_header(size: int) -> None:
    with pytest.raises(ValueError, match="no size"):
        layout.header("manifest.json", size)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (b"", "cut short"),
        (b"\0" * 512, "members are missing"),
        (layout.header("manifest.json", 1)[:-1] + b"x", "not as zooproxy writes it"),
        (b"PK\3\4" + bytes(508), "this is no bundle"),
    ],
)
def test_what_stands_there_instead_is_named(block: bytes, words: str) -> None:
    assert words in str(layout.unexpected(block, "manifest.json"))


@pytest.mark.parametrize(
    ("rest", "words"),
    [(b"\0" * 1023, "does not end"), (b"\0" * 1023 + b"x", "does not end"), (b"\0" * 1025, "something follows")],
)
def test_the_end_is_two_empty_blocks_and_nothing_more(rest: bytes, words: str) -> None:
    with pytest.raises(MalformedBundle, match=words):
        layout.read_end(io.BytesIO(rest).read)
    layout.read_end(io.BytesIO(bytes(1024)).read)
