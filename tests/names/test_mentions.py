from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.errors import UnreadableConfig
from zooproxy.names.mentions import MAX_CONFIG_BYTES, Mention, is_reference, mentions

CONFIG = '''
"""A config; see https://example.org/prose.pth."""
_base_ = ["./base.py"]
checkpoint_file = "https://example.org/net-0badcafe.pth"  # https://example.org/comment.pth
load_from = None
resume_from = ""
long = (
    "https://example.org/"
    "joined.pth"
)
added = "https://example.org/" + "added.pth"
model = dict(
    pretrained="torchvision://resnet50",
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="work/net.pth")),
    neck={"init_cfg": {"checkpoint": "ftp://example.org/net"}},
    hooks=dict(checkpoint=dict(type="CheckpointHook")),
    page="https://example.org/page.html",
    name=f"torchvision://{load_from}",
    data="s3://bucket/images/",
    store="site:s3://bucket/net.pth",
)
model["pretrained"] = "nothing to see"
model["load_from"] = "other/net.ckpt"
if model:
    open("witness", "w")
'''


def of_python(text: str) -> list[tuple[int, str]]:
    return [(mention.line, mention.text) for mention in mentions("config.py", text.encode())]


def test_python_config_mentions_what_takes_a_checkpoint_and_what_looks_like_one() -> None:
    assert of_python(CONFIG) == [
        (4, "https://example.org/net-0badcafe.pth"),
        (8, "https://example.org/joined.pth"),
        (11, "https://example.org/added.pth"),
        (13, "torchvision://resnet50"),
        (14, "work/net.pth"),
        (15, "ftp://example.org/net"),
        (20, "site:s3://bucket/net.pth"),
        (23, "other/net.ckpt"),
    ]


def test_python_config_with_a_byte_order_mark_is_read() -> None:
    assert mentions("a.PY", b"\xef\xbb\xbfload_from = 'mmdet://x'") == [Mention("mmdet://x", 1)]


@pytest.mark.parametrize("name", ["a.yml", "a.yaml", "metafile"])
def test_yaml_config_mentions_with_its_lines(name: str) -> None:
    text = "a: &x\n  load_from: work/x.pth\n  list:\n    - mmcls://vgg16\nb: *x\nc: d\nWeights: https://h/x.pth\nn: 1\n"

    assert mentions(name, text.encode()) == [
        Mention("work/x.pth", 2),
        Mention("mmcls://vgg16", 4),
        Mention("https://h/x.pth", 7),
    ]


def test_python_config_with_an_odd_escape_is_read_without_a_warning() -> None:
    assert of_python("pattern = '\\d'\nload_from = 'x.pth'\n") == [(2, "x.pth")]


def test_yaml_that_holds_itself_ends() -> None:
    assert mentions("a.yml", b"a: &a\n  - *a\n  - mmdet://x\n") == [Mention("mmdet://x", 3)]


@pytest.mark.parametrize("escaped", [False, True])
def test_json_config_mentions_with_its_lines(escaped: bool) -> None:
    text = json.dumps({"a": [{"load_from": "ü/x.pth"}, "torchvision://resnet50"], "n": None}, indent=1)
    text = text.replace("/", "\\/") if escaped else text

    assert mentions("a.json", text.encode()) == [Mention("ü/x.pth", 4), Mention("torchvision://resnet50", 6)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.py", b"load_from = "),
        ("a.py", b"\xff"),
        ("a.py", b"x = '\x00'"),
        ("a.py", b"x = " + b"(" * 5000),
        ("a.py", b"x = '" + b"a" * 10 + b"'" + b" + 'a'" * 50_000),
        ("a.json", b"{"),
        ("a.json", b"[" * 100_000),
        ("a.yml", b"a: ["),
        ("a.yml", b"[" * 1_200),
        ("a.py", b"#" * (MAX_CONFIG_BYTES + 1)),
    ],
)
def test_config_that_cannot_be_read_is_a_typed_error(name: str, content: bytes) -> None:
    with pytest.raises(UnreadableConfig):
        mentions(name, content)


def test_yaml_without_pyyaml_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(UnreadableConfig, match="pip install"):
        mentions("a.yml", b"a: 1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("torchvision://resnet50", True),
        ("MMDET://x", True),
        ("pavi://x", True),
        ("https://h/x.pth?download=1", True),
        ("https://h/x.PTH", True),
        ("https://h/x.zip", False),
        ("https://[h/x.pth", False),
        ("see torchvision://resnet50", False),
        ("torchvision://", False),
        ("torchvision://a\nb", False),
        ("s3://b/k", False),
        ("petrel://b/k.pth", True),
        ("ftp://h/x.pth", False),
        ("x.pth", False),
        ("", False),
    ],
)
def test_reference_is_told_by_its_scheme_or_its_files_extension(text: str, expected: bool) -> None:
    assert is_reference(text) is expected


@given(st.sampled_from(["a.py", "a.json", "a.yml"]), st.one_of(st.binary(max_size=200), st.text().map(str.encode)))
def test_any_bytes_are_read_or_refused_by_the_one_error(name: str, content: bytes) -> None:
    try:
        found = mentions(name, content)
    except UnreadableConfig:
        return
    assert all(mention.line >= 1 for mention in found)
