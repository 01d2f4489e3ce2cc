"""Names: what they mean, and the maps they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from zooproxy.digest import Sha256
from zooproxy.serving.problems import problems
from zooproxy.serving.ranges import NotModified, answer
from zooproxy.serving.routes.wired import Resolved, Wired, only, warning_headers
from zooproxy.wire import routes
from zooproxy.wire.answers import ResolveAnswer, ZooAnswer

router = APIRouter(tags=["names"])

Zoo = Annotated[str, Path(examples=["torchvision"])]


@router.get(
    routes.RESOLVE,
    response_model=ResolveAnswer,
    responses=problems(400, 404),
    summary="Explain a reference",
    dependencies=[only("ref")],
)
async def resolve(resolution: Resolved, provider: Wired) -> Response:
    """What a reference means: its source, the candidates in order, what is held of it. Fetches nothing."""
    return JSONResponse(asdict(await provider.explain(resolution)), headers=warning_headers(resolution))


@router.get(routes.ZOOS, response_model=list[ZooAnswer], summary="List the zoos")
async def zoos(request: Request, provider: Wired) -> Response:
    """Every zoo: its schemes, how many names it has, and where they came from."""
    answers = [
        ZooAnswer(zoo.name, list(zoo.schemes), len(provider.catalog.map(zoo.name)), zoo.origin)
        for zoo in provider.catalog.zoos()
    ]
    return _tagged(request, [asdict(zoo) for zoo in answers])


@router.get(
    routes.ZOO_MAP, response_model=dict[str, str | None], responses=problems(404), summary="A zoo's map, as mmengine's"
)
async def zoo_map(request: Request, zoo: Zoo, provider: Wired) -> Response:
    """``{"name": "url"}``, in mmengine's order; null where a name was never given weights."""
    return _tagged(request, provider.catalog.map(zoo))


@router.get(
    routes.ZOO_ALIASES, response_model=dict[str, str], responses=problems(404), summary="A zoo's deprecated names"
)
async def zoo_aliases(request: Request, zoo: Zoo, provider: Wired) -> Response:
    """``{"old": "new"}``; the targets that dangle in mmengine are repaired."""
    return _tagged(request, provider.catalog.aliases(zoo))


def _tagged(request: Request, value: Mapping[str, Any] | list[Any]) -> Response:
    """JSON under an entity tag, so that a client can ask whether it changed."""
    body = json.dumps(value if isinstance(value, list) else dict(value)).encode()
    etag = f'"{Sha256.of(body)}"'
    if isinstance(answer(request.headers, len(body), etag), NotModified):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, media_type="application/json", headers={"ETag": etag})
