"""Checkpoints: their bytes in a variant, their tensor index, and stored blobs by digest."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest, UnsupportedFormat
from zooproxy.names.catalog import Resolution
from zooproxy.provide.provider import Provider
from zooproxy.serving.problems import problems
from zooproxy.serving.replies import Representation, disposition, raw_representation, rendered_representation, reply
from zooproxy.serving.routes.wired import Resolved, Wired, only, warning_headers
from zooproxy.wire import routes
from zooproxy.wire.answers import ABSENT, HELD
from zooproxy.wire.tensors import TensorIndex, tensor_index_to_json

router = APIRouter(tags=["checkpoints"])

Variant = Annotated[
    Literal["raw", "full", "model"],
    Query(description="`raw` as published; `full` the whole tree, inert; `model` the state dict and meta"),
]
Format = Annotated[Literal["safetensors", "pth"], Query(description="of `full` and `model`")]
Prefix = Annotated[
    str | None,
    Query(
        description="keep the tensors under this prefix and strip it",
        max_length=512,
        openapi_examples={"everything": {"value": None}, "backbone": {"value": "backbone."}},
    ),
]
Digits = Annotated[str, Path(description="64 hexadecimal digits", examples=["0676ba61b6795bbe" * 4])]

_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {routes.OCTETS: {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The range asked for"},
    304: {"description": "The client has it (If-None-Match)"},
    416: {"description": "The range begins beyond the end"},
}
_PARAMETERS = only("ref", "variant", "format", "prefix")
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


@router.get(
    routes.CHECKPOINT,
    response_class=Response,
    responses={**_BYTES, **problems(400, 403, 404, 422, 501, 502, 503, 507)},
    summary="A checkpoint's bytes",
    dependencies=[_PARAMETERS],
)
@router.head(routes.CHECKPOINT, response_class=Response, include_in_schema=False, dependencies=[_PARAMETERS])
async def checkpoint(
    request: Request,
    resolution: Resolved,
    provider: Wired,
    variant: Variant = "model",
    format: Format = "safetensors",  # noqa: A002  # the wire's word
    prefix: Prefix = None,
) -> Response:
    """Filled first where it is not held. HEAD never fills: of what is not held it tells the name and the state."""
    _check_form(variant, format, prefix)
    warnings = warning_headers(resolution)
    if request.method == "HEAD" and await provider.peek(resolution) is None:
        return _absent(resolution, warnings)
    what = await _representation(provider, resolution, variant, prefix)
    return reply(request, what, {routes.STATE_HEADER: HELD, **warnings})


def _check_form(variant: str, format: str, prefix: str | None) -> None:  # noqa: A002  # the wire's word
    if variant == routes.RAW:
        if prefix is not None:
            raise BadRequest("prefix: a raw checkpoint is served as published; ask for variant=model to take a part")
    elif variant == routes.FULL or format == routes.PTH:
        raise UnsupportedFormat(
            f"variant={variant} as {format} is not served by this version; raw is, and model as safetensors"
        )


def _absent(resolution: Resolution, warnings: dict[str, str]) -> Response:
    headers = {routes.STATE_HEADER: ABSENT, "Content-Disposition": disposition(resolution.source.file_name)}
    response = Response(media_type=routes.OCTETS, headers={**headers, **warnings})
    del response.headers["content-length"]  # not known, which is not the same as 0
    return response


async def _representation(
    provider: Provider, resolution: Resolution, variant: str, prefix: str | None
) -> Representation:
    file_name = resolution.source.file_name
    if variant == routes.RAW:
        return raw_representation(await provider.raw(resolution), file_name)
    blob, rendition = await provider.model(resolution, prefix)
    return rendered_representation(blob, rendition, file_name)


@router.get(
    routes.TENSORS,
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}}},
        **problems(400, 403, 404, 422, 501, 502, 503, 507),
    },
    summary="A checkpoint's tensor index",
    dependencies=[only("ref", "variant", "prefix")],
)
async def tensors(resolution: Resolved, provider: Wired, variant: Variant = "model", prefix: Prefix = None) -> Response:
    """Tensors with their byte ranges in the blob and their digests, and the plain values around them."""
    if variant != routes.MODEL:
        raise UnsupportedFormat(f"the tensor index of variant={variant} is not served by this version; model's is")
    index = await provider.tensors(resolution, prefix)
    body = await asyncio.to_thread(_json, index)
    return Response(body, media_type="application/json", headers=warning_headers(resolution))


def _json(index: TensorIndex) -> bytes:
    return json.dumps(tensor_index_to_json(index), separators=(",", ":")).encode()


@router.get(
    routes.BLOB, response_class=Response, responses={**_BYTES, **problems(400, 404)}, summary="A stored blob's bytes"
)
@router.head(routes.BLOB, response_class=Response, include_in_schema=False)
async def blob(request: Request, sha256: Digits, provider: Wired) -> Response:
    """The stored bytes. They never change, so they may be cached for ever."""
    try:
        digest = Sha256(sha256)
    except ValueError as error:
        raise BadRequest(f"sha256: {error}") from error
    return reply(request, raw_representation(await provider.blob(digest), digest), _IMMUTABLE)
