"""Problems: the slug of an error travels in its type, and its extras never displace a standard member."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from zooproxy.errors import NothingSelected, UnknownName, ZooproxyError
from zooproxy.wire.problems import problem_of, problem_type, slug_of


def test_problem_holds_the_error_s_slug_title_message_and_extras():
    body = problem_of(NothingSelected("nothing under 'x.'", prefixes=["a", "b"]), 404)
    assert body == {
        "type": problem_type("nothing-selected"),
        "title": "Nothing selected",
        "status": 404,
        "detail": "nothing under 'x.'",
        "prefixes": ["a", "b"],
    }


def test_slug_comes_back():
    assert slug_of(problem_of(UnknownName("no such name"), 404)) == "unknown-name"


@pytest.mark.parametrize("problem", [{}, {"type": "about:blank"}, {"type": 3}])
def test_a_problem_of_others_has_no_slug(problem):
    assert slug_of(problem) == ""


def test_extras_never_displace_a_standard_member():
    class Rude(ZooproxyError):
        @property
        def extras(self) -> Mapping[str, object]:
            return {"status": 200, "detail": "fine", "more": 1}

    body = problem_of(Rude("no"), 500)
    assert (body["status"], body["detail"], body["more"]) == (500, "no", 1)


def test_failures_that_led_up_to_an_error_come_along():
    error = UnknownName("no such name")
    error.attempts = (UnknownName("first"), UnknownName("second"))
    attempts = problem_of(error, 404)["attempts"]
    assert [attempt["detail"] for attempt in attempts] == ["first", "second"]
