"""Names: what they mean, and the maps they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.names.answers import zoo_answers
from zooproxy.serving.problems import problems
from zooproxy.serving.ranges import NotModified, answer
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.parameters import Parameter, read
from zooproxy.serving.routes.wired import EXAMPLES, Wired, provider_of, resolved, warning_headers
from zooproxy.wire import routes
from zooproxy.wire.access import READ
from zooproxy.wire.answers import NamesAnswer, ResolveAnswer, ZooAnswer, members_of

router = APIRouter(tags=["names"], route_class=GuardedRoute)

ZOO = Parameter("zoo", "a zoo's name", (("torchvision", "torchvision"),), required=True, where="path")
REF = Parameter("ref", "a reference, percent-encoded", tuple((name, one["value"]) for name, one in EXAMPLES.items()))
URL = Parameter(
    "url",
    "a file's URL, percent-encoded",
    (("file", "https://download.pytorch.org/models/resnet50-0676ba61.pth"),),
)
SHA256 = Parameter("sha256", "the first digits of a file's sha256, 8 or more", (("8", "0676ba61"),))
_DIGITS = re.compile(r"[0-9a-f]{8,64}\Z")


@router.get(
    routes.RESOLVE,
    response_model=ResolveAnswer | NamesAnswer,
    responses=problems(400, 404),
    summary="Explain a reference, or name a file",
    openapi_extra=declared(READ, REF, URL, SHA256),
)
async def resolve(request: Request) -> Response:
    """`ref`: what it means, its source, the candidates in order, what is held of it. `url` or `sha256` (8 digits or
    more): which names lead to that file. Fetches nothing."""
    ref, url, sha256 = read(request, REF, URL, SHA256)
    if [ref, url, sha256].count(None) != 2:
        raise BadRequest("ask with one of ref, url and sha256")
    provider = provider_of(request)
    if ref is not None:
        resolution = resolved(request, ref)
        # Not asdict: it copies the metadata to its depths, and this is the one look-up that clusters repeat.
        return JSONResponse(vars(await provider.explain(resolution)), headers=warning_headers(resolution))
    if url is not None:
        return JSONResponse(members_of(provider.names.of_url(url)))
    return JSONResponse(members_of(await provider.names.of_digest(_digits(sha256 or ""))))


def _digits(sha256: str) -> str:
    digits = sha256.lower()
    if not _DIGITS.match(digits):
        raise BadRequest("sha256 is 8 to 64 hexadecimal digits")
    return digits


@router.get(routes.ZOOS, response_model=list[ZooAnswer], summary="List the zoos", openapi_extra=declared(READ))
async def zoos(request: Request, provider: Wired) -> Response:
    """Every zoo: its schemes, how many names it has, and where they came from."""
    return _tagged(request, [members_of(zoo) for zoo in zoo_answers(provider.catalog)])


@router.get(
    routes.ZOO_MAP,
    response_model=dict[str, str | None],
    responses=problems(404),
    summary="A zoo's map, as mmengine's",
    openapi_extra=declared(READ, ZOO),
)
async def zoo_map(request: Request) -> Response:
    """``{"name": "url"}``, in mmengine's order; null where a name was never given weights."""
    return _tagged(request, provider_of(request).catalog.map(request.path_params["zoo"]))


@router.get(
    routes.ZOO_ALIASES,
    response_model=dict[str, str],
    responses=problems(404),
    summary="A zoo's deprecated names",
    openapi_extra=declared(READ, ZOO),
)
async def zoo_aliases(request: Request) -> Response:
    """``{"old": "new"}``; exactly as mmengine has them: what leads nowhere there, `resolve` repairs."""
    return _tagged(request, provider_of(request).catalog.aliases(request.path_params["zoo"]))


def _tagged(request: Request, value: Mapping[str, Any] | list[Any]) -> Response:
    """JSON under an entity tag, so that a client can ask whether it changed."""
    body = json.dumps(value if isinstance(value, list) else dict(value)).encode()
    etag = f'"{Sha256.of(body)}"'
    if isinstance(answer(request.headers, len(body), etag), NotModified):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, media_type="application/json", headers={"ETag": etag})
