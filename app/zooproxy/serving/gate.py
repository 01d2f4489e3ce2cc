"""The one place that every call passes: who may make it, and, where it changes something, who did."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from zooproxy.errors import AccessError, ZooproxyError
from zooproxy.provide.audit import AuditLog, an_entry
from zooproxy.serving.access import ANYBODY, Access
from zooproxy.serving.problems import status_of
from zooproxy.serving.reach import BEARER, bearer_of

Handler = Callable[[Request], Awaitable[Response]]

#: The member of a request's scope that names what is changed where the path does not.
_TARGETS = "zooproxy.targets"

_log = logging.getLogger(__name__)


class Gate:
    def __init__(self, access: Access, audit: AuditLog) -> None:
        self.access = access
        self.audit = audit

    async def through(self, request: Request, policy: str, handle: Handler) -> Response:
        """The answer of ``handle`` to a request that may be made.

        Raises:
            AccessError: it may not.
        """
        bearer = await self.access.check(request, policy)
        if bearer is not ANYBODY:
            request.scope[BEARER] = bearer
        return await handle(request)

    async def recorded(self, request: Request, action: str, handle: Handler) -> Response:
        """The answer of ``handle``, which lets the request through or not, with a line in the audit log.

        What was not let through is no change, and leaves none: whoever may do nothing could rotate the log otherwise.
        """
        try:
            response = await handle(request)
        except AccessError:
            raise
        except ZooproxyError as error:
            await self._record(request, action, f"{status_of(error)} {error.slug}")
            raise
        except Exception as error:
            await self._record(request, action, type(error).__name__)
            raise
        await self._record(request, action, str(response.status_code))
        return response

    async def _record(self, request: Request, action: str, outcome: str) -> None:
        bearer = bearer_of(request)
        if bearer is None:
            return  # it failed before anybody was let through
        peer = request.client.host if request.client else None
        target = {**request.query_params, **request.path_params, **request.scope.get(_TARGETS, {})}
        try:
            await asyncio.to_thread(self.audit.write, an_entry(bearer.name, peer, action, target, outcome))
        except OSError as error:
            _log.error("the audit log cannot be written: %s; done by %s: %s", error.strerror, bearer.name, action)


def gate_of(request: Request) -> Gate:
    return cast("Gate", request.app.state.gate)


def tell_targets(request: Request, refs: Sequence[str]) -> None:
    """For the audit log: what a request concerns that names it in its body."""
    request.scope[_TARGETS] = {"refs": list(refs)}
