from __future__ import annotations

import importlib
import pkgutil

import pytest
from fastapi import APIRouter

from zooproxy.serving import routes
from zooproxy.serving.routes.guarded import GuardedRoute, declared


async def nothing() -> None: ...


@pytest.mark.parametrize("extra", [None, {}, {"parameters": []}, declared("everybody")])
def test_a_route_without_a_policy_cannot_be_built(extra: dict[str, object] | None) -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="/new declares none of the policies open, read, fill, admin"):
        router.get("/new", openapi_extra=extra)(nothing)


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(routes.__path__)])
def test_every_route_is_guarded_in_the_document_or_not(name: str) -> None:
    router = getattr(importlib.import_module(f"{routes.__name__}.{name}"), "router", None)
    for route in router.routes if router else ():
        assert isinstance(route, GuardedRoute), f"{name}: give its router the route_class GuardedRoute"
