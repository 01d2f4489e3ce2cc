from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sync.mmengine import mmcls_section, openmmlab_section
from zooproxy.names.sync.packages import Wheel

MakeWheel = Callable[..., io.BytesIO]


def test_openmmlab_section_holds_models_and_aliases_as_published(make_wheel: MakeWheel) -> None:
    members = {
        "mmengine/hub/openmmlab.json": '{"b": "https://h/b.pth", "a": null}',
        "mmengine/hub/deprecated.json": '{"old": "b", "lost": "nowhere"}',
    }

    section = openmmlab_section(Wheel(make_wheel(members)))

    assert section.zoo == "openmmlab"
    assert list(section.models.items()) == [("b", "https://h/b.pth"), ("a", None)]
    assert section.aliases == {"old": "b", "lost": "nowhere"}
    assert section.origin["licence"] == "Apache-2.0"


def test_mmcls_section_has_no_aliases(make_wheel: MakeWheel) -> None:
    section = mmcls_section(Wheel(make_wheel({"mmengine/hub/mmcls.json": '{"vgg": "https://h/v.pth"}'})))

    assert (section.zoo, section.models, section.aliases) == ("mmcls", {"vgg": "https://h/v.pth"}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "no JSON"), ("[" * 100_000, "no JSON"), ("[]", "does not map"), ('{"a": 1}', "does not map")],
)
def test_section_of_a_map_in_another_shape_is_unreadable(make_wheel: MakeWheel, text: str, words: str) -> None:
    with pytest.raises(UnreadablePackage, match=words):
        mmcls_section(Wheel(make_wheel({"mmengine/hub/mmcls.json": text})))


def test_section_of_a_wheel_without_maps_is_unreadable(make_wheel: MakeWheel) -> None:
    with pytest.raises(UnreadablePackage, match="no member"):
        openmmlab_section(Wheel(make_wheel({})))
