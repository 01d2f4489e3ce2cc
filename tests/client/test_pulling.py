"""A checkpoint into a file: named, resumed, proven."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fakes.upstream import Upstream
from zooproxy.cli import main
from zooproxy.client.pulling import Pulled, Rendition, pull
from zooproxy.client.settings import ClientSettings
from zooproxy.errors import ProxyNotConfigured, ProxyRefused, TransferCorrupt

REF = "torchvision://resnet50"
DATA = os.urandom(100_000)


@pytest.fixture
def published(proxy: Any) -> Any:
    proxy.files[REF, "raw"] = DATA
    proxy.file_headers["Content-Disposition"] = 'attachment; filename="resnet50-0676ba61.pth"'
    return proxy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def pulled(to: Path, **options: Any) -> Pulled:
    return pull(Rendition(REF, **options), to, ClientSettings.from_environ())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_pull_into_a_directory_takes_the_published_name(published: Any, folder: Path) -> None:
    assert pulled(folder) == Pulled(folder / "resnet50-0676ba61.pth", len(DATA), ())
    assert (folder / "resnet50-0676ba61.pth").read_bytes() == DATA
    assert names(folder) == ["resnet50-0676ba61.pth"]


def test_pull_to_a_file_takes_the_name_given(published: Any, folder: Path) -> None:
    assert pulled(folder / "mine.pth").path == folder / "mine.pth"
    assert names(folder) == ["mine.pth"]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename=\"a_.pth\"; filename*=UTF-8''%C3%A4.pth", "a_.pth"),
        ("attachment; filename*=UTF-8''%C3%A4.pth", "ä.pth"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename=".."', "checkpoint"),
        ("attachment; filename*=UTF-8''%ff", "checkpoint"),
        ("inline", "checkpoint"),
    ],
)
def test_a_name_never_leads_out_of_the_directory(published: Any, folder: Path, disposition: str, name: str) -> None:
    published.file_headers["Content-Disposition"] = disposition
    assert pulled(folder).path == folder / name


def cut_short(handler: Any) -> None:
    handler.reply(200, DATA[:60_000], {"ETag": handler.proxy.tag}, length=len(DATA))
    handler.close_connection = True


def test_a_pull_that_was_cut_short_goes_on_where_it_ended(published: Any, folder: Path) -> None:
    from zooproxy.digest import Sha256

    published.tag = f'"{Sha256.of(DATA)}"'
    published.misbehaviours["checkpoint"].append(cut_short)
    assert pulled(folder).path.read_bytes() == DATA
    asked = [headers.get("Range") for _, headers in published.requests]
    assert asked == [None, "bytes=60000-"]


def test_what_is_left_of_another_publication_is_not_continued(published: Any, folder: Path) -> None:
    published.tag = '"another"'
    published.misbehaviours["checkpoint"].append(cut_short)
    assert pulled(folder).path.read_bytes() == DATA
    assert names(folder) == ["resnet50-0676ba61.pth"]


def test_a_file_that_is_not_what_the_proxy_promised_is_removed(published: Any, folder: Path) -> None:
    from zooproxy.digest import Sha256

    published.file_headers["Repr-Digest"] = Sha256.of(b"other").repr_digest()
    with pytest.raises(TransferCorrupt, match="another sha256"):
        pulled(folder)
    assert names(folder) == []


def test_pull_of_a_variant_asks_for_it(published: Any, folder: Path) -> None:
    published.files[REF, "model"] = b"safe"
    del published.file_headers["Content-Disposition"]
    assert pulled(folder / "x", variant="model", format="pth", prefix="backbone.").size == 4
    assert published.requests[0][0].endswith("variant=model&format=pth&prefix=backbone.")
    with pytest.raises(ProxyRefused):
        pulled(folder / "y", variant="full")


def test_pull_direct_copies_the_published_file(upstream: Upstream, folder: Path, tmp_path: Path) -> None:
    import io

    import torch

    file = io.BytesIO()
    torch.save({"w": torch.ones(3)}, file)
    ref = upstream.put("/net.pth", file.getvalue())
    for settings in (ClientSettings(("direct",)), ClientSettings(("direct",), folder=tmp_path / "store")):
        assert pull(Rendition(ref), folder, settings).path.read_bytes() == file.getvalue()
    assert names(folder) == ["net.pth"]
    with pytest.raises(ProxyNotConfigured, match="raw"):
        pull(Rendition(ref, "model"), folder, ClientSettings(("direct",)))


def test_the_command_pulls_and_says_what_and_where(published: Any, folder: Path, capsys: Any) -> None:
    published.file_headers["Zooproxy-Warning"] = '"it is old"'
    assert main(["pull", REF, "-o", str(folder)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{folder / 'resnet50-0676ba61.pth'}  100,000 bytes\n"
    assert told.err == "zooproxy: warning: it is old\n"
    assert main(["pull", REF, "--prefix", "x."]) == 1
    assert main(["pull", "torchvision://nothing", "-o", str(folder)]) == 1
    assert main(["pull", REF, "-o", str(folder / "absent" / "x")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_the_command_works_without_rich(published: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["pull", REF, "-o", str(folder)]) == 0
