from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from zooproxy.errors import NameWithoutWeights, UnknownName, UnknownZoo
from zooproxy.names.catalog import Catalog, Resolution, Source
from zooproxy.names.corrections import AliasRepair, Corrections, HintOverride, UrlRepair
from zooproxy.names.records import Record
from zooproxy.names.reference import parse
from zooproxy.names.sections import SITE_FILE, SYNCED, Section, Synonym
from zooproxy.names.zoos import SHIPPED

STALE = "https://example.org/b0-11111111.pth"


def a_catalog(**aliases: str) -> Catalog:
    models = {"new": "https://example.org/new-0badcafe.pth", "stale": STALE, "none": None}
    repair = AliasRepair("openmmlab", "lost", "nowhere", "new", "its target was renamed")
    overrides = (HintOverride(STALE, None, "the file was replaced"),)
    return Catalog([Section("openmmlab", {"package": "madeup"}, models, aliases)], Corrections((repair,), overrides))


def test_resolve_name_gives_its_source_its_layer_and_what_is_known_of_it(shipped: Catalog) -> None:
    found = shipped.resolve(parse("torchvision://resnet50"))

    assert found == Resolution(
        reference="torchvision://resnet50",
        canonical="torchvision://resnet50",
        zoo="torchvision",
        name="resnet50",
        source=Source("https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61", "resnet50-0676ba61.pth"),
        layer="shipped",
        metadata=found.metadata,
    )
    assert found.metadata["params"] == 25557032
    assert found.metadata["results"][0]["metrics"] == {"acc@1": 76.13, "acc@5": 92.862}  # type: ignore[index]


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
    found = a_catalog(lost="stale").resolve(parse("openmmlab://lost"))

    assert found.alias_of == "stale"
    assert len(found.warnings) == 1


def test_resolve_alias_whose_published_target_came_back_is_not_repaired() -> None:
    catalog = a_catalog(lost="nowhere").layered(
        [Section("openmmlab", {}, {"nowhere": "https://example.org/found.pth"}, layer=SITE_FILE)]
    )

    assert catalog.resolve(parse("openmmlab://lost")).alias_of == "nowhere"


def test_aliases_are_as_published_and_resolve_tells_the_reason_of_a_repair() -> None:
    catalog = a_catalog(lost="nowhere")

    assert catalog.aliases("openmmlab") == {"lost": "nowhere"}
    assert catalog.resolve(parse("openmmlab://lost")).metadata == {"corrections": ["its target was renamed"]}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ResNet50_Weights.IMAGENET1K_V1", "resnet50.imagenet1k_v1"),
        ("ResNet50_Weights.IMAGENET1K_V2", "resnet50.imagenet1k_v2"),
        ("ResNet50_Weights.DEFAULT", "resnet50.default"),
        ("resnet50_weights.Default", "resnet50.default"),
        ("RESNET50.IMAGENET1K_V1", "resnet50.imagenet1k_v1"),
        ("ResNet50_QuantizedWeights.DEFAULT", "resnet50_quantizedweights.default"),
        ("FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1", "fasterrcnn_resnet50_fpn_v2.coco_v1"),
    ],
)
def test_resolve_weights_enum_in_any_case_is_its_key(shipped: Catalog, name: str, key: str) -> None:
    found = shipped.resolve(parse(f"torchvision://{name}"))

    assert (found.canonical, found.alias_of, found.warnings) == (f"torchvision://{key}", key, ())
    assert found.source == shipped.resolve(parse(f"torchvision://{key}")).source


@pytest.mark.parametrize("name", ["mmcls://VGG16_Weights.DEFAULT", "torchvision://ResNet51_Weights.DEFAULT"])
def test_resolve_weights_enum_that_no_zoo_has_is_an_unknown_name(shipped: Catalog, name: str) -> None:
    with pytest.raises(UnknownName):
        shipped.resolve(parse(name))


def test_resolve_metafile_alias_is_its_model_without_a_warning(shipped: Catalog) -> None:
    found = shipped.resolve(parse("mmdet3d://pointpillars_kitti-3class"))

    assert found.alias_of == "pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class"
    assert found.warnings == ()


def test_resolve_ambiguous_metafile_alias_takes_the_first_and_says_so(shipped: Catalog) -> None:
    (warning,) = shipped.resolve(parse("mmpose://face")).warnings

    assert "2 models; the first is taken" in warning


