"""Fills: started, listed, followed, cancelled; and the events of all that."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from zooproxy.errors import UnknownFill
from zooproxy.names.reference import MAX_LENGTH
from zooproxy.provide.provider import Provider
from zooproxy.serving.gate import tell_targets
from zooproxy.serving.problems import problems
from zooproxy.serving.reach import check_reach, check_url
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired
from zooproxy.wire import routes
from zooproxy.wire.access import FILL, READ
from zooproxy.wire.fills import FillAnswer, FillsAnswer, StartedAnswer

router = APIRouter(tags=["fills"], route_class=GuardedRoute)

MAX_REFS = 1000
TICK_SECONDS = 0.5

Id = Annotated[str, Path(description="16 hexadecimal digits", examples=["0676ba61b6795bbe"])]


class Order(BaseModel):
    """References to bring into the cache."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"refs": ["torchvision://resnet50", "mmcls://vgg16"]}}
    )

    refs: Annotated[list[Annotated[str, Field(max_length=MAX_LENGTH)]], Field(min_length=1, max_length=MAX_REFS)]


@router.post(
    routes.FILLS,
    status_code=202,
    response_model=list[StartedAnswer],
    responses=problems(400, 401, 403),
    summary="Bring references into the cache",
    openapi_extra=declared(FILL),
)
async def start_fills(request: Request, order: Order, provider: Wired) -> Response:
    """Answers at once, one entry per reference in the same order; what waits for nobody queues behind what does."""
    tell_targets(request, order.refs)
    check = partial(check_reach, request, provider)
    return JSONResponse([asdict(await provider.warm(ref, check)) for ref in order.refs], 202)


@router.get(routes.FILLS, response_model=FillsAnswer, summary="List fills", openapi_extra=declared(READ))
async def list_fills(provider: Wired) -> Response:
    """Those that run, in whatever process on this data directory, and those that ended lately in this one."""
    return JSONResponse(asdict(FillsAnswer(await provider.fills.reports(), provider.fills.hosts())))


@router.get(
    routes.FILL,
    response_model=FillAnswer,
    responses=problems(404),
    summary="Follow a fill",
    openapi_extra=declared(READ),
)
async def show_fill(id: Id, provider: Wired) -> Response:  # noqa: A002  # the wire's word
    return JSONResponse(asdict(await _found(provider, id)))


@router.delete(
    routes.FILL,
    status_code=204,
    response_class=Response,
    responses=problems(401, 403, 404),
    summary="Cancel a fill",
    openapi_extra=declared(FILL),
)
async def cancel_fill(request: Request, id: Id, provider: Wired) -> Response:  # noqa: A002  # the wire's word
    """Whoever waits for it gets an error, whoever reads it a broken connection; what had come is dropped."""
    url = (await _found(provider, id)).url
    check_url(request, provider, url)
    await provider.fills.cancel(url)
    return Response(status_code=204)


@router.get(
    routes.EVENTS,
    response_class=Response,
    responses={200: {"content": {routes.EVENT_STREAM: {"schema": {"type": "string"}}}}},
    summary="Follow everything",
    openapi_extra=declared(READ),
)
async def events(provider: Wired) -> Response:
    """Server-sent events: `fill` whenever one has moved on, `published` and `quarantined` when it ends so, `corrupt`
    when a blob that was held has turned out to be bad, `evicted` and `removed` when one has left."""
    return StreamingResponse(_stream(provider), media_type=routes.EVENT_STREAM, headers={"Cache-Control": "no-store"})


async def _stream(provider: Provider) -> AsyncGenerator[str]:
    told: dict[str, FillAnswer] = {}
    yield ": zooproxy\n\n"
    async with aclosing(provider.fills.events.listen(TICK_SECONDS)) as heard:
        async for event in heard:
            for fill in await provider.fills.reports():
                if told.get(fill.id) != fill:
                    told[fill.id] = fill
                    yield _event("fill", asdict(fill))
            if event is not None:
                yield _event(event.kind, event.data)


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _found(provider: Provider, id: str) -> FillAnswer:  # noqa: A002  # the wire's word
    for fill in await provider.fills.reports():
        if fill.id == id:
            return fill
    raise UnknownFill("there is no such fill; it may have ended long ago: ask /v1/resolve what is held")
