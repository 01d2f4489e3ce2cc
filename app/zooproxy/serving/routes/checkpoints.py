"""Checkpoints: their bytes in a variant, their tensor index, and stored blobs by digest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from zooproxy.cache.blobs import HeldBlob
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.formats.forms import Form
from zooproxy.names.catalog import Resolution
from zooproxy.provide.growing import Growing
from zooproxy.provide.provider import Provider
from zooproxy.serving.digest_wishes import HEADER as WANT_DIGEST
from zooproxy.serving.digest_wishes import sha256_wish
from zooproxy.serving.following import Cold, follow
from zooproxy.serving.problems import problems
from zooproxy.serving.reach import check_blob, check_reach
from zooproxy.serving.replies import Representation, disposition, raw_representation, rendered_representation
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Resolved, Wired, limited, only, sent, warning_headers
from zooproxy.wire import routes
from zooproxy.wire.access import READ
from zooproxy.wire.answers import ABSENT, FILLING, HELD

router = APIRouter(tags=["checkpoints"], route_class=GuardedRoute)

_VARIANT = Query(description="`raw` as published; `full` the whole tree, inert; `model` the state dict and meta")
Variant = Annotated[Literal["raw", "full", "model"], _VARIANT]
ReadVariant = Annotated[Literal["full", "model"], _VARIANT]
Format = Annotated[Literal["safetensors", "pth"], Query(description="of `full` and `model`")]
Prefix = Annotated[
    str | None,
    Query(
        description="keep the tensors under this prefix and strip it",
        max_length=512,
        openapi_examples={"everything": {"value": None}, "backbone": {"value": "backbone."}},
    ),
]
Dtype = Annotated[
    Literal["bf16", "fp16", "fp32"] | None,
    Query(
        description="convert floating tensors on the way; running means and variances keep their dtype",
        openapi_examples={"as published": {"value": None}, "half the bytes": {"value": "bf16"}},
    ),
]
Buffers = Annotated[
    Literal["convert"] | None,
    Query(
        description="`convert`: `dtype` is meant for running means and variances too",
        openapi_examples={"kept": {"value": None}, "converted": {"value": "convert"}},
    ),
]
Digests = Annotated[
    Literal["wait"] | None,
    Query(
        description="`wait`: answer when every digest is known, or after 20 seconds with those that are",
        openapi_examples={"at once": {"value": None}, "all": {"value": "wait"}},
    ),
]
Digits = Annotated[str, Path(description="64 hexadecimal digits", examples=["0676ba61b6795bbe" * 4])]

BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {routes.OCTETS: {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The range asked for"},
    304: {"description": "The client has it (If-None-Match)"},
    416: {"description": "The range begins beyond the end"},
}
#: The longest that an answer waits for digests; a client's patience with a silent connection is longer.
DIGESTS_SECONDS: Final = 20.0
_PARAMETERS = only("ref", "variant", "format", "prefix", "dtype", "buffers")
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


async def _form(
    variant: Variant = "model",
    format: Format = "safetensors",  # noqa: A002  # the wire's word
    prefix: Prefix = None,
    dtype: Dtype = None,
    buffers: Buffers = None,
) -> Form | None:
    """None for raw."""
    if variant != routes.RAW:
        return Form(variant, format, prefix, dtype, buffers is not None)
    for name, given in (("prefix", prefix), ("dtype", dtype), ("buffers", buffers)):
        if given is not None:
            raise BadRequest(f"{name}: a raw checkpoint is served as published; ask for variant=model, which takes one")
    return None


async def _read_form(
    variant: ReadVariant = "model", prefix: Prefix = None, dtype: Dtype = None, buffers: Buffers = None
) -> Form:
    return Form(variant, prefix=prefix, dtype=dtype, buffers=buffers is not None)


@router.get(
    routes.CHECKPOINT,
    response_class=Response,
    responses={**BYTES, **problems(400, 403, 404, 422, 501, 502, 503, 507)},
    summary="A checkpoint's bytes",
    dependencies=[_PARAMETERS],
    openapi_extra=declared(READ),
)
@router.head(
    routes.CHECKPOINT,
    response_class=Response,
    include_in_schema=False,
    dependencies=[_PARAMETERS],
    openapi_extra=declared(READ),
)
async def checkpoint(
    request: Request,
    resolution: Resolved,
    provider: Wired,
    form: Annotated[Form | None, Depends(_form)],
) -> Response:
    """Filled first where it is not held. HEAD never fills: of what is not held it tells the name and the state."""
    return await served(request, provider, resolution, form)


async def served(request: Request, provider: Provider, resolution: Resolution, form: Form | None) -> Response:
    """The reply to a GET or a HEAD of what ``resolution`` stands for: raw where ``form`` is None."""
    warnings = warning_headers(resolution)
    if request.method == "HEAD":
        blob = await provider.peek(resolution)
        if blob is None:
            return _absent(resolution, FILLING if provider.is_filling(resolution) else ABSENT, warnings)
    elif form is None:
        arriving = await provider.arriving(resolution)
        if isinstance(arriving, Growing):
            return limited(request, await follow(request, Cold(arriving, resolution.source.file_name), warnings))
        blob = arriving
    else:
        blob = await provider.raw(resolution)
    what = await _representation(request, provider, resolution, form, blob)
    return sent(request, what, {routes.STATE_HEADER: HELD, **warnings})


def _absent(resolution: Resolution, state: str, warnings: dict[str, str]) -> Response:
    headers = {routes.STATE_HEADER: state, "Content-Disposition": disposition(resolution.source.file_name)}
    response = Response(media_type=routes.OCTETS, headers={**headers, **warnings})
    del response.headers["content-length"]  # not known, which is not the same as 0
    return response


async def _representation(
    request: Request, provider: Provider, resolution: Resolution, form: Form | None, blob: HeldBlob
) -> Representation:
    file_name = resolution.source.file_name
    if form is None:
        return raw_representation(blob, file_name)
    blob, rendition = await provider.rendered(blob, resolution, form)
    # It costs a pass over all the bytes, so only those who ask for it wait for it.
    wished = sha256_wish(request.headers.get(WANT_DIGEST))
    digest = await provider.rendition_digests.of(blob, rendition) if wished else None
    return rendered_representation(blob, rendition, file_name, digest)


@router.get(
    routes.TENSORS,
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}}},
        202: {"description": "It is not held yet, and `Prefer: respond-async` asked not to wait"},
        **problems(400, 403, 404, 422, 501, 502, 503, 507),
    },
    summary="A checkpoint's tensor index",
    dependencies=[only("ref", "variant", "prefix", "dtype", "buffers", "digests")],
    openapi_extra=declared(READ),
)
async def tensors(
    request: Request,
    resolution: Resolved,
    provider: Wired,
    form: Annotated[Form, Depends(_read_form)],
    digests: Digests = None,
) -> Response:
    """Tensors with their byte ranges in the blob and their digests, and the plain values around them.

    A storage's sha256 is null until it is known: it is computed behind the first request for a blob.
    """
    if routes.AT_ONCE in request.headers.get(routes.PREFER, "") and not await provider.is_held(resolution):
        headers = {"Preference-Applied": routes.AT_ONCE, **warning_headers(resolution)}
        return Response(status_code=202, headers=headers)
    body = await _tensors(provider, resolution, form, proven=digests is not None)
    return Response(body, media_type="application/json", headers=warning_headers(resolution))


async def _tensors(provider: Provider, resolution: Resolution, form: Form, *, proven: bool) -> bytes:
    if proven:
        with suppress(TimeoutError):
            async with asyncio.timeout(DIGESTS_SECONDS):
                return await provider.tensors(resolution, form, proven=True)
    return await provider.tensors(resolution, form)


@router.get(
    routes.BLOB,
    response_class=Response,
    responses={**BYTES, **problems(400, 403, 404)},
    summary="A stored blob's bytes",
    openapi_extra=declared(READ),
)
@router.head(routes.BLOB, response_class=Response, include_in_schema=False, openapi_extra=declared(READ))
async def blob(request: Request, sha256: Digits, provider: Wired) -> Response:
    """The stored bytes. They never change, so they may be cached for ever."""
    try:
        digest = Sha256(sha256)
    except ValueError as error:
        raise BadRequest(f"sha256: {error}") from error
    published = await provider.published_elsewhere(digest)
    if published is not None:
        check_reach(request, provider, published)
        return await served(request, provider, published, None)
    await check_blob(request, provider, digest)
    held = await provider.blob(digest)
    if request.method != "HEAD":
        provider.used(digest)
    return sent(request, raw_representation(held, digest), _IMMUTABLE)
