from __future__ import annotations

import pytest
from starlette.requests import Request

from zooproxy.errors import BadRequest
from zooproxy.serving.routes.parameters import Parameter, described, read

REF = Parameter("ref", "a reference", (("a", "torchvision://resnet50"),), required=True)
PREFIX = Parameter("prefix", "what to keep", (("b", "backbone."),))


def request(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "query_string": query.encode(), "headers": []})


def test_values_come_in_the_order_asked_for_and_none_where_not_given() -> None:
    assert read(request("prefix=x&ref=a%2Fb"), REF, PREFIX) == ("a/b", "x")
    assert read(request("ref="), REF, PREFIX) == ("", None)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("prefix=x", "the parameter ref is missing: a reference"),
        ("ref=a&ref=b", "the parameter ref is given twice"),
        ("ref=a&prefx=b&z=", "unknown parameter prefx, z; known are ref, prefix"),
    ],
)
def test_what_is_missing_doubled_or_unknown_is_named(query: str, words: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(request(query), REF, PREFIX)
    assert str(refused.value) == words


def test_openapi_is_told_of_each_with_its_examples() -> None:
    (ref, prefix) = described(REF, PREFIX)["parameters"]
    assert (ref["name"], ref["in"], ref["required"]) == ("ref", "query", True)
    assert ref["examples"] == {"a": {"value": "torchvision://resnet50"}}
    assert prefix["required"] is False
