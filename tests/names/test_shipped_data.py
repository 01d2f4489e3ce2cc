"""The packaged data against what was published: the installed mmengine, and facts known about torchvision 0.28.0."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from zooproxy.errors import UnknownZoo
from zooproxy.names import sections
from zooproxy.names.catalog import Catalog
from zooproxy.names.hints import sha256_hint
from zooproxy.names.reference import parse
from zooproxy.names.zoos import SHIPPED

DATA = Path(sections.__file__).parent / "data"


def mmengines(name: str) -> list[tuple[str, str | None]]:
    """mmengine's own map in its order, found without importing mmengine."""
    spec = importlib.util.find_spec("mmengine")
    assert spec is not None
    assert spec.origin is not None
    members = json.loads((Path(spec.origin).parent / "hub" / name).read_text(encoding="utf-8"))
    return list(members.items())


@pytest.mark.parametrize("zoo", ["openmmlab", "mmcls"])
def test_map_equals_mmengines_key_for_key_and_in_order(shipped: Catalog, zoo: str) -> None:
    assert list(shipped.map(zoo).items()) == mmengines(f"{zoo}.json")


def test_aliases_equal_mmengines_key_for_key_and_in_order(shipped: Catalog) -> None:
    assert list(shipped.aliases("openmmlab").items()) == mmengines("deprecated.json")


def test_torchvision_map_begins_with_mmengines_legacy_map(shipped: Catalog) -> None:
    legacy = mmengines("torchvision_0.12.json")

    assert list(shipped.map("torchvision").items())[: len(legacy)] == legacy


def test_torchvision_map_has_the_counts_of_0_28_0(shipped: Catalog) -> None:
    urls = shipped.map("torchvision")
    kinds = Counter(_kind(name) for name in list(urls)[55:])

    assert len(urls) == 250
    assert kinds == {"default": 80, "member": 115}
    assert len([url for url in urls.values() if url is not None]) == 248
    assert len({url for url in urls.values() if url is not None}) == 123
    assert all(urls[name] for name in list(urls)[55:])


def _kind(name: str) -> str:
    return "default" if name.endswith(".default") else "member"


def test_torchvision_map_orders_classes_by_builder_and_members_after_their_default(shipped: Catalog) -> None:
    names = list(shipped.map("torchvision"))[55:]
    classes = list(dict.fromkeys(name.partition(".")[0] for name in names))

    assert names[:2] == ["alexnet.default", "alexnet.imagenet1k_v1"]
    assert names[-3:] == ["wide_resnet50_2.default", "wide_resnet50_2.imagenet1k_v1", "wide_resnet50_2.imagenet1k_v2"]
    assert len(classes) == 80
    assert all(names[names.index(f"{key}.default") - 1].partition(".")[0] != key for key in classes)
    defaults = [name for name in names if name.endswith(".default")]
    assert [names.index(name) for name in defaults] == sorted(names.index(name) for name in defaults)


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("resnet50.default", "resnet50-11ad3fa6.pth"),
        ("resnet50.imagenet1k_v1", "resnet50-0676ba61.pth"),
        ("resnet50.imagenet1k_v2", "resnet50-11ad3fa6.pth"),
        ("resnet50", "resnet50-0676ba61.pth"),
        ("shufflenet_v2_x1_5.default", "shufflenetv2_x1_5-3c479a10.pth"),
        ("vgg16.imagenet1k_features", "vgg16_features-amdegroot-88682ab5.pth"),
        ("efficientnet_b1.default", "efficientnet_b1-c27df63c.pth"),
        ("vit_b_16.default", "vit_b_16-c867db91.pth"),
    ],
)
def test_torchvision_map_has_the_published_files(shipped: Catalog, name: str, file_name: str) -> None:
    assert shipped.resolve(parse(f"torchvision://{name}")).source.file_name == file_name


def test_torchvision_defaults_that_are_not_the_first_version_are_twenty_six(shipped: Catalog) -> None:
    urls = shipped.map("torchvision")
    keys = [name.removesuffix(".default") for name in urls if name.endswith(".default")]

    assert len([key for key in keys if urls[f"{key}.default"] != urls.get(f"{key}.imagenet1k_v1")]) == 26


@pytest.mark.parametrize(
    "name", ["retinanet_resnet50_fpn.default", "raft_large.default", "resnet50_quantizedweights.default"]
)
def test_torchvision_map_leaves_out_what_mmengine_leaves_out(shipped: Catalog, name: str) -> None:
    assert name not in shipped.map("torchvision")


def test_every_shipped_url_is_canonical(shipped: Catalog) -> None:
    for zoo in shipped.zoos():
        for name, url in shipped.map(zoo.name).items():
            assert url is None or parse(url).canonical == url, f"{zoo.name}://{name}"


