"""The one table from errors to HTTP status, and the handlers that turn them into RFC 9457 problems."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from zooproxy import errors
from zooproxy.wire.problems import problem_of, problem_type
from zooproxy.wire.routes import PROBLEM

_log = logging.getLogger(__name__)

#: The nearest ancestor listed here decides.
STATUS: Final[dict[type[errors.ZooproxyError], int]] = {
    errors.BadRequest: 400,
    errors.TokenRequired: 401,
    errors.AccessError: 403,
    errors.TooManyWrongTokens: 429,
    errors.BadReference: 400,
    errors.NotInCatalog: 404,
    errors.HostNotAllowed: 403,
    errors.HostDenied: 403,
    errors.NameDenied: 403,
    errors.UnsupportedSource: 501,
    errors.Offline: 503,
    errors.FetchError: 502,
    errors.UpstreamStalled: 504,
    errors.UpstreamResting: 503,
    errors.AddressRefused: 403,
    errors.FillCancelled: 503,
    errors.ProofError: 502,
    errors.NotLocked: 403,
    errors.UploadError: 422,
    errors.UploadTooLarge: 413,
    errors.AlreadyPublished: 409,
    errors.UnknownFill: 404,
    errors.FormatError: 422,
    errors.UnsupportedFormat: 501,
    errors.BlobAbsent: 404,
    errors.BundleError: 422,
    errors.BundleConflict: 409,
    errors.OutOfSpace: 507,
    errors.BlobPinned: 409,
    errors.BlobInUse: 409,
    errors.CacheError: 503,
    errors.TooBusy: 503,
    errors.ZooproxyError: 500,
}


class _PlainHttp(errors.ZooproxyError):
    """What the router says itself: no such path, no such method."""

    slug = "http"
    title = "Request refused"


def status_of(error: errors.ZooproxyError) -> int:
    return next(STATUS[ancestor] for ancestor in type(error).__mro__ if ancestor in STATUS)


def _problem(error: errors.ZooproxyError, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem_of(error, status), status, headers=headers, media_type=PROBLEM)


async def _refused(_: Request, error: Any) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, errors.TokenRequired) else {}
    if isinstance(error, (errors.TooBusy, errors.UpstreamResting, errors.TooManyWrongTokens)):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return _problem(error, status_of(error), headers)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    faults = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()]
    return _problem(errors.BadRequest("; ".join(faults)), 400)


async def _http(_: Request, error: Any) -> JSONResponse:
    return _problem(_PlainHttp(str(error.detail)), error.status_code, dict(error.headers or {}))


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    """A bug: it is logged whole, and the client learns nothing of its insides."""
    _log.exception("unforeseen failure at %s", request.scope["path"], exc_info=error)
    return _problem(errors.ZooproxyError("the proxy failed in a way it did not foresee; its log has the details"), 500)


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(errors.ZooproxyError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI: the problems a route may answer with, each with an example."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    kinds = [kind for kind in STATUS if STATUS[kind] == status and kind is not errors.ZooproxyError]
    example = {
        "type": problem_type(kinds[0].slug),
        "title": kinds[0].title,
        "status": status,
        "detail": "what was wrong, and the way out",
    }
    schema = {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "required": ["type", "title", "status", "detail"],
    }
    return {
        "description": " or ".join(kind.title for kind in kinds),
        "content": {PROBLEM: {"schema": schema, "example": example}},
    }
