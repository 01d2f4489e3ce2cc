"""Tokens as operators make them and clients bear them: ``zp_<id>_<secret>``.

The database keeps the sha256 of the secret and nothing else of it. A plain hash is right here, where it would be wrong
for a password: salts and slow hashes defend what people choose against guessing, and nobody guesses 256 random bits;
a slow hash would cost each request what it cannot cost an attacker.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from zooproxy.cache.tokens import Token, Tokens
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest, CacheError, UnknownZoo
from zooproxy.names.zoos import ZOO_OF_SCHEME
from zooproxy.wire.access import ADMIN, SCOPES

PREFIX: Final = "zp_"
MAX_NOTE: Final = 200  # characters
WRITE_SECONDS: Final = 60.0  # how often it is written down when tokens were last used

_SHAPE = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_([A-Za-z0-9_-]{{43}})\Z", re.ASCII)
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_NOBODYS = Sha256("0" * 64)

_log = logging.getLogger(__name__)


def minted(scope: str, zoos: Collection[str] = (), *, days: int | None = None, note: str = "") -> tuple[str, Token]:
    """A new token: the text that its bearer is given, once, and what is kept of it. No ``zoos``: no limit to any.

    Raises:
        BadRequest: the scope is none, an admin's is limited, it would never be valid, or the note is no line of text.
        UnknownZoo: a zoo is none.
    """
    if scope not in SCOPES:
        raise BadRequest(f"the scope of a token is one of {', '.join(SCOPES)}")
    if zoos and scope == ADMIN:
        raise BadRequest(
            "a token of the scope admin cannot be limited to zoos: most of what it may do concerns them all"
        )
    if days is not None and not 0 < days <= 36_500:
        raise BadRequest("a token expires after 1 to 36500 days")
    if len(note) > MAX_NOTE or not note.isprintable():
        raise BadRequest(f"a note is one line of at most {MAX_NOTE} characters")
    secret, now = secrets.token_urlsafe(32), now_us()
    token = Token(
        id=secrets.token_hex(6),
        secret_sha256=Sha256.of(secret.encode()),
        scope=scope,
        zoos=frozenset(map(_zoo, zoos)) or None,
        note=note,
        created_at=now,
        expires_at=None if days is None else now + days * _DAY,
    )
    return f"{PREFIX}{token.id}_{secret}", token


def id_of(text: str) -> str:
    """The id in a token, in its beginning (``zp_<id>``), or alone."""
    return text.removeprefix(PREFIX).partition("_")[0]


def now_us() -> int:
    return time.time_ns() // 1000


class Keyring:
    """Which token a text is; ``open_keyring`` makes one that also writes down when they were used."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._used: dict[str, int] = {}

    async def token_of(self, text: str) -> Token | None:
        """The valid token that ``text`` is; None where it is none, is revoked or has expired.

        Raises:
            CacheError: the database cannot be read.
        """
        shape = _SHAPE.match(text)
        if shape is None:
            return None
        token, now = (await self._tokens.known()).get(shape[1]), now_us()
        # Hashed and compared for an id that is nobody's too: the time does not tell which ids there are.
        given, kept = Sha256.of(shape[2].encode()), token.secret_sha256 if token else _NOBODYS
        if not hmac.compare_digest(given, kept) or token is None or not token.is_valid(now):
            return None
        self._used[token.id] = now
        return token

    async def scopes(self) -> frozenset[str]:
        """For which there is a token. One that has expired counts: time alone must not open what a token guards."""
        return frozenset(token.scope for token in (await self._tokens.known()).values() if token.revoked_at is None)

    async def write_down(self) -> None:
        """When tokens were used since the last time.

        Raises:
            CacheError: the database cannot be written; it is not lost.
        """
        if self._used:
            used = dict(self._used)
            await self._tokens.used(used)
            self._used = {id: at for id, at in self._used.items() if used.get(id) != at}  # noqa: A001  # the wire's word


@asynccontextmanager
async def open_keyring(tokens: Tokens) -> AsyncIterator[Keyring]:
    keyring = Keyring(tokens)
    writing = asyncio.create_task(_write_down(keyring))
    try:
        yield keyring
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        await _written(keyring)


async def _write_down(keyring: Keyring) -> None:
    while True:
        await asyncio.sleep(WRITE_SECONDS)
        await _written(keyring)


async def _written(keyring: Keyring) -> None:
    try:
        await keyring.write_down()
    except CacheError as error:
        _log.warning("when tokens were last used could not be written down: %s", error)


def _zoo(name: str) -> str:
    zoo = ZOO_OF_SCHEME.get(name)
    if zoo is None:
        raise UnknownZoo(f"there is no zoo of this name; there are {', '.join(sorted(set(ZOO_OF_SCHEME.values())))}")
    return zoo
