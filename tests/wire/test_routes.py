"""Warnings survive the header that carries them, whatever a name holds."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.wire.routes import format_warnings, parse_warnings


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_warnings_come_back_as_they_were(warnings):
    assert parse_warnings(format_warnings(warnings)) == warnings


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_header_is_visible_ascii_on_one_line(warnings):
    assert set(format_warnings(warnings)) <= set(string.printable) - set("\r\n\t\x0b\x0c")


def test_plain_words_stay_readable():
    assert format_warnings(["'a' is now 'b'"]) == "\"'a' is now 'b'\""


@pytest.mark.parametrize("value", ["", "plain", '"open'])
def test_what_was_never_written_gives_no_warnings(value):
    assert parse_warnings(value) == []
