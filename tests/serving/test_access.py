from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from starlette.requests import Request

from zooproxy.cache.database import open_database
from zooproxy.cache.tokens import Tokens
from zooproxy.errors import AccessError, NotFromHere, ScopeTooLow, TokenRequired, TooManyWrongTokens
from zooproxy.provide.keyring import Keyring, minted, now_us
from zooproxy.serving.access import Access, SettingsTokens
from zooproxy.serving.wrong_tokens import MOST
from zooproxy.wire.access import ADMIN, FILL, READ

HERE = [
    (peer, host)
    for peer in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1")
    for host in ("localhost", "localhost:8765", "[::1]:8765", "127.0.0.1")
]
CHANGES = (FILL, ADMIN)


def a_request(peer: str | None = "127.0.0.1", **headers: str) -> Request:
    given = {"host": "127.0.0.1:8765", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"type": "http", "headers": raw, "client": None if peer is None else (peer, 1234)})


def bearing(token: str, peer: str = "10.0.0.1") -> Request:
    return a_request(peer, authorization=f"Bearer {token}")


ELSEWHERE = [
    a_request("10.0.0.1"),
    a_request("::ffff:10.0.0.1"),
    a_request(None),
    a_request("somewhere"),
    a_request(host="evil.example"),
    a_request(host=""),
    a_request(host="[::1"),
    a_request(origin="https://evil.example"),
    a_request(origin="null"),
    a_request(x_forwarded_for="127.0.0.1"),
    a_request(forwarded="for=127.0.0.1"),
]


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[Tokens]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield Tokens(database)


@pytest.fixture
def over(tokens: Tokens) -> Callable[[SettingsTokens], Access]:
    return lambda settings: Access(settings, Keyring(tokens))


Over = Callable[[SettingsTokens], Access]


async def test_program_on_this_machine_may_change_where_no_token_is_set(over: Over) -> None:
    access = over(SettingsTokens())
    for peer, host in HERE:
        for policy in CHANGES:
            assert (await access.check(a_request(peer, host=host), policy)).name == "loopback"


async def test_anybody_else_may_not_change_where_no_token_is_set(over: Over) -> None:
    access = over(SettingsTokens([""], ["a token for reading"]))
    for request in ELSEWHERE:
        for policy in CHANGES:
            with pytest.raises(NotFromHere, match="ADMIN_TOKENS"):
                await access.check(request, policy)


async def test_bearer_of_an_admin_token_may_do_everything_from_anywhere(over: Over) -> None:
    access = over(SettingsTokens(["one", "two"], ["three"]))
    for authorization in ("Bearer one", "bearer  two ", "BEARER one"):
        for policy in (READ, *CHANGES):
            bearer = await access.check(a_request("10.0.0.1", authorization=authorization), policy)
            assert (bearer.name[:9], bearer.scope) == ("settings:", ADMIN)
            assert "one" not in bearer.name


@pytest.mark.parametrize("policy", [READ, FILL, ADMIN])
async def test_anybody_else_may_not_where_a_token_is_needed(over: Over, policy: str) -> None:
    access = over(SettingsTokens(["one", ""], reads_need_token=True))
    for text in ("", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Basic one", "one", "Bearer é"):
        with pytest.raises(TokenRequired, match=f"scope .*{ADMIN}.*Bearer"):
            await access.check(a_request(authorization=text), policy)


async def test_a_token_for_reading_reads_and_changes_nothing(over: Over) -> None:
    access = over(SettingsTokens(["one"], ["three"]))
    assert (await access.check(bearing("three"), READ)).scope == READ
    for policy in CHANGES:
        with pytest.raises(ScopeTooLow, match="'read'"):
            await access.check(bearing("three"), policy)


async def test_where_reads_are_open_no_token_is_looked_at(over: Over) -> None:
    access = over(SettingsTokens(["one"]))
    assert (await access.check(bearing("wrong"), READ)).name == "anybody"


async def test_a_made_token_is_told_by_its_id_and_reaches_as_far_as_its_scope(over: Over, tokens: Tokens) -> None:
    access = over(SettingsTokens(reads_need_token=True))
    for scope, reaches in ((READ, (READ,)), (FILL, (READ, FILL)), (ADMIN, (READ, FILL, ADMIN))):
        text, token = minted(scope)
        await tokens.add(token)
        for policy in reaches:
            assert (await access.check(bearing(text), policy)).name == f"token:{token.id}"
        for policy in {*CHANGES} - {*reaches}:
            with pytest.raises(AccessError):
                await access.check(bearing(text), policy)


async def test_the_first_token_for_a_kind_of_call_ends_what_this_machine_might_do_without_one(
    over: Over, tokens: Tokens
) -> None:
    access = over(SettingsTokens())
    _, token = minted(FILL)
    await tokens.add(token)
    with pytest.raises(TokenRequired):
        await access.check(a_request(), FILL)
    assert (await access.check(a_request(), ADMIN)).name == "loopback"
    await tokens.revoke(token.id, now_us())
    assert (await access.check(a_request(), FILL)).name == "loopback"


async def test_wrong_tokens_from_an_address_are_held_against_it_and_not_against_made_tokens_or_others(
    over: Over, tokens: Tokens
) -> None:
    access = over(SettingsTokens(["one"]))
    text, token = minted(ADMIN)
    await tokens.add(token)
    for _ in range(MOST):
        with pytest.raises(TokenRequired):
            await access.check(bearing("wrong"), ADMIN)
    for guess in ("wrong", "one"):
        with pytest.raises(TooManyWrongTokens):
            await access.check(bearing(guess), ADMIN)
    assert (await access.check(bearing(text), ADMIN)).name == f"token:{token.id}"
    assert (await access.check(bearing("one", "10.0.0.2"), ADMIN)).scope == ADMIN
