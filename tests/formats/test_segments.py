"""Ranges of a list of segments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.formats.segments import BlobRange, Literal, cut

BLOB = bytes(range(256))


def written(segments):
    return b"".join(
        piece.data if isinstance(piece, Literal) else BLOB[piece.offset : piece.offset + piece.length]
        for piece in segments
    )


literals = st.builds(Literal, st.binary(max_size=20))
ranges = st.builds(BlobRange, st.integers(0, 200), st.integers(0, 56))


@given(st.lists(st.one_of(literals, ranges), max_size=8), st.integers(0, 300), st.integers(0, 300))
def test_cut_gives_what_a_slice_of_the_whole_gives(segments, start, length):
    pieces = cut(segments, start, length)
    assert written(pieces) == written(segments)[start : start + length]
    assert all(len(piece) for piece in pieces)


def test_cut_copies_no_bytes_of_the_blob():
    assert cut((Literal(b"head"), BlobRange(100, 50), BlobRange(10, 5)), 6, 50) == (
        BlobRange(102, 48),
        BlobRange(10, 2),
    )


@pytest.mark.parametrize(("start", "length"), [(-1, 4), (0, -1)])
def test_cut_refuses_negative_ranges(start, length):
    with pytest.raises(ValueError, match="negative"):
        cut((Literal(b"abc"),), start, length)