def test_resolve_name_of_several_files_takes_the_first_and_names_the_others(shipped: Catalog) -> None:
    name = "deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval"
    found = shipped.resolve(parse(f"mmdet://{name}"))

    assert f"mmdet://{name}@2" in found.warnings[0]
    assert shipped.resolve(parse(f"mmdet://{name}@2")).source.url != found.source.url


def test_resolve_repaired_url_says_what_was_wrong(shipped: Catalog) -> None:
    found = shipped.resolve(parse("mmseg://pspnet_r101-d8_4xb2-80k_cityscapes-769x769"))

    assert found.source.url.startswith("https://download.openmmlab.com/mmsegmentation/")
    assert "misspells the host" in found.warnings[0]
    assert found.metadata["corrections"] == ["the metafile misspells the host: no such domain belongs to OpenMMLab"]


def test_resolve_url_that_leads_to_no_file_is_a_name_without_weights(shipped: Catalog) -> None:
    with pytest.raises(NameWithoutWeights, match="gives a directory"):
        shipped.resolve(parse("mmdet3d://mask-rcnn_r50_caffe_fpn_1x_nuim"))


def test_resolve_name_of_mmcls_is_described_by_mmpretrain(shipped: Catalog) -> None:
    assert shipped.resolve(parse("mmcls://resnet50")).metadata["collection"] == "ResNet"


def test_resolve_digest_of_a_record_outranks_the_hint_in_the_file_name() -> None:
    record = Record("https://example.org/x-0badcafe.pth", sha256="ab" * 32)
    catalog = Catalog([Section("mmdet", {}, {}, records={"x": record})])

    assert catalog.resolve(parse("mmdet://x")).source.sha256_hint == "ab" * 32


def test_later_layer_overrules_a_name_with_all_that_was_said_of_it() -> None:
    published = Section(
        "mmdet",
        {"package": "mmdet"},
        {"a": "https://h/a.pth", "b": "https://h/b.pth"},
        synonyms={"c": Synonym("a")},
        records={"a": Record("https://h/a.pth", params=1)},
    )
    site = Section("mmdet", {"file": "site"}, {"c": "https://h/c.pth", "a": "https://h/mine.pth"}, layer=SITE_FILE)
    catalog = Catalog([site, published])

    assert [zoo.layers for zoo in catalog.zoos()] == [("shipped", "site")]
    assert list(catalog.map("mmdet")) == ["a", "b", "c"]
    found = {name: catalog.resolve(parse(f"mmdet://{name}")) for name in "abc"}
    assert [found[name].layer for name in "abc"] == ["site", "shipped", "site"]
    assert (found["a"].source.url, found["a"].metadata) == ("https://h/mine.pth", {})
    assert found["c"].alias_of is None


def test_layered_catalog_replaces_what_a_layer_said_before_and_leaves_the_first_alone() -> None:
    first = Catalog([Section("mmdet", {}, {"a": "https://h/a.pth"})])
    second = first.layered([Section("mmdet", {}, {"b": "https://h/b.pth"}, layer=SITE_FILE)])
    third = second.layered([Section("mmdet", {}, {"c": "https://h/c.pth"}, layer=SITE_FILE)])

    assert [list(catalog.map("mmdet")) for catalog in (first, second, third)] == [["a"], ["a", "b"], ["a", "c"]]


def test_naming_tells_every_reference_that_leads_to_a_file(shipped: Catalog) -> None:
    url = shipped.resolve(parse("mmcls://resnet50")).source.url

    assert shipped.naming(url) == ("mmcls://resnet50", "mmpretrain://resnet50_8xb32_in1k")
    assert shipped.naming("https://example.org/") == ()


def test_published_url_that_is_repaired_to_none_stands_in_no_map() -> None:
    repairs = Corrections(urls=(UrlRepair("<>", None, "it is empty"),))
    catalog = Catalog([Section("mmdet", {}, {"x": "<>"})], repairs)

    assert catalog.map("mmdet") == {"x": None}
    with pytest.raises(NameWithoutWeights, match="it is empty"):
        catalog.resolve(parse("mmdet://x"))


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
    assert {**legacy.metadata, "corrections": None} == {**modern.metadata, "corrections": None}
    assert "corrections" not in modern.metadata


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

    assert caught.value.suggestions[:2] == (f"{modern}.default", f"{modern}.imagenet1k_v1")


def test_resolve_name_of_a_zoo_that_is_not_loaded_is_an_unknown_zoo() -> None:
    with pytest.raises(UnknownZoo, match="no zoo 'mmcls'"):
        a_catalog().resolve(parse("mmcls://vgg16"))


