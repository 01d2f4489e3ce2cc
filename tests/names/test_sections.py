from __future__ import annotations

import json

import pytest

from zooproxy.names.records import Record, Result
from zooproxy.names.sections import SYNCED, Section, Synonym, section_from_json, section_to_json

RECORD = Record(
    url="https://h/a.pth",
    collection="A",
    architecture=("x", "y"),
    training_data=("COCO",),
    results=(Result("Detection", "COCO", {"AP": 1.5, "AR": None}), Result(None, "LVIS", {}), Result(None, None, {})),
    params=1,
    also=("a@2",),
)


@pytest.mark.parametrize(
    "section",
    [
        Section("mmdet", {"package": "mmdet", "legacy": {"a": 1}}, {"a": "https://h/a.pth"}, records={"a": RECORD}),
        Section("torchvision", {}, {"a": "https://h/a.pth", "none": None}, records={"beyond": RECORD}),
        Section("openmmlab", {}, {"ü": None}, {"old": "ü"}, {"s": Synonym("ü"), "t": Synonym("ü", "a note")}),
        Section("mmcls", {}, {}),
    ],
)
def test_section_survives_being_written_and_read(section: Section) -> None:
    text = section_to_json(section)

    assert section_from_json(text) == section
    assert section_to_json(section_from_json(text)) == text


def test_section_read_from_elsewhere_is_of_that_layer() -> None:
    assert section_from_json(section_to_json(Section("mmcls", {}, {})), SYNCED).layer == SYNCED


def test_section_is_written_with_a_line_for_each_name_and_no_url_twice() -> None:
    text = section_to_json(Section("mmdet", {}, {"a": "https://h/a.pth"}, records={"a": RECORD}))

    assert text.count("https://h/a.pth") == 1
    assert json.loads(text)["models"] is None
    assert ' "a": {"url"' in text


def test_record_tells_what_was_said_and_leaves_out_the_rest() -> None:
    assert Record(None).to_json() == {}
    assert list(RECORD.to_json()) == [
        "url",
        "collection",
        "architecture",
        "training_data",
        "results",
        "params",
        "also",
    ]
    assert "url" not in RECORD.facts()


def test_record_lists_tasks_and_data_sets_once() -> None:
    assert RECORD.tasks == ("Detection",)
    assert RECORD.datasets == ("COCO", "LVIS")
