"""Who may make a call: the bearer of a token whose scope suffices, or, for a change, this machine itself.

========  ====================================================================================================
policy    who
========  ====================================================================================================
open      anybody
read      anybody, unless READ_TOKENS or READS_NEED_TOKEN close reads: then any token
fill      a token of scope fill or admin; while there is none, programs on this machine
admin     a token of scope admin; while there is none, programs on this machine
========  ====================================================================================================
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from zooproxy.digest import Sha256
from zooproxy.errors import NotFromHere, ScopeTooLow, TokenRequired
from zooproxy.provide.keyring import Keyring
from zooproxy.serving.loopback import is_own
from zooproxy.serving.wrong_tokens import WrongTokens
from zooproxy.wire.access import ADMIN, READ, scopes_for

_FINGERPRINT = 8  # digits of the hash of a token of the settings: enough to tell a few apart


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who makes a call: ``name`` is fit for a log, and no secret. ``zoos`` limits it to these, None to none."""

    name: str
    scope: str
    zoos: frozenset[str] | None = None


ANYBODY: Final = Bearer("anybody", READ)
_THIS_MACHINE: Final = Bearer("loopback", ADMIN)


class SettingsTokens:
    """The tokens that the settings name, by scope. ``reads_need_token``: even where none of them is for reading."""

    def __init__(self, admin: Iterable[str] = (), read: Iterable[str] = (), *, reads_need_token: bool = False) -> None:
        named = ((ADMIN, admin), (READ, read))
        self._tokens = tuple((scope, token.encode()) for scope, tokens in named for token in tokens if token)
        self.scopes = frozenset(scope for scope, _ in self._tokens)
        self.reads_need_token = reads_need_token or READ in self.scopes

    def bearer(self, text: str) -> Bearer | None:
        """Whose token ``text`` is, the wider scope first; None where it is nobody's."""
        given = text.encode()
        # All are compared, so that the time says nothing about which one is near.
        matches = [(scope, hmac.compare_digest(given, known)) for scope, known in self._tokens]
        fingerprint = Sha256.of(given)[:_FINGERPRINT]
        return next((Bearer(f"settings:{fingerprint}", scope) for scope, is_it in matches if is_it), None)


class Access:
    """``settings`` may be replaced while the service runs; ``keyring`` knows the tokens of ``zooproxy token new``."""

    def __init__(self, settings: SettingsTokens, keyring: Keyring, wrong: WrongTokens | None = None) -> None:
        self.settings = settings
        self._keyring = keyring
        self._wrong = wrong or WrongTokens()

    async def check(self, request: Request, policy: str) -> Bearer:
        """Who makes this call to a route of ``policy``, one of ``SCOPES``.

        Raises:
            TokenRequired: it bears no token, or one that is nobody's.
            ScopeTooLow: its token's scope does not reach so far.
            NotFromHere: there is no token for such calls, and it does not come from a program on this machine.
            TooManyWrongTokens: its address has tried too many.
            CacheError: the database cannot be read.
        """
        if policy == READ and not self.settings.reads_need_token:
            return ANYBODY
        sufficient = scopes_for(policy)
        if policy != READ and (self.settings.scopes | await self._keyring.scopes()).isdisjoint(sufficient):
            return _from_here(request, policy)
        bearer = await self._bearer(request, _given(request, policy), policy)
        if bearer.scope not in sufficient:
            raise ScopeTooLow(f"this token's scope is '{bearer.scope}'; {_wanted(policy)}")
        return bearer

    async def _bearer(self, request: Request, text: str, policy: str) -> Bearer:
        # First those that nobody can guess: what else comes from their bearers' address is not held against them.
        token = await self._keyring.token_of(text)
        if token is not None:
            return Bearer(f"token:{token.id}", token.scope, token.zoos)
        peer = request.client.host if request.client else ""
        self._wrong.refuse_if_too_many(peer)
        bearer = self.settings.bearer(text)
        if bearer is None:
            self._wrong.count(peer)
            raise TokenRequired(f"this token is not, or no longer, one of the proxy's; {_wanted(policy)}")
        return bearer


def _from_here(request: Request, policy: str) -> Bearer:
    if is_own(request):
        return _THIS_MACHINE
    raise NotFromHere(
        f"calls that need the scope '{policy}' are taken from the proxy's own machine only, as long as it has no token "
        "for them; an operator can make one with 'zooproxy token new', or set ADMIN_TOKENS"
    )


def _given(request: Request, policy: str) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRequired(_wanted(policy))
    return token.strip()


def _wanted(policy: str) -> str:
    return f"this call needs a token of the scope {' or '.join(scopes_for(policy))}: Authorization: Bearer <token>"
