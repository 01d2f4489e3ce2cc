"""The ASGI application over a wired provider."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

import zooproxy
from zooproxy.provide.provider import Provider
from zooproxy.serving.acceleration import Acceleration
from zooproxy.serving.gate import Gate
from zooproxy.serving.problems import add_problem_handlers
from zooproxy.serving.routes import (
    audit,
    cache,
    checkpoints,
    fills,
    health,
    lookups,
    mirror,
    models,
    publishing,
    stock,
    watch,
)
from zooproxy.serving.routes.guarded import SECURITY_SCHEME
from zooproxy.serving.transfers import Transfers

_DESCRIPTION = """\
A caching proxy between a cluster and the hosts that publish model weights.

A *reference* (`torchvision://resnet50`, `mmcls://vgg16`, `https://…/x.pth`) travels as the query parameter `ref`.
Every refusal is an RFC 9457 `application/problem+json`; its `type` ends with the problem's stable name.
"""


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SECURITY_SCHEME] = {"type": "http", "scheme": "bearer"}
        return document


def create_app(
    provider: Provider, transfers: Transfers, gate: Gate, acceleration: Acceleration | None = None
) -> FastAPI:
    app = _Service(
        title="zooproxy",
        version=zooproxy.__version__,
        description=_DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,  # a path that is not there is not there
    )
    app.state.provider = provider
    app.state.transfers = transfers
    app.state.gate = gate
    app.state.acceleration = acceleration
    add_problem_handlers(app)
    for router in (
        lookups.router,
        models.router,
        publishing.router,
        checkpoints.router,
        mirror.router,
        fills.router,
        watch.router,
        stock.router,
        cache.router,
        audit.router,
        health.router,
    ):
        app.include_router(router)
    return app
