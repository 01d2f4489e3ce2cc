"""When two looks at a source tell that it has changed."""

from __future__ import annotations

import pytest

from zooproxy.fetch.sighting import Sighting

A, B = "https://zoo.example/net.pth", "http://mirror.lan/net.pth"


@pytest.mark.parametrize(
    ("known", "found", "words"),
    [
        (Sighting(A), Sighting(A), None),
        (Sighting(A, 5), Sighting(A, 5), None),
        (Sighting(A, 5), Sighting(A, 6), "6 bytes and had 5"),
        (Sighting(A, 5), Sighting(B, 6), "6 bytes and had 5"),
        (Sighting(A, 5), Sighting(A), None),
        (Sighting(A, 5, '"a"'), Sighting(A, 5, '"b"'), "entity tag"),
        (Sighting(A, 5, '"a"'), Sighting(A, 5, 'W/"a"'), None),
        (Sighting(A, 5, '"a"', "Mon"), Sighting(A, 5, '"a"', "Tue"), None),
        (Sighting(A, 5, None, "Mon"), Sighting(A, 5, None, "Tue"), "modified"),
        (Sighting(A, 5, None, "Mon"), Sighting(A, 5, '"b"', "Mon"), None),
        (Sighting(A, 5, '"a"'), Sighting(B, 5, '"b"'), None),
    ],
)
def test_only_what_the_same_host_said_otherwise_or_another_length_is_a_change(
    known: Sighting, found: Sighting, words: str | None
) -> None:
    difference = found.difference(known)
    assert difference is None if words is None else words in (difference or "")
