"""Routes that say who may call them.

A router is made with ``route_class=GuardedRoute``, and each of its routes with ``openapi_extra=declared(POLICY, …)``.
One without a policy cannot be built: what is forgotten is not served at all. The check stands around FastAPI's own
handler and not among its dependencies, which cost the look-ups that clusters repeat more than their answers do.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from zooproxy.serving.gate import gate_of
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.parameters import Parameter, described
from zooproxy.wire.access import OPEN, POLICIES, POLICY_MEMBER, READ

#: The name of the scheme in the OpenAPI document's ``securitySchemes``.
SECURITY_SCHEME = "token"

_SAFE = frozenset({"GET", "HEAD"})


def declared(policy: str, *parameters: Parameter) -> dict[str, Any]:
    """A route's ``openapi_extra``: its policy (one of ``wire.access.POLICIES``) and the parameters it reads itself."""
    needed = {SECURITY_SCHEME: list[str]()}
    security = {OPEN: [], READ: [{}, needed]}.get(policy, [needed])  # reads need one only where the proxy says so
    members = described(*parameters) if parameters else {}
    return {POLICY_MEMBER: policy, "security": security, **members}


class GuardedRoute(APIRoute):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self._policy = str((options.get("openapi_extra") or {}).get(POLICY_MEMBER))
        if self._policy not in POLICIES:
            raise TypeError(f"the route {path} declares none of the policies {', '.join(POLICIES)}")
        if self._policy != OPEN:
            options["responses"] = {**problems(401, 403, 429), **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        policy, action, handle = self._policy, self.name, super().get_route_handler()

        async def guarded(request: Request) -> Response:
            return await gate_of(request).through(request, policy, handle)

        async def recorded(request: Request) -> Response:
            return await gate_of(request).recorded(request, action, guarded)

        if policy == OPEN:
            return handle
        return recorded if set(self.methods or ()) - _SAFE else guarded
