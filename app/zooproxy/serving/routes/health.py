"""Life and readiness, for supervisors and load balancers."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from zooproxy.serving.problems import problems
from zooproxy.serving.routes.wired import Wired
from zooproxy.wire import routes

router = APIRouter(tags=["health"])


@router.get(routes.HEALTH, response_class=PlainTextResponse, summary="The process lives")
async def health() -> str:
    return "ok\n"


@router.get(routes.READY, response_class=PlainTextResponse, responses=problems(503), summary="It can serve")
async def ready(provider: Wired) -> str:
    """The database answers and the blob store can be written."""
    await provider.ready()
    return "ready\n"
