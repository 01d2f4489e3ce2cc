from __future__ import annotations

import pytest

from zooproxy.names.suggestions import LIMIT, Suggester, fold

NAMES = {
    "torchvision": ["resnet18", "resnet50", "resnet50.default", "vgg16", "vit_b_16.default", "vit_b_16.imagenet1k_v1"],
    "mmcls": ["resnet50", "vgg16_bn", "swin-tiny"],
}


@pytest.fixture
def suggester() -> Suggester:
    return Suggester(NAMES)


@pytest.mark.parametrize(
    "name", ["ResNet50", "resnet-50", "RESNET_50", "resnet5O", "resnet50s", "rasnet50", "resent50", "rest-net50"]
)
def test_nearest_misspelt_name_is_the_name(suggester: Suggester, name: str) -> None:
    assert suggester.nearest("torchvision", name)[0] == "torchvision://resnet50"


def test_nearest_same_name_elsewhere_comes_before_similar_ones(suggester: Suggester) -> None:
    assert suggester.nearest("mmcls", "vgg16") == ("torchvision://vgg16", "mmcls://vgg16_bn")


def test_nearest_shortened_name_comes_before_similar_ones(suggester: Suggester) -> None:
    found = suggester.nearest("torchvision", "vit_b_16")

    assert found[:2] == ("torchvision://vit_b_16.default", "torchvision://vit_b_16.imagenet1k_v1")


def test_nearest_torchvisions_own_spelling_is_the_member(suggester: Suggester) -> None:
    assert (
        suggester.nearest("torchvision", "ViT_B_16_Weights.IMAGENET1K_V1")[0] == "torchvision://vit_b_16.imagenet1k_v1"
    )


@pytest.mark.parametrize("name", ["", "x", "----", "qqqqqqqqqq", "q" * 2000, "中文"])
def test_nearest_unlike_name_gives_nothing(suggester: Suggester, name: str) -> None:
    assert suggester.nearest("mmcls", name) == ()


def test_nearest_never_gives_more_than_the_limit_nor_one_twice() -> None:
    suggester = Suggester({"mmcls": [f"resnet{depth}" for depth in range(10, 99)]})

    found = suggester.nearest("mmcls", "resnet")

    assert len(found) == len(set(found)) == LIMIT


def test_nearest_unknown_zoo_gives_the_same_name_in_others(suggester: Suggester) -> None:
    assert suggester.nearest("mmdet", "swin_tiny") == ("mmcls://swin-tiny",)


def test_continuing_name_without_weights_finds_its_modern_names(suggester: Suggester) -> None:
    assert suggester.continuing("torchvision", "vitb_16") == (
        "torchvision://vit_b_16.default",
        "torchvision://vit_b_16.imagenet1k_v1",
    )


def test_nearest_name_in_another_script_is_found() -> None:
    assert Suggester({"site": ["中文-模型", "模型"]}).nearest("site", "中文模型")[0] == "site://中文-模型"


def test_continuing_name_of_punctuation_gives_nothing(suggester: Suggester) -> None:
    assert suggester.continuing("torchvision", "--") == ()


def test_fold_of_a_name_of_punctuation_is_empty() -> None:
    assert fold("-._/") == ""
