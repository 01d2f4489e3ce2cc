from __future__ import annotations

import pytest

from zooproxy.masking import masked


@pytest.mark.parametrize(
    "url",
    [
        "https://b.s3.amazonaws.com/x.pth?X-Amz-Algorithm=A&X-Amz-Signature=canary",
        "https://b.s3.amazonaws.com/x.pth?x-amz-signature=canary&X-Amz-Credential=canary%2F1&X-Amz-Security-Token=canary",
        "https://a.blob.core.windows.net/x.pth?sv=1&sig=canary%3D&se=2",
        "https://storage.googleapis.com/x.pth?X-Goog-Signature=canary",
        "https://d.cloudfront.net/x.pth?Signature=canary~&Key-Pair-Id=canary&Policy=canary",
        "https://h/x.pth?%73ig=canary",
        "https://user:canary@h/x.pth",
        "https://canary@h:81/x.pth?a=1",
        "cluster:s3://canary:canary@h/x",
        "https://user:can@ry@canary@h/x.pth",
        "/v1/checkpoint?ref=https%3A%2F%2Fh%2Fx.pth%3Fa%3D1%26sig%3Dcanary&variant=raw",
        "http://parent/v1/checkpoint?ref=https%3A%2F%2Fcanary%40h%2Fx.pth",
    ],
)
def test_nothing_of_a_credential_is_left(url: str) -> None:
    assert "canary" not in masked(url)
    assert masked(masked(url)) == masked(url)


@pytest.mark.parametrize(
    "text",
    [
        "https://h/x.pth?version=2&name=a@b",
        "torchvision://resnet50",
        "mmdet://a?sig",
        "https://h/x.pth?sig=",
        "https://h/@x",
        "no url",
        "",
    ],
)
def test_what_holds_no_credential_is_left_alone(text: str) -> None:
    assert masked(text) == text


def test_two_credentials_stay_two() -> None:
    assert masked("https://h/x?sig=a") != masked("https://h/x?sig=b")
