"""The cache itself: an operator's word on what it may believe."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Resolved, Wired, only
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN
from zooproxy.wire.answers import ResolveAnswer

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
