"""The cache itself: an operator's word on what it may believe and what it must keep."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.provide.stock_reports import pin_answer
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Resolved, Wired, only
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN, READ
from zooproxy.wire.answers import ResolveAnswer
from zooproxy.wire.cache import CachePinAnswer

router = APIRouter(tags=["cache"], route_class=GuardedRoute)

Digits = Annotated[
    str, Query(description="the full sha256", openapi_examples={"one": {"value": "0676ba61b6795bbe" * 4}})
]


@router.put(
    routes.ACCEPTED,
    response_model=ResolveAnswer,
    responses=problems(400, 401, 403, 404),
    summary="Accept a source's bytes",
    dependencies=[only("ref", "sha256")],
    openapi_extra=declared(ADMIN),
)
async def accept(resolution: Resolved, provider: Wired, sha256: Digits) -> Response:
    """From now on the reference's source must have this digest; what was held of it otherwise is fetched anew."""
    try:
        digest = Sha256(sha256)
    except ValueError as error:
        raise BadRequest(f"sha256: {error}") from error
    await provider.accept(resolution, digest)
    return JSONResponse(asdict(await provider.explain(resolution)))


@router.get(
    routes.CACHE_PINS,
    response_model=list[CachePinAnswer],
    summary="List what is never evicted",
    openapi_extra=declared(READ),
)
async def cache_pins(provider: Wired) -> Response:
    """By name, held or not."""
    return JSONResponse([asdict(pin_answer(pin)) for pin in await provider.stock.pins()])


@router.put(
    routes.CACHE_PINS,
    response_model=CachePinAnswer,
    responses={
        201: {"model": CachePinAnswer, "description": "It was not pinned before"},
        **problems(400, 401, 403, 404),
    },
    summary="Never evict a reference",
    dependencies=[only("ref")],
    openapi_extra=declared(ADMIN),
)
async def pin(resolution: Resolved, provider: Wired) -> Response:
    """Its source stays whatever room is needed; it is not fetched by this. Asking again changes nothing."""
    pinned, is_new = await provider.stock.pin(resolution.source.url, resolution.reference)
    return JSONResponse(asdict(pin_answer(pinned)), 201 if is_new else 200)


@router.delete(
    routes.CACHE_PINS,
    status_code=204,
    response_class=Response,
    responses=problems(400, 401, 403, 404),
    summary="Let a reference be evicted again",
    dependencies=[only("ref")],
    openapi_extra=declared(ADMIN),
)
async def unpin(resolution: Resolved, provider: Wired) -> Response:
    """Nothing is removed by this. Asking again changes nothing."""
    await provider.stock.unpin(resolution.source.url)
    return Response(status_code=204)
