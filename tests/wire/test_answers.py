"""The members of a look-up's answer are the documented ones, in the documented order."""

from __future__ import annotations

import dataclasses

from zooproxy.wire.answers import ModelAnswer, ModelsAnswer, ResolveAnswer, ZooAnswer, members_of


def test_resolve_answers_with_the_documented_members():
    asked = ["ref", "canonical", "zoo", "name", "url", "candidates"]
    held = ["sha256_hint", "sha256", "size", "state"]
    told = ["recipe", "alias_of", "layer", "warnings", "metadata"]
    assert [field.name for field in dataclasses.fields(ResolveAnswer)] == asked + held + told


def test_a_zoo_answers_with_its_name_schemes_count_and_origin():
    answer = ZooAnswer("mmcls", ["mmcls"], 59, ["shipped"], {"package": "mmengine"})
    assert dataclasses.asdict(answer) == {
        "name": "mmcls",
        "schemes": ["mmcls"],
        "models": 59,
        "layers": ["shipped"],
        "origin": {"package": "mmengine"},
    }


def test_members_of_an_answer_are_json_in_the_order_of_its_fields():
    model = ModelAnswer("mmdet://a", "mmdet", "a", None, "shipped", "held", [], ["t"], [], {"params": 1})
    page = ModelsAnswer([model], 1, None)
    assert members_of(page) == dataclasses.asdict(page)
    assert list(members_of(page)["models"][0]) == [field.name for field in dataclasses.fields(ModelAnswer)]