@pytest.mark.parametrize("url", ["https://host/a b.pth", "", "https://[::/x.pth", "x", "ftp://host/x.pth"])
def test_resolve_url_that_is_none_is_a_name_without_weights(url: str) -> None:
    catalog = Catalog([Section("mmcls", {}, {"x": url}, {})])

    with pytest.raises(NameWithoutWeights, match="a URL was published that is none"):
        catalog.resolve(parse("mmcls://x"))
    assert catalog.allowed() <= {"host"}
    assert catalog.naming_digits("0badcafe") == ()


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
    assert len(str(caught.value)) < 300


def test_map_given_to_one_caller_is_not_another_callers(shipped: Catalog) -> None:
    taken = dict(shipped.map("mmcls"))
    shipped.map("mmcls").clear()  # type: ignore[attr-defined]  # what a careless caller may do

    assert shipped.map("mmcls") == taken


def test_aliases_of_a_zoo_without_any_are_none(shipped: Catalog) -> None:
    assert shipped.aliases("torchvision") == {}


def test_zoos_tell_schemes_counts_and_origin(shipped: Catalog) -> None:
    told = {zoo.name: (zoo.schemes, zoo.models) for zoo in shipped.zoos()}

    assert told["torchvision"] == (("torchvision", "modelzoo"), 340)
    assert told["openmmlab"] == (("openmmlab", "open-mmlab"), 48)
    assert told["mmseg"] == (("mmseg", "mmsegmentation"), 626)
    assert tuple(told) == SHIPPED
    assert all({"package", "version", "licence", "wheel_sha256", "date"} <= zoo.origin.keys() for zoo in shipped.zoos())


def test_allowed_are_the_hosts_of_shipped_urls_and_single_urls_of_hosts_where_anybody_can_publish(
    shipped: Catalog,
) -> None:
    urls = {url for zoo in shipped.zoos() for url in shipped.map(zoo.name).values() if url}

    shared = {url for url in urls if urlsplit(url).hostname in {"github.com", "huggingface.co"}}
    assert 0 < len(shared) < 20
    assert shipped.allowed() == shared | {
        "download.pytorch.org",
        "download.openmmlab.com",
        "openmmlab-share.oss-cn-hangzhou.aliyuncs.com",
        "download.openxlab.org.cn",
    }


def test_what_shared_hosts_publish_is_resolved_to_urls_that_are_allowed(shipped: Catalog) -> None:
    allowed = shipped.allowed()
    names = [
        (zoo.name, name) for zoo in shipped.zoos() for name, url in shipped.map(zoo.name).items() if url in allowed
    ]

    assert names
    for zoo, name in names:
        assert shipped.resolve(parse(f"{zoo}://{name}")).source.url in allowed


def test_synced_package_puts_its_own_order_first() -> None:
    shipped = Section("mmdet", {}, {"a": "https://h/a", "gone": "https://h/gone", "b": "https://h/b"})
    synced = Section("mmdet", {}, {"b": "https://h/b2", "new": "https://h/new", "a": "https://h/a"}, layer=SYNCED)

    assert list(Catalog([shipped, synced]).map("mmdet").items()) == [
        ("b", "https://h/b2"),
        ("new", "https://h/new"),
        ("a", "https://h/a"),
        ("gone", "https://h/gone"),
    ]


def test_resolve_name_of_a_sites_own_file_is_that_file() -> None:
    models = {"mine": "local://-/models/r%20n-0badcafe.pth"}
    catalog = Catalog([Section("openmmlab", {}, models, layer=SITE_FILE)])

    found = catalog.resolve(parse("openmmlab://mine"))

    assert found.source == Source("local://-/models/r%20n-0badcafe.pth", "0badcafe", "r n-0badcafe.pth")
    assert catalog.allowed() == {"-"}
    assert catalog.naming_digits("0badcafe") == (("openmmlab://mine", models["mine"]),)


def test_resolve_remembers_but_never_more_than_so_many() -> None:
    catalog = a_catalog()
    first = catalog.resolve(parse("openmmlab://new"))

    for number in range(4200):
        assert catalog.resolve(parse(f"https://h/{number}.pth")).source.file_name == f"{number}.pth"
    assert catalog.resolve(parse("openmmlab://new")) is first
    assert len(catalog._resolved) < 4200


def test_resolve_unknown_name_suggests_names_that_hold_all_of_its_words(shipped: Catalog) -> None:
    with pytest.raises(UnknownName) as caught:
        shipped.resolve(parse("mmpose://hrnet-w32"))

    assert len(caught.value.suggestions) == 5
    assert all("hrnet-w32" in name for name in caught.value.suggestions)
