from __future__ import annotations

import pytest

from zooproxy.serving.digest_wishes import sha256_wish


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        (None, None),
        ("", None),
        ("sha-256=10", 10),
        ("sha-512=3, sha-256=10, unixsum=0", 10),
        ("sha-256=0", 0),
        ("sha-256 = 4", None),
        ("sha-256=1,sha-256=7", 7),  # the last one counts (RFC 9651, section 3.2)
        ("sha-512=10", None),
        ("sha-256=11", None),
        ("sha-256=-1", None),
        ("sha-256", None),
        ("sha-256=2, ?", None),
        ("SHA-256=2", None),
        ("sha-256=2;q=1", None),
    ],
)
def test_the_wish_for_sha256_is_read_from_a_well_formed_field_only(field: str | None, wish: int | None) -> None:
    assert sha256_wish(field) == wish
