"""The names of the zoos: searched, listed, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi import Query as Parameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from zooproxy.names.listing import MAX_QUERY, Query
from zooproxy.names.records import Record, Result
from zooproxy.names.reference import MAX_LENGTH
from zooproxy.provide.names import Put
from zooproxy.provide.provider import Provider
from zooproxy.serving.problems import problems
from zooproxy.serving.routes.guarded import GuardedRoute, declared
from zooproxy.serving.routes.wired import Wired, only
from zooproxy.wire import routes
from zooproxy.wire.access import ADMIN, READ
from zooproxy.wire.answers import ModelAnswer, ModelsAnswer, members_of

router = APIRouter(tags=["names"], route_class=GuardedRoute)

MAX_PAGE = 500


def _parameter(description: str, example: str, **limits: Any) -> Any:
    return Parameter(description=description, openapi_examples={"one": {"value": example}}, **limits)


Zoo = Annotated[str, Path(examples=["mmdet"])]
Name = Annotated[str, Path(examples=["faster-rcnn_r50_fpn_1x_coco"], max_length=MAX_LENGTH)]
Words = Annotated[
    str,
    _parameter("words in names, architectures, tasks, data sets, paper titles", "faster rcnn", max_length=MAX_QUERY),
]
OneZoo = Annotated[str | None, _parameter("only this zoo", "mmdet")]
Task = Annotated[str | None, _parameter("part of a task's name", "detection", max_length=MAX_QUERY)]
Dataset = Annotated[str | None, _parameter("part of a data set's name", "coco", max_length=MAX_QUERY)]
Held = Annotated[bool | None, _parameter("only what is, or is not, in the cache", "true")]
Text = Annotated[str, Field(max_length=MAX_QUERY)]
Limit = Annotated[int, _parameter("names on a page", "50", ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, _parameter("the `next` of the page before", "", max_length=4096)]


@dataclass(frozen=True, slots=True)
class Filters:
    words: str
    task: str | None
    dataset: str | None

    def of(self, zoo: str | None) -> Query:
        return Query(self.words, zoo, self.task, self.dataset)


@dataclass(frozen=True, slots=True)
class Paging:
    limit: int
    cursor: str | None
    held: bool | None


async def _filters(q: Words = "", task: Task = None, dataset: Dataset = None) -> Filters:
    return Filters(q, task, dataset)


async def _paging(limit: Limit = 50, cursor: Cursor = None, held: Held = None) -> Paging:
    return Paging(limit, cursor, held)


Filtered = Annotated[Filters, Depends(_filters)]
Paged = Annotated[Paging, Depends(_paging)]


@router.get(
    routes.MODELS,
    response_model=ModelsAnswer,
    responses=problems(400, 404),
    summary="Search names across zoos",
    dependencies=[only("q", "zoo", "task", "dataset", "held", "limit", "cursor")],
    openapi_extra=declared(READ),
)
async def models(provider: Wired, filters: Filtered, paging: Paged, zoo: OneZoo = None) -> Response:
    """Best match first; without `q` all names, by zoo and name."""
    return await _page(provider, filters.of(zoo), paging)


@router.get(
    routes.ZOO_MODELS,
    response_model=ModelsAnswer,
    responses=problems(400, 404),
    summary="Search a zoo's names",
    dependencies=[only("q", "task", "dataset", "held", "limit", "cursor")],
    openapi_extra=declared(READ),
)
async def zoo_models(provider: Wired, zoo: Zoo, filters: Filtered, paging: Paged) -> Response:
    """Best match first; without `q` all names of the zoo, by name."""
    return await _page(provider, filters.of(zoo), paging)


@router.get(
    routes.ZOO_MODEL,
    response_model=ModelAnswer,
    responses=problems(400, 404),
    summary="One name, and what is known",
    openapi_extra=declared(READ),
)
async def zoo_model(provider: Wired, zoo: Zoo, name: Name) -> Response:
    """An alias is answered with the name that it stands for."""
    return JSONResponse(members_of(await provider.names.model(zoo, name)))


class Entry(BaseModel):
    """What a name of the site's own stands for; all but the URL is optional."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=MAX_LENGTH, examples=["https://files.example.org/net.pth"])]
    sha256: Annotated[str | None, Field(max_length=64, description="what its bytes must be")] = None
    architecture: Annotated[list[Text], Field(max_length=32)] = []
    training_data: Annotated[list[Text], Field(max_length=32)] = []
    task: Text | None = None
    metrics: Annotated[dict[Text, float], Field(max_length=64)] = {}
    params: Annotated[int | None, Field(ge=0)] = None
    config: Text | None = None
    notes: Annotated[str | None, Field(max_length=4096)] = None

    def put(self) -> Put:
        dataset = self.training_data[0] if self.training_data else None
        results = (Result(self.task, dataset, self.metrics),) if self.task or self.metrics else ()
        record = Record(
            url=self.url,
            architecture=tuple(self.architecture),
            training_data=tuple(self.training_data),
            results=results,
            params=self.params,
            config=self.config,
            notes=self.notes,
        )
        return Put(self.url, self.sha256, record)


@router.put(
    routes.ZOO_MODEL,
    response_model=ModelAnswer,
    responses={201: {"model": ModelAnswer, "description": "The name is new"}, **problems(400, 401, 403, 404)},
    summary="Put a name of the site's own",
    openapi_extra=declared(ADMIN),
)
async def put_model(provider: Wired, zoo: Zoo, name: Name, entry: Entry) -> Response:
    """It overrules what every other layer says of the name, at once and in every process on the same database."""
    answer, is_new = await provider.names.put(zoo, name, entry.put())
    return JSONResponse(members_of(answer), 201 if is_new else 200)


@router.delete(
    routes.ZOO_MODEL,
    status_code=204,
    response_class=Response,
    responses=problems(400, 401, 403, 404),
    summary="Remove a name of the site's own",
    openapi_extra=declared(ADMIN),
)
async def delete_model(provider: Wired, zoo: Zoo, name: Name) -> Response:
    """What other layers say of the name is heard again."""
    await provider.names.remove(zoo, name)
    return Response(status_code=204)


async def _page(provider: Provider, query: Query, paging: Paging) -> Response:
    return JSONResponse(members_of(await provider.names.search(query, paging.limit, paging.cursor, paging.held)))
