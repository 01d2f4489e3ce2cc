from __future__ import annotations

import pytest

from zooproxy.errors import SettingsError
from zooproxy.names.catalog import Catalog
from zooproxy.provide.pins import Pins

A, B = "a" * 64, "b" * 64
URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.shipped()


@pytest.mark.parametrize("reference", ["torchvision://resnet50", "modelzoo://resnet50", URL])
def test_a_pin_holds_for_the_source_whatever_the_reference(catalog: Catalog, reference: str) -> None:
    pins = Pins(catalog, {reference: A})
    assert pins.of(URL) == A
    assert pins.of("https://download.pytorch.org/models/resnet18-f37072fd.pth") is None


def test_two_pins_of_one_source_must_agree(catalog: Catalog) -> None:
    assert Pins(catalog, {"torchvision://resnet50": A, URL: A}).of(URL) == A
    with pytest.raises(SettingsError, match="different digests"):
        Pins(catalog, {"torchvision://resnet50": A, URL: B})


@pytest.mark.parametrize(
    ("reference", "digest", "words"),
    [
        ("torchvision://resnet5O", A, "did you mean torchvision://resnet50"),
        ("nonsense", A, "'nonsense'"),
        ("torchvision://resnet50", "0676ba61", "64 lower-case"),
        ("torchvision://resnet50", A.upper(), "64 lower-case"),
    ],
)
def test_an_entry_that_cannot_hold_is_refused_by_name(
    catalog: Catalog, reference: str, digest: str, words: str
) -> None:
    with pytest.raises(SettingsError, match="PINS") as refused:
        Pins(catalog, {reference: digest})
    assert words in str(refused.value)
