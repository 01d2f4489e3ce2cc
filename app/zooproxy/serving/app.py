"""The ASGI application over a wired provider."""

from __future__ import annotations

from fastapi import FastAPI

import zooproxy
from zooproxy.provide.provider import Provider
from zooproxy.serving.problems import add_problem_handlers
from zooproxy.serving.routes import checkpoints, health, lookups

_DESCRIPTION = """\
A caching proxy between a cluster and the hosts that publish model weights.

A *reference* (`torchvision://resnet50`, `mmcls://vgg16`, `https://…/x.pth`) travels as the query parameter `ref`.
Every refusal is an RFC 9457 `application/problem+json`; its `type` ends with the problem's stable name.
"""


def create_app(provider: Provider) -> FastAPI:
    app = FastAPI(
        title="zooproxy",
        version=zooproxy.__version__,
        description=_DESCRIPTION,
        redoc_url=None,
    )
    app.state.provider = provider
    add_problem_handlers(app)
    for router in (lookups.router, checkpoints.router, health.router):
        app.include_router(router)
    return app
