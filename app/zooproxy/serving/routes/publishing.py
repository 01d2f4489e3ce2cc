"""Files of the site's own, published to the proxy: uploaded, named, withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest, UploadError
from zooproxy.names.published import MAX_FILE_NAME, MAX_NAME, PublishedFile, PublishedName, checked_file_name
from zooproxy.provide.publishing import Publication
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired, only
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN
from zooproxy.wire.answers import PublishedAnswer, members_of

router = APIRouter(tags=["publishing"], route_class=GuardedRoute)

STALL_SECONDS: Final = 60.0

Zoo = Annotated[str, Path(examples=["site"])]
Name = Annotated[str, Path(examples=["team/model"], max_length=MAX_NAME)]
Tag = Annotated[
    str | None,
    Query(description="a version, which does not move", max_length=MAX_NAME, openapi_examples={"one": {"value": "v1"}}),
]
Digits = Annotated[
    str, Query(description="the file's sha256", openapi_examples={"one": {"value": "0676ba61b6795bbe" * 4}})
]
FileName = Annotated[
    str,
    Query(
        description="what it is called where it is downloaded",
        max_length=MAX_FILE_NAME,
        openapi_examples={"one": {"value": "model.pth"}},
    ),
]
Force = Annotated[bool, Query(description="move a tag that has other bytes", openapi_examples={"no": {"value": False}})]
Size = Annotated[int, Query(description="the file's size in bytes", ge=0, openapi_examples={"one": {"value": 1000}})]


@dataclass(frozen=True, slots=True)
class Announced:
    """A publication but for its size."""

    name: PublishedName
    file: PublishedFile
    force: bool

    def of(self, size: int) -> Publication:
        return Publication(self.name, self.file, size, self.force)


async def _name(zoo: Zoo, name: Name, tag: Tag = None) -> PublishedName:
    return PublishedName(zoo, name, tag)


async def _announced(
    name: Annotated[PublishedName, Depends(_name)], sha256: Digits, file: FileName = "model.pth", force: Force = False
) -> Announced:
    try:
        digest = Sha256(sha256)
    except ValueError as error:
        raise BadRequest(f"sha256: {error}") from error
    return Announced(name, PublishedFile(digest, checked_file_name(file)), force)


async def _length(request: Request) -> int:
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal():
        raise BadRequest("the upload has to declare its length: Content-Length")
    return int(declared)


@router.get(
    routes.ZOO_FILE,
    response_model=PublishedAnswer,
    responses=problems(400, 404, 409, 413, 507),
    summary="Could this file be published?",
    dependencies=[only("tag", "sha256", "file", "force", "size")],
    openapi_extra=declared(ADMIN),
)
async def check_publication(
    provider: Wired, announced: Annotated[Announced, Depends(_announced)], size: Size
) -> Response:
    """To be asked before gigabytes are sent: the answer is what the upload's would be, and changes nothing."""
    wanted = announced.of(size)
    await provider.publishing.check(wanted)
    return JSONResponse(members_of(wanted.answer()))


@router.put(
    routes.ZOO_FILE,
    response_model=PublishedAnswer,
    responses=problems(400, 404, 409, 413, 422, 507),
    summary="Publish a file of the site's own",
    dependencies=[only("tag", "sha256", "file", "force")],
    openapi_extra=declared(ADMIN),
)
async def publish(
    request: Request,
    provider: Wired,
    announced: Annotated[Announced, Depends(_announced)],
    size: Annotated[int, Depends(_length)],
) -> Response:
    """The body is the checkpoint as it is. It is served under its name when it is whole, proven and durable, and not
    before; it is never evicted while a name leads to it. With a tag, the name alone leads to it too: the latest."""
    wanted = announced.of(size)
    await provider.publishing.publish(wanted, _blocks(request))
    return JSONResponse(members_of(wanted.answer()))


@router.delete(
    routes.ZOO_FILE,
    status_code=204,
    response_class=Response,
    responses=problems(400, 404),
    summary="Withdraw a published name",
    dependencies=[only("tag")],
    openapi_extra=declared(ADMIN),
)
async def withdraw(provider: Wired, name: Annotated[PublishedName, Depends(_name)]) -> Response:
    """A tag; without one, the name and all its tags. The file stays until room is needed."""
    await provider.publishing.withdraw(name)
    return Response(status_code=204)


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """
    Raises:
        UploadError: the client has left, or sends nothing for too long.
    """
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                block = await anext(stream, None)
        except ClientDisconnect as error:
            raise UploadError("the upload broke off; nothing of it is kept") from error
        except TimeoutError as error:
            raise UploadError(f"nothing arrived for {STALL_SECONDS:.0f} s; nothing of the upload is kept") from error
        if block is None:
            return
        yield block
