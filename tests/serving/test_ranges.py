"""RFC 9110 conditional and range requests, table and property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.serving.ranges import Answer, NotModified, Part, Unsatisfiable, Whole, answer

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ("bytes=0-0", Part(0, 1)),
        ("bytes=2-5", Part(2, 4)),
        ("bytes=2-", Part(2, 8)),
        ("bytes=-3", Part(7, 3)),
        ("bytes=-99", Part(0, 10)),
        ("bytes=9-99", Part(9, 1)),
        (" BYTES = 1 - 2 ", Part(1, 2)),
        ("bytes=10-", Unsatisfiable()),
        ("bytes=10-12", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=5-2", Whole()),
        ("bytes=-", Whole()),
        ("bytes=", Whole()),
        ("bytes=a-b", Whole()),
        ("bytes=1-2,4-5", Whole()),
        ("bytes=1-2,3-5", Part(1, 5)),
        ("bytes=4-,1-5 , ,0-0", Part(0, 10)),
        ("bytes=1-2,20-", Part(1, 2)),
        ("bytes=20-,30-", Unsatisfiable()),
        ("bytes=1-2,x", Whole()),
        ("bytes=1-2,5-4", Whole()),
        ("bytes=-3,7-8", Part(7, 3)),
        ("bytes=" + "0-0," * 100 + "0-0", Whole()),
        ("bytes=,", Whole()),
        ("items=1-2", Whole()),
        ("bytes=٣-٤", Whole()),
        ("bytes=" + "9" * 30 + "-", Whole()),
        ("", Whole()),
    ],
)
def test_a_range_is_honoured_refused_or_ignored_as_the_rfc_says(requested: str, expected: Answer) -> None:
    assert answer({"range": requested}, 10, ETAG) == expected


@pytest.mark.parametrize(
    ("requested", "expected"), [("bytes=0-", Unsatisfiable()), ("bytes=0-0", Unsatisfiable()), ("bytes=-1", Whole())]
)
def test_of_nothing_no_part_is_ever_sent(requested: str, expected: Answer) -> None:
    assert answer({"range": requested}, 0, ETAG) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"abc"', NotModified()),
        ('W/"abc"', NotModified()),
        ('"x", "abc" , W/"y"', NotModified()),
        ("*", NotModified()),
        ('"x"', Whole()),
        ("abc", Whole()),
        ("", Whole()),
    ],
)
def test_if_none_match_compares_weakly(header: str, expected: Answer) -> None:
    assert answer({"if-none-match": header}, 10, ETAG) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"abc"', Part(1, 2)), ('W/"abc"', Whole()), ('"x"', Whole()), ("Tue, 15 Nov 1994 12:45:26 GMT", Whole())],
)
def test_if_range_honours_the_range_only_for_the_same_strong_tag(header: str, expected: Answer) -> None:
    assert answer({"range": "bytes=1-2", "if-range": header}, 10, ETAG) == expected


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_well_formed_range_equals_slicing(length: int, first: int, last: int) -> None:
    body = bytes(range(length))
    found = answer({"range": f"bytes={first}-{last}"}, length, ETAG)
    if last < first:
        assert found == Whole()
    elif isinstance(found, Part):
        assert body[found.start : found.start + found.length] == body[first : last + 1] != b""
    else:
        assert found == Unsatisfiable()
        assert body[first : last + 1] == b""


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=6))
def test_several_ranges_are_sent_as_their_union_only_where_it_has_no_hole(
    length: int, spans: list[tuple[int, int]]
) -> None:
    spans = [(min(span), max(span)) for span in spans]
    found = answer({"range": "bytes=" + ",".join(f"{first}-{last}" for first, last in spans)}, length, ETAG)
    wanted = {at for first, last in spans for at in range(first, last + 1) if at < length}
    if isinstance(found, Part):
        assert set(range(found.start, found.start + found.length)) == wanted
    elif isinstance(found, Unsatisfiable):
        assert not wanted
    else:
        assert max(wanted) - min(wanted) + 1 > len(wanted)


@given(st.text(alphabet="bytes=0123456789-, \t*", max_size=30), st.integers(0, 50))
def test_any_text_at_all_gets_an_answer_within_the_length(requested: str, length: int) -> None:
    found = answer({"range": requested}, length, ETAG)
    if isinstance(found, Part):
        assert 0 <= found.start < found.start + found.length <= length
