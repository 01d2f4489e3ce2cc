"""``zooproxy token``: who may call the proxy. Works on the database that the settings name, beside a running proxy."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from zooproxy.cli.recording import record
from zooproxy.cli.service import check_installed
from zooproxy.errors import UnknownToken
from zooproxy.wire.access import READ, SCOPES

if TYPE_CHECKING:
    from zooproxy.cache.tokens import Token, Tokens
    from zooproxy.serving.settings import Settings

T = TypeVar("T")


def add_to(commands: Any) -> None:
    token = commands.add_parser("token", help="make, list and revoke bearer tokens, on the proxy's own machine")
    verbs = token.add_subparsers(metavar="VERB", required=True)
    new = verbs.add_parser("new", help="make one and print it; it cannot be shown again")
    new.add_argument("--scope", choices=SCOPES, default=READ, help="what it is for (default: %(default)s)")
    new.add_argument("--zoo", metavar="ZOO", nargs="+", default=[], help="only names of these zoos, and their files")
    new.add_argument("--expires", metavar="DAYS", type=int, help="from now; without it, it does not expire")
    new.add_argument("--note", metavar="TEXT", default="", help="whose it is, or what for")
    new.set_defaults(run=_new)
    shown = verbs.add_parser("ls", help="every token but its secret; last use is written down once a minute")
    shown.set_defaults(run=_list)
    revoke = verbs.add_parser("revoke", help="end one; a running proxy refuses it from then on")
    revoke.add_argument("id", metavar="ID", help="as listed; the whole token will do")
    revoke.set_defaults(run=_revoke)


def _new(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.provide.keyring import minted
    from zooproxy.serving.settings import read_settings

    text, token = minted(options.scope, options.zoo, days=options.expires, note=options.note)
    settings = read_settings()
    _on_tokens(settings, lambda tokens: tokens.add(token))
    zoos = sorted(token.zoos or ())
    record(settings, "token new", {"id": token.id, "scope": token.scope, "zoos": zoos, "note": token.note})
    print(text)
    print(f"token {token.id} of the scope {token.scope}; it is not shown again", file=sys.stderr)
    return 0


def _list(_: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.provide.keyring import now_us
    from zooproxy.serving.settings import read_settings

    for line in _lines(tuple(_on_tokens(read_settings(), lambda tokens: tokens.known()).values()), now_us()):
        print(line)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.provide.keyring import id_of, now_us
    from zooproxy.serving.settings import read_settings

    settings = read_settings()
    id = id_of(options.id)  # noqa: A001  # the wire's word
    if not _on_tokens(settings, lambda tokens: tokens.revoke(id, now_us())):
        raise UnknownToken("there is no token with this id; 'zooproxy token ls' lists them")
    record(settings, "token revoke", {"id": id})
    print(f"token {id} is revoked")
    return 0


def _on_tokens(settings: Settings, do: Callable[[Tokens], Awaitable[T]]) -> T:
    from zooproxy.cache.database import open_database
    from zooproxy.cache.tokens import Tokens

    async def run() -> T:
        async with open_database(settings.database) as database:
            return await do(Tokens(database))

    return asyncio.run(run())


def _lines(tokens: tuple[Token, ...], now: int) -> Iterator[str]:
    yield f"{'id':12}  {'scope':5}  {'zoos':16}  {'created':10}  {'expires':10}  {'last used':16}  {'state':7}  note"
    for token in tokens:
        zoos = "all" if token.zoos is None else ",".join(sorted(token.zoos))
        days = f"{_day(token.created_at)}  {_day(token.expires_at):10}  {_minute(token.used_at):16}"
        yield f"{token.id}  {token.scope:5}  {zoos:16}  {days}  {_state(token, now):7}  {token.note}".rstrip()


def _state(token: Token, now: int) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.is_valid(now) else "expired"


def _day(at: int | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d", time.gmtime(at / 1e6))


def _minute(at: int | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at / 1e6))
