"""Parameters of the routes that clusters repeat: read and checked by hand, described to OpenAPI all the same.

FastAPI's own parameters cost such a route more than its answer does; and it lets a misspelt one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from zooproxy.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Parameter:
    """``examples`` by name, as OpenAPI lists them; ``where``: ``query`` or ``path``."""

    name: str
    description: str
    examples: tuple[tuple[str, str], ...]
    required: bool = False
    where: str = "query"


def described(*parameters: Parameter) -> dict[str, Any]:
    """What a route's ``openapi_extra`` says of them."""
    return {"parameters": [_described(parameter) for parameter in parameters]}


def _described(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": {"type": "string"},
        "examples": {name: {"value": value} for name, value in parameter.examples},
    }


def read(request: Request, *parameters: Parameter) -> tuple[str | None, ...]:
    """The values of query parameters in this order, None for those that are not given.

    Raises:
        BadRequest: one is required and missing, given twice, or not among these.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise BadRequest(f"the parameter {name} is given twice")
        given[name] = value
    values = tuple(given.pop(parameter.name, None) for parameter in parameters)
    if given:
        known = ", ".join(parameter.name for parameter in parameters)
        raise BadRequest(f"unknown parameter {', '.join(sorted(given))}; known are {known}")
    for parameter, found in zip(parameters, values, strict=True):
        if parameter.required and found is None:
            raise BadRequest(f"the parameter {parameter.name} is missing: {parameter.description}")
    return values
