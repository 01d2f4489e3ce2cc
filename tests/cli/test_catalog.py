"""The commands about names, over the packaged catalog."""

from __future__ import annotations

import json

import pytest

from zooproxy.cli import main
from zooproxy.cli.look_ups import PackagedLookUps, ProxyLookUps, _answer, _rows, look_ups
from zooproxy.errors import ProxyUnreachable, TransferCorrupt
from zooproxy.wire.answers import ZooAnswer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOOPROXY", raising=False)


def test_resolve_tells_what_is_known_on_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resolve", "torchvision://vit_b_16"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "torchvision://vit_b_16"
    assert "  ! a builder's bare name stands for its default weights" in told
    assert "stands for     torchvision://vit_b_16.default" in told
    assert "params         86,567,656" in told
    assert "results        Image Classification on ImageNet-1K: acc@1 81.072, acc@5 95.318" in told


def test_resolve_of_a_plain_url_tells_what_little_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resolve", "https://example.org/x.pth"]) == 0
    assert "sha256         not known" in capsys.readouterr().out


def test_resolve_of_an_unknown_name_says_did_you_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resolve", "torchvision://resnet5O"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "did you mean torchvision://resnet50?" in told.err
    assert "\n  torchvision://resnet152\n" in told.err


def test_zoos_are_a_table_of_names_counts_and_origins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "zoos"]) == 0
    assert "mmseg        626  mmseg://, mmsegmentation://  mmsegmentation 1.2.2" in capsys.readouterr().out
    assert main(["catalog", "zoos", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "torchvision"


def test_list_is_a_reference_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "list", "mmpretrain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 527
    assert all(line.startswith("mmpretrain://") for line in lines)


def test_search_without_a_match_has_the_status_of_greps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "search", "nosuchword"]) == 1
    assert capsys.readouterr() == ("", "")
    assert main(["catalog", "search", "yolov3", "--task", "detection", "--dataset", "coco", "--limit", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("value", ["", " ", "off", "direct"])
def test_look_ups_without_a_proxy_are_the_packaged_catalogs(value: str) -> None:
    assert isinstance(look_ups({"ZOOPROXY": value}), PackagedLookUps)


def test_look_ups_of_a_list_that_ends_in_direct_never_answer_from_another_catalog() -> None:
    source = look_ups({"ZOOPROXY": "http://127.0.0.1:1,direct"})
    assert isinstance(source, ProxyLookUps)
    with pytest.raises(ProxyUnreachable, match="before 'direct'"):
        source.zoos()


@pytest.mark.parametrize("body", [None, [], {"name": "mmdet"}])
def test_answer_of_another_shape_is_a_corrupt_transfer(body: object) -> None:
    with pytest.raises(TransferCorrupt, match="another shape"):
        _answer(ZooAnswer, body)


def test_rows_that_are_no_list_are_a_corrupt_transfer() -> None:
    with pytest.raises(TransferCorrupt, match="another shape"):
        _rows({})


def test_answer_of_a_later_proxy_is_read_without_what_is_new() -> None:
    members = {"name": "x", "schemes": [], "models": 0, "layers": [], "origin": {}, "colour": "red"}
    assert _answer(ZooAnswer, members).name == "x"
