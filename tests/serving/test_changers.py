from __future__ import annotations

import pytest
from starlette.requests import Request

from zooproxy.errors import NotFromHere, TokenRequired
from zooproxy.serving.changers import Changers


def a_request(peer: str | None = "127.0.0.1", **headers: str) -> Request:
    given = {"host": "127.0.0.1:8765", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request({"type": "http", "headers": raw, "client": None if peer is None else (peer, 1234)})


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "[::1]:8765", "127.0.0.1"])
def test_program_on_this_machine_may_change_where_no_token_is_set(peer: str, host: str) -> None:
    Changers([]).check(a_request(peer, host=host))


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
def test_anybody_else_may_not_change_where_no_token_is_set(request_: Request) -> None:
    with pytest.raises(NotFromHere, match="ADMIN_TOKENS"):
        Changers([""]).check(request_)


@pytest.mark.parametrize("authorization", ["Bearer one", "bearer  two ", "BEARER one"])
def test_bearer_of_a_token_may_change_from_anywhere(authorization: str) -> None:
    Changers(["one", "two"]).check(a_request("10.0.0.1", authorization=authorization))


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Basic one", "one", "Bearer é"]
)
def test_anybody_else_may_not_change_where_a_token_is_set(authorization: str) -> None:
    with pytest.raises(TokenRequired, match="Bearer"):
        Changers(["one", ""]).check(a_request(authorization=authorization))
