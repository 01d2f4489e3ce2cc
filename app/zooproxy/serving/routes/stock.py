"""What the cache holds: in all, blob by blob; what of it is to go."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.provide.stock_reports import MAX_FIND, StockReports
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired, only
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN, READ
from zooproxy.wire.cache import CacheAnswer, CachedBlobsAnswer, RemovedAnswer

router = APIRouter(tags=["cache"], route_class=GuardedRoute)

MAX_PAGE = 500

Digits = Annotated[str, Path(description="64 hexadecimal digits", examples=["0676ba61b6795bbe" * 4])]
Find = Annotated[
    str,
    Query(
        description="a reference, part of a source's URL, or the first digits of a digest",
        max_length=MAX_FIND,
        openapi_examples={"one": {"value": "resnet50"}},
    ),
]
Limit = Annotated[int, Query(description="blobs on a page", ge=1, le=MAX_PAGE, openapi_examples={"one": {"value": 50}})]
Cursor = Annotated[
    str | None,
    Query(description="the `next` of the page before", max_length=4096, openapi_examples={"one": {"value": ""}}),
]
Force = Annotated[
    bool, Query(description="even if it is pinned or being read", openapi_examples={"one": {"value": False}})
]


class Aim(BaseModel):
    """Down to how many bytes."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"to_bytes": 500_000_000_000}})

    to_bytes: Annotated[int | None, Field(ge=0, description="the cap if it is left out")] = None


async def _reports(provider: Wired) -> StockReports:
    return StockReports(provider.stock, provider.catalog)


Reports = Annotated[StockReports, Depends(_reports)]


@router.get(
    routes.CACHE,
    response_model=CacheAnswer,
    summary="How much is held",
    dependencies=[only()],
    openapi_extra=declared(READ),
)
async def cache(reports: Reports) -> Response:
    """Blobs and bytes in all; of them the pinned and the derived ones; the cap, and what is free below it."""
    return JSONResponse(asdict(await reports.totals()))


@router.get(
    routes.CACHE_BLOBS,
    response_model=CachedBlobsAnswer,
    responses=problems(400),
    summary="List what is held",
    dependencies=[only("q", "limit", "cursor")],
    openapi_extra=declared(READ),
)
async def cached_blobs(reports: Reports, q: Find = "", limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The first to leave first: derived ones, then the least recently used. Pinned ones are listed and stay."""
    return JSONResponse(asdict(await reports.page(q, limit, cursor)))


@router.delete(
    routes.CACHE_BLOB,
    response_model=RemovedAnswer,
    responses=problems(400, 401, 403, 404, 409),
    summary="Remove a blob for good",
    dependencies=[only("force")],
    openapi_extra=declared(ADMIN),
)
async def remove_blob(sha256: Digits, provider: Wired, reports: Reports, force: Force = False) -> Response:
    """And what was derived from it. Whoever is reading it with `force` reads on; who asks next has it fetched anew."""
    try:
        digest = Sha256(sha256)
    except ValueError as error:
        raise BadRequest(f"sha256: {error}") from error
    return JSONResponse(asdict(await reports.removed(await provider.stock.remove(digest, force=force))))


@router.post(
    routes.CACHE_GC,
    response_model=RemovedAnswer,
    responses=problems(400, 401, 403),
    summary="Evict down to the cap, or further",
    dependencies=[only()],
    openapi_extra=declared(ADMIN),
)
async def collect(reports: Reports, aim: Annotated[Aim | None, Body()] = None) -> Response:
    """What is pinned or in use stays, so that more may be held afterwards than was asked for."""
    return JSONResponse(asdict(await reports.shrink(aim.to_bytes if aim else None)))
