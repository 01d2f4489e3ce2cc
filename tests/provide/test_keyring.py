from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zooproxy.cache.database import open_database
from zooproxy.cache.tokens import Tokens
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest, UnknownZoo
from zooproxy.provide.keyring import Keyring, id_of, minted, now_us, open_keyring


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[Tokens]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield Tokens(database)


def test_a_minted_token_keeps_a_hash_and_not_the_secret() -> None:
    text, token = minted("read", ["modelzoo", "mmdet"], days=2, note="ours")
    assert text.startswith(f"zp_{token.id}_")
    secret = text.removeprefix(f"zp_{token.id}_")
    assert len(secret) == 43  # 256 bits
    assert token.secret_sha256 == Sha256.of(secret.encode())
    assert secret not in repr(token)
    assert token.zoos == {"torchvision", "mmdet"}
    assert token.expires_at == token.created_at + 2 * 86_400_000_000
    assert [id_of(one) for one in (text, token.id, f"zp_{token.id}")] == [token.id] * 3


def test_no_two_tokens_are_alike() -> None:
    assert len({minted("read")[0] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scope": "root"}, "read, fill, admin"),
        ({"scope": "admin", "zoos": ["mmdet"]}, "cannot be limited"),
        ({"scope": "read", "days": 0}, "1 to 36500"),
        ({"scope": "read", "note": "two\nlines"}, "one line"),
        ({"scope": "read", "note": "x" * 201}, "200"),
    ],
)
def test_what_is_no_sensible_token_is_not_minted(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        minted(**arguments)


def test_a_token_for_a_zoo_that_is_none_is_not_minted() -> None:
    with pytest.raises(UnknownZoo, match="torchvision"):
        minted("read", ["torchvison"])


async def test_only_the_whole_secret_of_a_valid_token_is_one(tokens: Tokens) -> None:
    text, token = minted("fill")
    expired, old = minted("admin", days=1)
    await tokens.add(token)
    await tokens.add(replace(old, created_at=0, expires_at=1))
    keyring = Keyring(tokens)
    assert await keyring.token_of(text) == token
    wrong = "A" if text[-1] != "A" else "B"
    for other in (text[:-1] + wrong, text[:-1], text + "A", text.replace(token.id, old.id), "zp_", "", expired):
        assert await keyring.token_of(other) is None
    await tokens.revoke(token.id, now_us())
    assert await keyring.token_of(text) is None


async def test_a_scope_has_a_token_until_it_is_revoked_even_if_it_expired(tokens: Tokens) -> None:
    _, token = minted("admin", days=1)
    keyring = Keyring(tokens)
    assert await keyring.scopes() == frozenset()
    await tokens.add(replace(token, created_at=0, expires_at=1))
    assert await keyring.scopes() == {"admin"}
    await tokens.revoke(token.id, now_us())
    assert await keyring.scopes() == frozenset()


async def test_last_use_is_gathered_and_written_down_at_the_end(tokens: Tokens) -> None:
    text, token = minted("fill")
    await tokens.add(token)
    async with open_keyring(tokens) as keyring:
        await keyring.token_of(text)
        assert (await tokens.known())[token.id].used_at is None
    used = (await tokens.known())[token.id].used_at
    assert used is not None
    assert used >= token.created_at
