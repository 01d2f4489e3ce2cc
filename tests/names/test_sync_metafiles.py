from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from zooproxy.errors import UnreadablePackage
from zooproxy.names.records import Record, Result
from zooproxy.names.sections import Section, Synonym
from zooproxy.names.sync.metafiles import has_metafiles, metafiles_section
from zooproxy.names.sync.packages import Wheel

MakeWheel = Callable[..., io.BytesIO]

INDEX = "Import:\n  - configs/a/metafile.yml\n  - configs/b.yml\n"
FIRST = """
Collections:
  - Name: Faster R-CNN
    Metadata:
      Training Data: [COCO, LVIS]
      Architecture: [FPN, RPN]
    Paper:
      - URL: https://arxiv.org/abs/1506.01497
        Title: "Faster R-CNN: Towards
          Real-Time"
Models:
  - Name: faster-rcnn
    Alias: frcnn
    In Collection: Faster R-CNN
    Config: configs/a/x.py
    Metadata: {Architecture: ResNet, Training Data: COCO, Parameters: 25.6M, FLOPs: 102.7G}
    Results:
      - Task: Object Detection
        Dataset: COCO
        Metrics: {box AP: 37.4, none: null, not a number: .nan, Set5: {PSNR: 1.5, deep: {x: 1}}, words: ' a  b '}
      - {}
    Weights: https://h/a.pth
  - Name: without
    Weights:
  - Config: nameless.py
"""
SECOND = """
- Name: several
  In Collections: elsewhere
  Alias: [one, face, faster-rcnn]
  Paper: https://arxiv.org/abs/2
  Results: {Task: Semantic Segmentation, Dataset: [A, B], Metrics: 7}
  Weights: [https://h/1.pth, https://h/2.pth]
- Name: several
  Weights: https://h/3.pth
- Name: twice
  Alias: face
  Results: {Task: Tracking}
  Weights: https://h/t.pth
- Name: twice
  Results: [{Task: Tracking}, {Dataset: B}]
  Weights: https://h/t.pth
- Name: 12
  Metadata: {FLOPs: 0.22, Params(M): 3.5, Training Data: '# a comment'}
  Weights: <>
"""


def wheel_of(make_wheel: MakeWheel, **changed: str) -> Wheel:
    members = {
        "mmdet/.mim/model-index.yml": changed.get("index", INDEX),
        "mmdet/.mim/configs/a/metafile.yml": changed.get("first", FIRST),
        "mmdet/.mim/configs/b.yml": changed.get("second", SECOND),
    }
    return Wheel(make_wheel(members, name="mmdet"))


@pytest.fixture
def section(make_wheel: MakeWheel) -> Section:
    return metafiles_section("mmdet", wheel_of(make_wheel))


def test_section_has_every_weight_in_the_metafiles_order(section: Section) -> None:
    assert (section.zoo, section.origin["package"], section.origin["licence"]) == ("mmdet", "mmdet", "Apache-2.0")
    assert list(section.models.items()) == [
        ("faster-rcnn", "https://h/a.pth"),
        ("several", "https://h/1.pth"),
        ("several@2", "https://h/2.pth"),
        ("several@3", "https://h/3.pth"),
        ("twice", "https://h/t.pth"),
        ("12", "<>"),
    ]


def test_record_joins_what_model_and_collection_say(section: Section) -> None:
    assert section.records["faster-rcnn"] == Record(
        url="https://h/a.pth",
        collection="Faster R-CNN",
        architecture=("ResNet", "FPN", "RPN"),
        training_data=("COCO",),
        results=(Result("Object Detection", "COCO", {"box AP": 37.4, "Set5 PSNR": 1.5, "words": "a b"}),),
        params=25_600_000,
        flops=102_700_000_000,
        config="configs/a/x.py",
        paper_title="Faster R-CNN: Towards Real-Time",
        paper_url="https://arxiv.org/abs/1506.01497",
    )


def test_record_without_a_collection_has_what_the_model_says(section: Section) -> None:
    assert section.records["12"] == Record("<>", params=3_500_000)
    first = section.records["several"]
    assert (first.collection, first.paper_title, first.paper_url) == ("elsewhere", None, "https://arxiv.org/abs/2")
    assert first.results == (Result("Semantic Segmentation", "A, B", {}),)


def test_name_of_several_files_names_the_others(section: Section) -> None:
    assert section.records["several"].also == ("several@2", "several@3")
    assert section.records["several@2"].also == ()


def test_name_given_twice_to_one_file_is_one_record_with_both_results(section: Section) -> None:
    assert section.records["twice"].results == (Result("Tracking", None, {}), Result(None, "B", {}))


def test_alias_is_a_synonym_unless_it_is_a_name_and_tells_when_it_is_ambiguous(section: Section) -> None:
    assert section.synonyms == {
        "frcnn": Synonym("faster-rcnn"),
        "one": Synonym("several"),
        "face": Synonym("several", "the alias face was published for 2 models; the first is taken, not twice"),
    }


def test_section_of_mmyolo_is_stamped_with_its_licence(make_wheel: MakeWheel) -> None:
    assert metafiles_section("mmyolo", wheel_of(make_wheel)).origin["licence"] == "GPL-3.0"


def test_has_metafiles_tells_a_wheel_with_an_index(make_wheel: MakeWheel) -> None:
    assert has_metafiles(wheel_of(make_wheel))
    assert not has_metafiles(Wheel(make_wheel({"mmdet/model-index.yml": INDEX})))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"index": "- a"}, "no index"),
        ({"index": "Import: [nowhere.yml]"}, "no member"),
        ({"first": "a: ["}, "no YAML"),
        ({"first": "!!python/object/apply:os.getcwd []"}, "no YAML"),
        ({"first": "[" * 1200}, "no YAML"),
        ({"first": "Models: [{Name: x, Weights: 2001-99-99}]"}, "no YAML"),
    ],
)
def test_section_of_metafiles_that_cannot_be_read_is_unreadable(
    make_wheel: MakeWheel, changed: dict[str, str], words: str
) -> None:
    with pytest.raises(UnreadablePackage, match=words):
        metafiles_section("mmdet", wheel_of(make_wheel, **changed))


def test_section_of_a_wheel_without_an_index_is_unreadable(make_wheel: MakeWheel) -> None:
    with pytest.raises(UnreadablePackage, match="describes no weights"):
        metafiles_section("mmdet", Wheel(make_wheel({})))


@pytest.mark.parametrize("document", ["", "7", "null", "Models: 7", "Models: [7, {Name: x, Weights: {a: b}}]", "[[]]"])
def test_metafile_of_another_shape_holds_nothing(make_wheel: MakeWheel, document: str) -> None:
    assert metafiles_section("mmdet", wheel_of(make_wheel, first=document, second=document)).models == {}


def test_section_without_pyyaml_says_how_to_install_it(make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(UnreadablePackage, match="pip install"):
        metafiles_section("mmdet", wheel_of(make_wheel))
