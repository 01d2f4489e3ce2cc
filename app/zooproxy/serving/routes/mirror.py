"""A host's files under their own paths, through the cache: for curl, wget and torch.hub, which know URLs only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from zooproxy.serving.problems import problems
from zooproxy.serving.routes.checkpoints import BYTES, served
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired, resolved
from zooproxy.wire import routes
from zooproxy.wire.access import READ

router = APIRouter(tags=["checkpoints"], route_class=GuardedRoute)

Host = Annotated[str, Path(examples=["download.pytorch.org"])]
FilePath = Annotated[str, Path(examples=["models/resnet50-0676ba61.pth"])]


@router.get(
    routes.MIRROR,
    response_class=Response,
    responses={**BYTES, **problems(400, 403, 501, 502, 503, 507)},
    summary="A file of an upstream host",
    openapi_extra=declared(READ),
)
@router.head(routes.MIRROR, response_class=Response, include_in_schema=False, openapi_extra=declared(READ))
async def mirror(request: Request, provider: Wired, host: Host, path: FilePath) -> Response:  # noqa: ARG001  # documented
    """The raw bytes of `https://{host}/{path}`, a query included, under the file's own name."""
    # From the raw path: the one that the framework decoded would be quoted anew, and `%2B` is not `+` to every host.
    rest = request.scope["raw_path"].decode("ascii").removeprefix(_PREFIX)
    query = request.scope["query_string"].decode("ascii")
    resolution = resolved(request, f"https://{rest}?{query}" if query else f"https://{rest}")
    return await served(request, provider, resolution, None)


_PREFIX = routes.MIRROR.partition("{")[0]
