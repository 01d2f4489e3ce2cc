"""Who may call what: the scopes of tokens, and the policies that routes declare."""

from __future__ import annotations

from typing import Final

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
