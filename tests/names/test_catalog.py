from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from zooproxy.errors import MalformedReference, NameWithoutWeights, UnknownName, UnknownZoo
from zooproxy.names.catalog import Catalog, Resolution, Source
from zooproxy.names.reference import parse
from zooproxy.names.sections import AliasRepair, Corrections, HintOverride, Section

STALE = "https://example.org/b0-11111111.pth"


def a_catalog(**aliases: str) -> Catalog:
    models = {"new": "https://example.org/new-0badcafe.pth", "stale": STALE, "none": None}
    repair = AliasRepair("openmmlab", "lost", "nowhere", "new", "its target was renamed")
    overrides = (HintOverride(STALE, None, "the file was replaced"),)
    return Catalog([Section("openmmlab", {"package": "madeup"}, models, aliases)], Corrections((repair,), overrides))


def test_resolve_name_gives_its_source(shipped: Catalog) -> None:
    assert shipped.resolve(parse("torchvision://resnet50")) == Resolution(
        reference="torchvision://resnet50",
        canonical="torchvision://resnet50",
        zoo="torchvision",
        name="resnet50",
        source=Source("https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61", "resnet50-0676ba61.pth"),
    )


def test_resolve_deprecated_scheme_warns_in_mmengines_words(shipped: Catalog) -> None:
    found = shipped.resolve(parse("modelzoo://resnet50"))

    assert found.canonical == "torchvision://resnet50"
    assert found.warnings == ('The URL scheme of "modelzoo://" is deprecated, please use "torchvision://" instead',)


def test_resolve_mmcls_name_carries_the_recipe(shipped: Catalog) -> None:
    assert shipped.resolve(parse("mmcls://vgg16")).recipe == "mmcls"


@pytest.mark.parametrize("scheme", ["openmmlab", "open-mmlab"])
def test_resolve_deprecated_alias_warns_in_mmengines_words(shipped: Catalog, scheme: str) -> None:
    found = shipped.resolve(parse(f"{scheme}://resnet50_caffe"))

    assert (found.name, found.alias_of) == ("resnet50_caffe", "detectron/resnet50_caffe")
    assert found.canonical == "openmmlab://detectron/resnet50_caffe"
    assert found.source.file_name == "resnet50_caffe-788b5fa3.pth"
    assert found.warnings == (
        f"{scheme}://resnet50_caffe is deprecated in favor of {scheme}://detectron/resnet50_caffe",
    )


@pytest.mark.parametrize(("depth", "digits"), [("50", "5891d200"), ("101", "6cc46731")])
def test_resolve_dangling_alias_is_repaired_and_says_so(shipped: Catalog, depth: str, digits: str) -> None:
    found = shipped.resolve(parse(f"open-mmlab://resnet{depth}_caffe_bgr"))

    assert found.canonical == f"openmmlab://detectron2/resnet{depth}_caffe"
    assert found.alias_of == f"detectron2/resnet{depth}_caffe"
    assert found.source.sha256_hint == digits
    deprecated, repaired = found.warnings
    assert deprecated.endswith(f"is deprecated in favor of open-mmlab://detectron2/resnet{depth}_caffe")
    assert "was repaired" in repaired


def test_resolve_alias_whose_published_target_changed_is_not_repaired() -> None:
    catalog = a_catalog(lost="stale")

    assert catalog.resolve(parse("openmmlab://lost")).alias_of == "stale"
    assert catalog.aliases("openmmlab") == {"lost": "stale"}


def test_resolve_alias_that_leads_nowhere_is_an_unknown_name() -> None:
    with pytest.raises(UnknownName, match="no model 'gone'"):
        a_catalog(old="gone").resolve(parse("openmmlab://old"))


@pytest.mark.parametrize("size", range(8))
def test_resolve_efficientnet_with_a_stale_name_has_its_files_hint(shipped: Catalog, size: int) -> None:
    legacy = shipped.resolve(parse(f"torchvision://efficientnet_b{size}"))
    modern = shipped.resolve(parse(f"torchvision://efficientnet_b{size}.imagenet1k_v1"))

    assert legacy.source.url != modern.source.url
    assert legacy.source.sha256_hint == modern.source.sha256_hint
    assert legacy.metadata["corrections"]
    assert modern.metadata == {}


def test_resolve_url_of_a_corrected_file_is_corrected_too() -> None:
    found = a_catalog().resolve(parse(STALE))

    assert found.source == Source(STALE, None, "b0-11111111.pth")
    assert found.metadata == {"corrections": ["the file was replaced"]}


