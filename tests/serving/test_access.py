from __future__ import annotations

import pytest
from starlette.requests import Request

from zooproxy.errors import NotFromHere, ScopeTooLow, TokenRequired
from zooproxy.serving.access import Access, SettingsTokens
from zooproxy.wire.access import ADMIN, FILL, READ


def a_request(peer: str | None = "127.0.0.1", **headers: str) -> Request:
    given = {"host": "127.0.0.1:8765", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"type": "http", "headers": raw, "client": None if peer is None else (peer, 1234)})


@pytest.mark.parametrize("policy", [FILL, ADMIN])
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "[::1]:8765", "127.0.0.1"])
async def test_program_on_this_machine_may_change_where_no_token_is_set(policy: str, peer: str, host: str) -> None:
    bearer = await Access(SettingsTokens()).check(a_request(peer, host=host), policy)
    assert bearer.name == "loopback"


@pytest.mark.parametrize("policy", [FILL, ADMIN])
@pytest.mark.parametrize(
    "request_",
    [
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
    ],
)
async def test_anybody_else_may_not_change_where_no_token_is_set(policy: str, request_: Request) -> None:
    with pytest.raises(NotFromHere, match="ADMIN_TOKENS"):
        await Access(SettingsTokens([""], ["a token for reading"])).check(request_, policy)


@pytest.mark.parametrize("authorization", ["Bearer one", "bearer  two ", "BEARER one"])
@pytest.mark.parametrize("policy", [READ, FILL, ADMIN])
async def test_bearer_of_an_admin_token_may_do_everything_from_anywhere(policy: str, authorization: str) -> None:
    access = Access(SettingsTokens(["one", "two"], ["three"]))
    bearer = await access.check(a_request("10.0.0.1", authorization=authorization), policy)
    assert bearer.name.startswith("settings:")
    assert "one" not in bearer.name


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Basic one", "one", "Bearer é"]
)
@pytest.mark.parametrize("policy", [READ, FILL, ADMIN])
async def test_anybody_else_may_not_where_a_token_is_needed(policy: str, authorization: str) -> None:
    access = Access(SettingsTokens(["one", ""], reads_need_token=True))
    with pytest.raises(TokenRequired, match=f"scope .*{ADMIN}.*Bearer"):
        await access.check(a_request(authorization=authorization), policy)


async def test_a_token_for_reading_reads_and_changes_nothing() -> None:
    access = Access(SettingsTokens(["one"], ["three"]))
    assert (await access.check(a_request("10.0.0.1", authorization="Bearer three"), READ)).scope == READ
    for policy in (FILL, ADMIN):
        with pytest.raises(ScopeTooLow, match="'read'"):
            await access.check(a_request(authorization="Bearer three"), policy)


async def test_where_reads_are_open_no_token_is_looked_at() -> None:
    access = Access(SettingsTokens(["one"]))
    assert (await access.check(a_request("10.0.0.1", authorization="Bearer wrong"), READ)).name == "anybody"
