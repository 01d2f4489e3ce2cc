"""What every route is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from zooproxy.errors import BadRequest
from zooproxy.names.catalog import Resolution
from zooproxy.provide.provider import Provider
from zooproxy.serving.acceleration import Acceleration
from zooproxy.serving.reach import check_reach
from zooproxy.serving.replies import Representation, reply
from zooproxy.serving.transfers import LimitedResponse, Transfers
from zooproxy.wire.routes import WARNING_HEADER, format_warnings

EXAMPLES = {
    "torchvision": {"value": "torchvision://resnet50"},
    "mmcls": {"value": "mmcls://vgg16"},
    "openmmlab": {"value": "openmmlab://detectron2/resnet50_caffe"},
    "url": {"value": "https://download.pytorch.org/models/resnet50-0676ba61.pth"},
}


def provider_of(request: Request) -> Provider:
    return cast("Provider", request.app.state.provider)


async def _provider_of(request: Request) -> Provider:
    return provider_of(request)  # a coroutine, so that FastAPI calls it here and not in a thread


async def resolution_of(
    request: Request,
    ref: Annotated[str, Query(description="a reference, percent-encoded", openapi_examples=EXAMPLES)],
) -> Resolution:
    return resolved(request, ref)


def resolved(request: Request, ref: str) -> Resolution:
    """
    Raises:
        BadReference, NotInCatalog: as ``Provider.resolution``.
        ZooNotAllowed: the request's token is limited to other zoos.
    """
    provider = provider_of(request)
    resolution = provider.resolution(ref)
    check_reach(request, provider, resolution)
    return resolution


Wired = Annotated[Provider, Depends(_provider_of)]
Resolved = Annotated[Resolution, Depends(resolution_of)]


def only(*known: str) -> Any:
    """A dependency that refuses query parameters other than ``known``: one misspelt must not be one left out.

    Raises:
        BadRequest: names the unknown and the known ones.
    """

    async def check(request: Request) -> None:
        unknown = sorted(set(request.query_params) - set(known))
        if unknown:
            raise BadRequest(f"unknown parameter {', '.join(unknown)}; known are {', '.join(known)}")

    return Depends(check)


def sent(request: Request, what: Representation, extra: Mapping[str, str]) -> Response:
    """The reply to a GET or a HEAD of ``what``: from here, or by the nginx in front."""
    acceleration: Acceleration | None = request.app.state.acceleration
    handed_over = acceleration.reply(request, what, extra) if acceleration else None
    return handed_over or limited(request, reply(request, what, extra))


def limited(request: Request, response: Response) -> Response:
    """``response``, its body within the number of transfers at once."""
    return LimitedResponse(response, cast("Transfers", request.app.state.transfers))


def warning_headers(resolution: Resolution) -> dict[str, str]:
    return {WARNING_HEADER: format_warnings(resolution.warnings)} if resolution.warnings else {}