@pytest.mark.parametrize(
    ("text", "url", "hint", "file_name"),
    [
        ("https://H.org/a%2Bb-0badcafe.pth", "https://h.org/a%2Bb-0badcafe.pth", "0badcafe", "a+b-0badcafe.pth"),
        ("https://h.org/x.pth?v=/1-deadbeef.", "https://h.org/x.pth?v=/1-deadbeef.", None, "x.pth"),
        ("https://h.org", "https://h.org/", None, "checkpoint"),
        ("petrel://b/d/k-0badcafe.pth", "s3://b/d/k-0badcafe.pth", "0badcafe", "k-0badcafe.pth"),
        ("site:s3://b/k?.pth", "site:s3://b/k?.pth", None, "k_.pth"),
        ("pavi://user/model_0badcafe.pth", "pavi://user/model_0badcafe.pth", "0badcafe", "model_0badcafe.pth"),
        ("pavi://model.pth", "pavi://model.pth", None, "model.pth"),
    ],
)
def test_resolve_what_needs_no_zoo_is_its_own_source(
    shipped: Catalog, text: str, url: str, hint: str | None, file_name: str
) -> None:
    found = shipped.resolve(parse(text))

    assert found == Resolution(text, url, None, None, Source(url, hint, file_name))


def test_resolve_unknown_name_suggests_the_nearest(shipped: Catalog) -> None:
    with pytest.raises(UnknownName, match=r"did you mean torchvision://resnet50\?") as caught:
        shipped.resolve(parse("torchvision://resnet-50"))

    assert caught.value.suggestions[:2] == ("torchvision://resnet50", "mmcls://resnet50")
    assert len(caught.value.suggestions) == 5


def test_resolve_name_of_another_zoo_suggests_that_zoo(shipped: Catalog) -> None:
    with pytest.raises(UnknownName) as caught:
        shipped.resolve(parse("openmmlab://resnet50"))

    assert caught.value.suggestions[:2] == ("torchvision://resnet50", "mmcls://resnet50")


def test_resolve_every_suggestion_resolves(shipped: Catalog) -> None:
    with pytest.raises(UnknownName) as caught:
        shipped.resolve(parse("torchvision://shufflenet"))

    assert caught.value.suggestions
    assert all(shipped.resolve(parse(text)).source.url for text in caught.value.suggestions)


def test_resolve_unlike_name_makes_no_guess_and_shows_no_more_than_a_line(shipped: Catalog) -> None:
    with pytest.raises(UnknownName) as caught:
        shipped.resolve(parse("mmcls://" + "q" * 2000))

    assert "did you mean" not in str(caught.value)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("factor", ["1.5", "2.0"])
def test_resolve_name_without_weights_suggests_the_modern_names(shipped: Catalog, factor: str) -> None:
    modern = f"torchvision://shufflenet_v2_x{factor.replace('.', '_')}"

    with pytest.raises(NameWithoutWeights) as caught:
        shipped.resolve(parse(f"torchvision://shufflenetv2_x{factor}"))

    assert caught.value.suggestions == (f"{modern}.default", f"{modern}.imagenet1k_v1")


def test_resolve_name_of_a_zoo_that_is_not_loaded_is_an_unknown_zoo() -> None:
    with pytest.raises(UnknownZoo, match="no zoo 'mmcls'"):
        a_catalog().resolve(parse("mmcls://vgg16"))


def test_resolve_bad_url_in_a_section_is_a_typed_error() -> None:
    section = Section("mmcls", {}, {"x": "https://host/a b.pth"}, {})

    with pytest.raises(MalformedReference):
        Catalog([section]).resolve(parse("mmcls://x"))


@pytest.mark.parametrize(
    ("zoo", "suggestion"), [("torchvison", "torchvision"), ("open-mmlab", "openmmlab"), ("modelzoo", "torchvision")]
)
def test_map_unknown_zoo_suggests_the_nearest(shipped: Catalog, zoo: str, suggestion: str) -> None:
    with pytest.raises(UnknownZoo) as caught:
        shipped.map(zoo)

    assert caught.value.suggestions == (suggestion,)


def test_aliases_unknown_zoo_never_shows_what_does_not_print(shipped: Catalog) -> None:
    with pytest.raises(UnknownZoo) as caught:
        shipped.aliases("a\r\nb\x00" + "c" * 200)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_map_given_to_one_caller_is_not_another_callers(shipped: Catalog) -> None:
    taken = dict(shipped.map("mmcls"))
    shipped.map("mmcls").clear()  # type: ignore[attr-defined]  # what a careless caller may do

    assert shipped.map("mmcls") == taken


def test_aliases_of_a_zoo_without_any_are_none(shipped: Catalog) -> None:
    assert shipped.aliases("torchvision") == {}


def test_zoos_tell_schemes_counts_and_origin(shipped: Catalog) -> None:
    told = {zoo.name: (zoo.schemes, zoo.models) for zoo in shipped.zoos()}

    assert told == {
        "torchvision": (("torchvision", "modelzoo"), 250),
        "openmmlab": (("openmmlab", "open-mmlab"), 48),
        "mmcls": (("mmcls",), 57),
    }
    assert all({"package", "version", "licence", "wheel_sha256", "date"} <= zoo.origin.keys() for zoo in shipped.zoos())


def test_hosts_are_those_of_every_shipped_url(shipped: Catalog) -> None:
    urls = [url for zoo in shipped.zoos() for url in shipped.map(zoo.name).values() if url]

    assert (
        shipped.hosts()
        == {"download.pytorch.org", "download.openmmlab.com"}
        == {urlsplit(url).hostname for url in urls}
    )
