"""The ASGI application over a wired provider."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI

import zooproxy
from zooproxy.provide.provider import Provider
from zooproxy.serving.acceleration import Acceleration
from zooproxy.serving.changers import Changers
from zooproxy.serving.problems import add_problem_handlers
from zooproxy.serving.routes import cache, checkpoints, fills, health, lookups, mirror, models
from zooproxy.serving.transfers import Transfers

_DESCRIPTION = """\
A caching proxy between a cluster and the hosts that publish model weights.

A *reference* (`torchvision://resnet50`, `mmcls://vgg16`, `https://…/x.pth`) travels as the query parameter `ref`.
Every refusal is an RFC 9457 `application/problem+json`; its `type` ends with the problem's stable name.
"""


def create_app(
    provider: Provider,
    transfers: Transfers,
    admin_tokens: Iterable[str] = (),
    acceleration: Acceleration | None = None,
) -> FastAPI:
    """``admin_tokens`` may change state; with none of them, requests from this machine may."""
    app = FastAPI(
        title="zooproxy",
        version=zooproxy.__version__,
        description=_DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,  # a path that is not there is not there
    )
    app.state.provider = provider
    app.state.transfers = transfers
    app.state.acceleration = acceleration
    app.state.changers = Changers(admin_tokens)
    add_problem_handlers(app)
    for router in (
        lookups.router,
        models.router,
        checkpoints.router,
        mirror.router,
        fills.router,
        cache.router,
        health.router,
    ):
        app.include_router(router)
    return app
