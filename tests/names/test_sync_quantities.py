from __future__ import annotations

import math

import pytest

from zooproxy.names.sync.quantities import metrics_of, quantity, texts


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (4_120_000_000, 4_120_000_000),
        (4.1e9, 4_100_000_000),
        ("102.7G", 102_700_000_000),
        (" 1.39 M ", 1_390_000),
        ("2k", None),
        ("330 MB", None),
        ("0.22", None),
        (0.22, None),
        (0, None),
        (-1, None),
        (True, None),
        (math.nan, None),
        (math.inf, None),
        (None, None),
        ([1], None),
    ],
)
def test_quantity_is_a_count_or_not_guessed_at(value: object, count: int | None) -> None:
    assert quantity({"FLOPs": value}, "FLOPs") == count


def test_quantity_takes_the_unit_of_its_key_and_the_first_key_that_tells() -> None:
    assert quantity({"Flops(G)": 0.32, "FLOPs": None}, "FLOPs", "Flops(G)") == 320_000_000
    assert quantity({}, "FLOPs") is None


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, []), ("a\n b", ["a b"]), (["a", "", None, {"b": 1}, 2], ["a", "2"]), ({"a": 1}, []), (1.5, ["1.5"])],
)
def test_texts_are_what_can_be_shown_on_a_line(value: object, found: list[str]) -> None:
    assert texts(value) == found


def test_metrics_are_numbers_and_text_one_level_deep() -> None:
    given = {"AP": 1, 5: "45/79", "set": {"PSNR": 1.5, "deeper": {"x": 1}}, "none": None, "flag": True, "nan": math.nan}

    assert dict(metrics_of(given)) == {"AP": 1, "5": "45/79", "set PSNR": 1.5}
