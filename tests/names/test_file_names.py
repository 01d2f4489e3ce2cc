from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.names.file_names import MAX_BYTES, file_name_of


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models/resnet50-0676ba61.pth", "resnet50-0676ba61.pth"),
        ("/a%2Bb.pth", "a+b.pth"),
        ("/%e4%b8%ad%e6%96%87.pth", "中文.pth"),
        ("/a%2fb.pth", "a_b.pth"),
        ("/..%2f..%2fetc%2fpasswd", "_.._etc_passwd"),
        ("/a%5Cb.pth", "a_b.pth"),
        ("/a%00b%0d%0a.pth", "a_b__.pth"),
        ("/a%E2%80%AEb.pth", "a_b.pth"),
        ('/<script>"x".pth', "_script__x_.pth"),
        ("/%ff.pth", "\N{REPLACEMENT CHARACTER}.pth"),
        ("/.bashrc", "bashrc"),
        ("/..", "checkpoint"),
        ("/%2e%2e", "checkpoint"),
        ("/%20", "checkpoint"),
        ("/", "checkpoint"),
        ("", "checkpoint"),
    ],
)
def test_file_name_of_path_is_safe_to_save_under(path: str, name: str) -> None:
    assert file_name_of(path) == name


def test_file_name_of_long_path_keeps_the_end() -> None:
    name = file_name_of(f"/{'é' * 300}-0676ba61.pth")

    assert name.endswith("é-0676ba61.pth")
    assert MAX_BYTES - 1 <= len(name.encode()) <= MAX_BYTES


@given(st.one_of(st.text(), st.text(alphabet="%./\\0dDaA2eEfF5cC<>:\r\n\x00 ")))
def test_file_name_of_any_path_climbs_nowhere_and_prints(path: str) -> None:
    name = file_name_of(path)

    assert name.isprintable()
    assert not set(name) & set("/\\")
    assert name == name.strip()
    assert not name.startswith(".")
    assert 0 < len(name.encode()) <= MAX_BYTES
