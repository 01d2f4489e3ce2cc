"""Where a command learns about names: from the proxies of ``ZOOPROXY``, or without them from the packaged catalog."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

from zooproxy.client.chain import DirectReached, Route
from zooproxy.client.settings import DIRECT, OFF, ClientSettings
from zooproxy.errors import ProxyUnreachable, TransferCorrupt
from zooproxy.names.answers import model_answer, resolve_answer, zoo_answers
from zooproxy.names.catalog import Catalog
from zooproxy.names.listing import Query
from zooproxy.names.reference import parse
from zooproxy.wire import routes
from zooproxy.wire.answers import ModelAnswer, ModelsAnswer, ResolveAnswer, ZooAnswer

PAGE = 500

Answer = TypeVar("Answer")


class LookUps(Protocol):
    """What commands ask about names; errors are those of the catalog, or the proxy's own."""

    def resolve(self, ref: str) -> ResolveAnswer: ...

    def zoos(self) -> list[ZooAnswer]: ...

    def models(self, query: Query, limit: int, cursor: str | None = None) -> ModelsAnswer: ...


class PackagedLookUps:
    """The catalog that comes with this installation; knows nothing of any cache."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def resolve(self, ref: str) -> ResolveAnswer:
        return resolve_answer(self._catalog.resolve(parse(ref)))

    def zoos(self) -> list[ZooAnswer]:
        return zoo_answers(self._catalog)

    def models(self, query: Query, limit: int, cursor: str | None = None) -> ModelsAnswer:
        page = self._catalog.search(query, limit, cursor)
        return ModelsAnswer([model_answer(listed) for listed in page.models], page.total, page.next)


class ProxyLookUps:
    """A proxy's catalog, with the site's names and the state of its cache."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    def resolve(self, ref: str) -> ResolveAnswer:
        return _answer(ResolveAnswer, self._get(routes.RESOLVE, {"ref": ref}))

    def zoos(self) -> list[ZooAnswer]:
        return [_answer(ZooAnswer, zoo) for zoo in _rows(self._get(routes.ZOOS, {}))]

    def models(self, query: Query, limit: int, cursor: str | None = None) -> ModelsAnswer:
        asked = {"q": query.words, "zoo": query.zoo, "task": query.task, "dataset": query.dataset, "cursor": cursor}
        given = {name: value for name, value in asked.items() if value}
        body = self._get(routes.MODELS, {**given, "limit": str(limit)})
        answer = _answer(ModelsAnswer, body)
        return dataclasses.replace(answer, models=[_answer(ModelAnswer, row) for row in _rows(answer.models)])

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        with Route(self._settings) as route:
            try:
                return route.do(lambda connection: connection.get_json(path, query).body)
            except DirectReached as error:
                raise ProxyUnreachable("no proxy of ZOOPROXY before 'direct' could be reached") from error


def look_ups(environ: Mapping[str, str] = os.environ) -> LookUps:
    """
    Raises:
        SettingsError: ``ZOOPROXY`` is set to something that names no proxy.
    """
    if not environ.get("ZOOPROXY", "").strip():
        return PackagedLookUps(Catalog.shipped())
    settings = ClientSettings.from_environ(environ)
    if settings.proxies[0] in (DIRECT, OFF):
        return PackagedLookUps(Catalog.shipped())
    return ProxyLookUps(settings)


def every_model(source: LookUps, query: Query) -> Iterator[ModelAnswer]:
    """All that a query finds, page by page."""
    cursor: str | None = None
    while True:
        page = source.models(query, PAGE, cursor)
        yield from page.models
        if page.next is None:
            return
        cursor = page.next


def _rows(body: Any) -> list[Any]:
    if not isinstance(body, list):
        raise TransferCorrupt("the proxy answered in another shape; is it a zooproxy of this version?")
    return body


def _answer(kind: type[Answer], body: Any) -> Answer:
    """The members that this version knows; a later proxy may say more.

    Raises:
        TransferCorrupt: one of them is missing.
    """
    names = [member.name for member in dataclasses.fields(kind)]  # type: ignore[arg-type]  # every answer is a dataclass
    if not isinstance(body, dict) or not all(name in body for name in names):
        raise TransferCorrupt("the proxy answered in another shape; is it a zooproxy of this version?")
    return kind(**{name: body[name] for name in names})
