"""The one place that every call passes: who may make it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from zooproxy.serving.access import ANYBODY, Access
from zooproxy.serving.reach import BEARER

Handler = Callable[[Request], Awaitable[Response]]


class Gate:
    def __init__(self, access: Access) -> None:
        self.access = access

    async def through(self, request: Request, policy: str, handle: Handler) -> Response:
        """The answer of ``handle`` to a request that may be made.

        Raises:
            AccessError: it may not.
        """
        bearer = await self.access.check(request, policy)
        if bearer is not ANYBODY:
            request.scope[BEARER] = bearer
        return await handle(request)


def gate_of(request: Request) -> Gate:
    return cast("Gate", request.app.state.gate)