def test_every_url_of_mmengines_maps_carries_a_hint_but_three(shipped: Catalog) -> None:
    urls = {
        f"{zoo}://{name}": url
        for zoo in ("torchvision", "openmmlab", "mmcls")
        for name, url in shipped.map(zoo).items()
    }

    assert [name for name, url in urls.items() if url is not None and sha256_hint(url.rpartition("/")[2]) is None] == [
        "openmmlab://mmedit/vgg16",
        "openmmlab://mmedit/res34_en_nomixup",
        "openmmlab://mmedit/mobilenet_v2",
    ]


def test_hints_of_all_shipped_files_are_found_and_none_is_a_date(shipped: Catalog) -> None:
    urls = {url for zoo in shipped.zoos() for url in shipped.map(zoo.name).values() if url is not None}
    hints = [sha256_hint(url.partition("?")[0].rpartition("/")[2]) for url in urls]
    digits = [hint for hint in hints if hint and hint.isdigit()]

    assert (len(urls), len([hint for hint in hints if hint])) == (3035, 2940)
    assert not [hint for hint in digits if hint.startswith(("201", "202")) and len(hint) in (8, 14)]


@pytest.mark.parametrize(
    ("zoo", "names", "leading_nowhere"),
    [
        ("mmdet", 584, 0),
        ("mmseg", 626, 0),
        ("mmpretrain", 527, 0),
        ("mmpose", 367, 0),
        ("mmaction2", 184, 0),
        ("mmocr", 44, 0),
        ("mmdet3d", 112, 1),
        ("mmagic", 230, 3),
        ("mmrotate", 50, 0),
        ("mmflow", 50, 0),
        ("mmselfsup", 41, 0),
        ("mmrazor", 52, 1),
        ("mmtrack", 67, 0),
    ],
)
def test_openmmlab_zoo_has_every_weight_of_its_metafiles(
    shipped: Catalog, zoo: str, names: int, leading_nowhere: int
) -> None:
    urls = list(shipped.map(zoo).values())

    assert (len(urls), urls.count(None)) == (names, leading_nowhere)


def test_nothing_of_mmyolo_is_shipped(shipped: Catalog) -> None:
    with pytest.raises(UnknownZoo, match="zooproxy catalog sync"):
        shipped.map("mmyolo")
    assert not [path for path in DATA.iterdir() if "mmyolo" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "builder", ["vit_b_16", "retinanet_resnet50_fpn", "quantized_resnet50", "raft_large", "r3d_18"]
)
def test_torchvision_builder_without_a_key_is_its_default_and_says_so(shipped: Catalog, builder: str) -> None:
    found = shipped.resolve(parse(f"torchvision://{builder}"))

    assert found.canonical.endswith(".default")
    assert found.metadata["architecture"] == [builder]
    assert f"{builder} is " in found.warnings[0]


def test_torchvision_tells_the_meta_of_every_member(shipped: Catalog) -> None:
    (section,) = [section for section in sections.shipped_sections() if section.zoo == "torchvision"]
    members = {name: record for name, record in section.records.items() if not name.endswith(".default")}

    assert len(members) == 166
    assert all(record.params and record.flops is not None and record.file_size_mib for record in members.values())
    assert all(record.training_recipe and record.results for record in members.values())
    assert members["vgg16.imagenet1k_features"].results[0].metrics["acc@1"] is None


def test_every_correction_fits_what_is_shipped() -> None:
    corrections = sections.shipped_corrections()
    shipped = {section.zoo: section for section in sections.shipped_sections()}
    urls = {url for section in shipped.values() for url in section.models.values()}
    published = {record.url for section in shipped.values() for record in section.records.values()}

    assert len(corrections.hints) == 8
    assert {override.url for override in corrections.hints} <= urls
    assert all(override.reason and override.hint != sha256_hint(override.url) for override in corrections.hints)
    assert all(override.same_as in urls and override.same_as != override.url for override in corrections.hints)
    for repair in corrections.aliases:
        assert shipped[repair.zoo].aliases[repair.alias] == repair.published
        assert repair.target in shipped[repair.zoo].models
        assert repair.reason
    assert len(corrections.urls) == 10
    assert {repair.published for repair in corrections.urls} <= published
    assert all(repair.reason and (repair.url is None or parse(repair.url)) for repair in corrections.urls)


@pytest.mark.parametrize("zoo", SHIPPED)
def test_packaged_section_is_byte_for_byte_what_is_written_for_it(zoo: str) -> None:
    text = (DATA / f"{zoo}.json").read_text(encoding="utf-8")

    assert sections.section_to_json(sections.section_from_json(text)) == text


def test_importing_names_reads_no_data_and_nothing_heavy() -> None:
    program = (
        "import sys; opened = []; "
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None); "
        "import zooproxy.names.catalog; "
        "assert not [path for path in opened if path.endswith('.json')]; "
        "assert not {'torch', 'httpx2', 'sqlalchemy', 'pydantic', 'mmengine', 'asyncio'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
