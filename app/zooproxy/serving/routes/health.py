"""Life and readiness, for supervisors and load balancers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired
from zooproxy.wire import routes
from zooproxy.wire.access import OPEN

router = APIRouter(tags=["health"], route_class=GuardedRoute)


@router.get(routes.HEALTH, response_class=PlainTextResponse, summary="The process lives", openapi_extra=declared(OPEN))
async def health() -> str:
    return "ok\n"


@router.get(
    routes.READY,
    response_class=PlainTextResponse,
    responses=problems(503),
    summary="It can serve",
    openapi_extra=declared(OPEN),
)
async def ready(provider: Wired) -> str:
    """The database answers and the blob store can be written."""
    await provider.ready()
    return "ready\n"
