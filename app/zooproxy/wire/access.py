"""Who may call what: the scopes of tokens, and the policies that routes declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Optional

#: A policy that no token is ever asked for: life, readiness, the documentation.
OPEN: Final = "open"
READ: Final = "read"
FILL: Final = "fill"
ADMIN: Final = "admin"

#: Each may do what those before it may.
SCOPES: Final = (READ, FILL, ADMIN)
POLICIES: Final = (OPEN, *SCOPES)

#: The member of an operation in the OpenAPI document that says which of ``POLICIES`` is its own.
POLICY_MEMBER: Final = "x-zooproxy-policy"


def scopes_for(policy: str) -> tuple[str, ...]:
    """The scopes whose bearers may call a route of ``policy``."""
    return SCOPES[SCOPES.index(policy) :]


@dataclass(frozen=True)
class AuditEntry:
    """One change, in ``GET /v1/audit`` and in a line of the audit log.

    ``time`` as RFC 3339 in UTC; ``who`` is ``token:<id>``, ``settings:<fingerprint of a token>``, ``loopback`` or, for
    what was done at the command line, ``uid:<number>``; ``action`` is the operation; ``target`` what it was done to,
    credentials masked; ``outcome`` the status of the answer, and the problem's name where there was one.
    """

    time: str
    who: str
    peer: Optional[str]
    action: str
    target: Mapping[str, Any]
    outcome: str
