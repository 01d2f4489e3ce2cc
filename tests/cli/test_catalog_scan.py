from __future__ import annotations

import json
from pathlib import Path

import pytest

from zooproxy.cli import main
from zooproxy.cli.catalog_scan import _resolved
from zooproxy.errors import ProxyRefused
from zooproxy.names.listing import Query
from zooproxy.wire.answers import ModelsAnswer, ResolveAnswer, ZooAnswer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOOPROXY", raising=False)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    (folder / ".hidden").mkdir(parents=True)
    (folder / ".mim").mkdir()
    (folder / "good.py").write_text("load_from = 'open-mmlab://resnet50_caffe'\npretrained = 'work/x.pth'\n")
    (folder / ".mim" / "metafile.yml").write_text("Weights: https://download.openmmlab.com/x.pth\n")
    (folder / ".hidden" / "bad.py").write_text("load_from = 'mmdet://nowhere'")
    (folder / "notes.txt").write_text("load_from = 'mmdet://nowhere'")
    return folder


def test_scan_lists_references_with_file_line_and_warnings(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "scan", str(configs)]) == 0
    told = capsys.readouterr()
    deprecated = "open-mmlab://resnet50_caffe is deprecated in favor of open-mmlab://detectron/resnet50_caffe"
    assert told.out.splitlines() == [
        f"{configs}/.mim/metafile.yml:1: https://download.openmmlab.com/x.pth",
        f"{configs}/good.py:1: open-mmlab://resnet50_caffe  {deprecated}",
        f"{configs}/good.py:2: work/x.pth  [path]",
    ]
    assert told.err == "2 files, 3 different references: 2 ok, 1 path, 0 unresolvable, 0 unreadable\n"


def test_scan_flags_what_cannot_be_had_or_read_by_its_status(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (configs / "bad.py").write_text("a = 1\nload_from = 'torchvision://resnet5O'\npretrained = 'ftp://h/x.pth'\n")
    (configs / "broken.json").write_text("{")
    assert main(["catalog", "scan", "--flagged", str(configs / "bad.py"), str(configs)]) == 1
    told = capsys.readouterr()
    flagged = told.out.splitlines()
    assert len(flagged) == 3
    assert flagged[0].startswith(f"{configs}/bad.py:2: torchvision://resnet5O  [unresolvable]")
    assert "did you mean torchvision://resnet50?" in flagged[0]
    assert "bad.py:3: ftp://h/x.pth  [unresolvable]" in flagged[1]
    assert "broken.json:1:  [unreadable]" in flagged[2]
    assert "2 unresolvable, 1 unreadable" in told.err


def test_scan_of_unreadable_alone_has_status_one(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_bytes(b"\xff")
    assert main(["catalog", "scan", str(tmp_path)]) == 1


def test_scan_tells_json(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "scan", "--json", str(configs / "good.py")]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["line"], first["verdict"]) == (1, "ok")
    assert first["url"].endswith("resnet50_caffe-788b5fa3.pth")
    assert (second["ref"], second["url"]) == ("work/x.pth", None)


def test_scan_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "scan", str(tmp_path / "nowhere")]) == 1
    assert "there is no file or folder" in capsys.readouterr().err


class Refusing:
    """A proxy that refuses everything with one status."""

    def __init__(self, status: int) -> None:
        self._error = ProxyRefused("no such name", problem="unknown-name", status=status)

    def resolve(self, ref: str) -> ResolveAnswer:
        raise self._error

    def zoos(self) -> list[ZooAnswer]:
        raise self._error

    def models(self, query: Query, limit: int, cursor: str | None = None) -> ModelsAnswer:
        raise self._error


def test_a_proxys_verdict_on_a_reference_is_a_finding_and_its_failure_is_not() -> None:
    assert _resolved("mmdet://x", Refusing(404)) == ("unresolvable", None, ("no such name",))
    with pytest.raises(ProxyRefused):
        _resolved("mmdet://x", Refusing(503))
