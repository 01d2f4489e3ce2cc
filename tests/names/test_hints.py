from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.names.hints import sha256_hint

HASHES = st.text(alphabet="0123456789abcdef", min_size=8, max_size=64).filter(lambda digits: not digits.isdigit())


@pytest.mark.parametrize(
    ("file_name", "hint"),
    [
        ("resnet50-0676ba61.pth", "0676ba61"),
        ("vgg13-19584684.pth", "19584684"),  # all digits, but there is no 46th month
        ("shufflenetv2_x0.5-f707e7126e.pth", "f707e7126e"),
        ("vgg11_batch256_imagenet_20210208-4271cd6c.pth", "4271cd6c"),
        ("faster_rcnn_mAP-0.386_20200504_180032-c5925ee5.pth", "c5925ee5"),
        ("faster_rcnn_mAP-0.386_20200504_180032.pth", None),
        ("hrnet_w32_coco_256x192-c78dce93_20200708.pth", "c78dce93"),
        ("res50_mpii_256x256-418ffc88_20200812-123456.pth", "418ffc88"),
        ("upernet_deadbeef.pth", "deadbeef"),
        ("upernet_0badcafe_20210203.pth", "0badcafe"),
        (f"model-{'ab' * 32}.safetensors", "ab" * 32),
        (f"model-{'ab' * 33}.safetensors", None),
        ("resnet50-0676ba6.pth", None),
        ("resnet50-0676BA61.pth", None),
        ("resnet50-0676ba61", None),
        ("vgg_state_dict.pth", None),
        ("model-20210208.pth", None),
        ("model-20240229.pth", None),
        ("model-20230229.pth", "20230229"),  # no such day
        ("model-20210208123456.pth", None),
        ("model_202102081234.pth", None),
        ("iter_00160000.pth", None),
        ("epoch_00000012.pth", None),
        ("550e8400-e29b-41d4-a716-446655440000.pth", None),
        ("model-20201010.v2-0badcafe.pth", "0badcafe"),
        ("", None),
    ],
)
def test_sha256_hint_of_published_forms(file_name: str, hint: str | None) -> None:
    assert sha256_hint(file_name) == hint


@given(HASHES)
def test_sha256_hint_finds_a_hash_in_every_place(digits: str) -> None:
    assert sha256_hint(f"resnet50-{digits}.pth") == digits
    assert sha256_hint(f"resnet50_{digits}.pth") == digits
    assert sha256_hint(f"resnet50-{digits}_20200708.pth") == digits
    assert sha256_hint(f"resnet50_20200708-{digits}.pth") == digits


@given(st.dates(), st.times(), st.sampled_from("-_"))
def test_sha256_hint_never_takes_a_date_for_a_hash(day: datetime.date, time: datetime.time, separator: str) -> None:
    date = day.isoformat().replace("-", "")

    assert sha256_hint(f"model{separator}{date}.pth") is None
    assert sha256_hint(f"model{separator}{date}{separator}{time:%H%M%S}.pth") is None
    assert sha256_hint(f"model{separator}{date}{time:%H%M%S}.pth") is None


@given(st.floats(min_value=0, max_value=100, allow_nan=False))
def test_sha256_hint_never_takes_a_metric_for_a_hash(metric: float) -> None:
    assert sha256_hint(f"faster_rcnn_mAP-{metric:.10f}_best.pth") is None
    assert sha256_hint(f"faster_rcnn_mAP-{metric:.10f}.pth") is None


@given(st.text())
def test_sha256_hint_of_any_text_is_none_or_lower_case_digits(text: str) -> None:
    hint = sha256_hint(text)

    assert hint is None or (8 <= len(hint) <= 64 and set(hint) <= set("0123456789abcdef"))
