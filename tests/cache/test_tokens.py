from __future__ import annotations

import pytest

from zooproxy.cache.database import Database, open_database
from zooproxy.cache.tokens import Token, Tokens
from zooproxy.digest import Sha256


def a_token(name: str = "0123456789ab", **members: object) -> Token:
    kept = {"secret_sha256": Sha256("a" * 64), "scope": "fill", "zoos": None, "note": "", "created_at": 1}
    return Token(id=name, **{**kept, **members})


async def test_tokens_come_back_as_they_were_put_in_the_order_of_their_making(database: Database) -> None:
    tokens = Tokens(database)
    late = a_token("b" * 12, created_at=2, zoos=frozenset({"mmdet", "mmcls"}), note="two words", expires_at=9)
    await tokens.add(late)
    await tokens.add(a_token())
    assert list((await tokens.known()).values()) == [a_token(), late]


async def test_what_another_process_makes_and_revokes_is_known_at_once(database: Database, url: str) -> None:
    here = Tokens(database)
    assert await here.known() == {}
    async with open_database(url) as other:
        await Tokens(other).add(a_token())
        assert (await here.known())["0123456789ab"].revoked_at is None
        assert await Tokens(other).revoke("0123456789ab", 5)
        assert (await here.known())["0123456789ab"].revoked_at == 5


async def test_a_token_is_revoked_once(database: Database) -> None:
    tokens = Tokens(database)
    await tokens.add(a_token())
    assert await tokens.revoke("0123456789ab", 5)
    assert await tokens.revoke("0123456789ab", 6)
    assert not await tokens.revoke("none", 7)
    assert (await tokens.known())["0123456789ab"].revoked_at == 5


async def test_last_use_never_goes_back(database: Database) -> None:
    tokens = Tokens(database)
    await tokens.add(a_token())
    for at in (7, 6):
        await tokens.used({"0123456789ab": at, "gone": at})
    assert (await tokens.known())["0123456789ab"].used_at == 7


@pytest.mark.parametrize(
    ("members", "valid"),
    [
        ({}, True),
        ({"expires_at": 10}, False),
        ({"expires_at": 11}, True),
        ({"revoked_at": 99}, False),
        ({"expires_at": 11, "revoked_at": 3}, False),
    ],
)
def test_a_token_is_valid_until_it_expires_or_is_revoked(members: dict[str, object], valid: bool) -> None:
    assert a_token(**members).is_valid(10) is valid
