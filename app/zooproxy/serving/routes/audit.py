"""What was changed, and by whom."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from zooproxy.serving.gate import gate_of
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import only
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN, AuditEntry

router = APIRouter(tags=["access"], route_class=GuardedRoute)

MAX_ENTRIES = 1000

Limit = Annotated[int, Query(description="how many", ge=1, le=MAX_ENTRIES, openapi_examples={"one": {"value": 100}})]


@router.get(
    routes.AUDIT,
    response_model=list[AuditEntry],
    responses=problems(400),
    summary="List changes",
    dependencies=[only("limit")],
    openapi_extra=declared(ADMIN),
)
async def audit(request: Request, limit: Limit = 100) -> Response:
    """Every call that changed something, the newest first; the rest is in `audit.log` of the data directory."""
    return JSONResponse(await asyncio.to_thread(gate_of(request).audit.latest, limit))
