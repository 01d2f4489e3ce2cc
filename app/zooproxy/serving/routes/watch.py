"""The watch over upstreams: what is known of them, and a round at once."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN, READ
from zooproxy.wire.watch import WatchAnswer

router = APIRouter(tags=["watch"], route_class=GuardedRoute)


@router.get(routes.WATCH, response_model=WatchAnswer, summary="Are the upstreams well?", openapi_extra=declared(READ))
async def show_watch(provider: Wired) -> Response:
    """Every source that is held or pinned, with what became of it upstream, and every host that they come from."""
    return JSONResponse(asdict(await provider.rounds.answer()))


@router.post(
    routes.WATCH,
    status_code=202,
    response_model=WatchAnswer,
    responses=problems(401, 403, 503),
    summary="Ask all upstreams now",
    openapi_extra=declared(ADMIN),
)
async def begin_round(provider: Wired) -> Response:
    """Answers at once; `left` tells how many are still to be asked about. A round that is under way goes on."""
    await provider.rounds.begin()
    return JSONResponse(asdict(await provider.rounds.answer()), 202)
