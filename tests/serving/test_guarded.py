from __future__ import annotations

import pytest
from fastapi import APIRouter

from zooproxy.serving.routes.guarded import GuardedRoute, declared


async def nothing() -> None: ...


@pytest.mark.parametrize("extra", [None, {}, {"parameters": []}, declared("everybody")])
def test_a_route_without_a_policy_cannot_be_built(extra: dict[str, object] | None) -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="/new declares none of the policies open, read, fill, admin"):
        router.get("/new", openapi_extra=extra)(nothing)
