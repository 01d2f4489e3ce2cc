from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from zooproxy.cli import main
from zooproxy.names.sections import SYNCED, data_directory, section_from_json


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of mmdet 9.9.9 with one model."""
    path = tmp_path / "mmdet-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mmdet/.mim/model-index.yml", "Import: [m.yml]")
        archive.writestr("mmdet/.mim/m.yml", "Models: [{Name: net, Weights: 'https://h/net.pth'}]")
        archive.writestr("mmdet-9.9.9.dist-info/METADATA", "Name: mmdet\nVersion: 9.9.9\n")
        archive.writestr(
            "mmdet-9.9.9.dist-info/RECORD",
            "mmdet/.mim/model-index.yml,,\nmmdet/.mim/m.yml,,\nmmdet-9.9.9.dist-info/METADATA,,\n",
        )
    return path


def test_sync_writes_a_section_that_the_proxy_reads(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOOPROXY_DATA_DIR", str(tmp_path / "data"))

    assert main(["catalog", "sync", "--wheel", str(wheel)]) == 0

    assert capsys.readouterr().out == "mmdet: 1 names of mmdet 9.9.9: new\n"
    (written,) = (tmp_path / "data" / "catalog").iterdir()
    assert section_from_json(written.read_text(), SYNCED).models == {"net": "https://h/net.pth"}


def test_sync_check_writes_nothing_and_tells_by_its_status(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["catalog", "sync", "--wheel", str(wheel), "--into", str(tmp_path / "out")]

    assert main([*arguments, "--check"]) == 1
    assert not (tmp_path / "out").exists()
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    (tmp_path / "out" / "mmdet.json").write_text("{}")
    assert main([*arguments, "--check"]) == 1
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "new",
        "new",
        "unchanged",
        "changed",
    ]


def test_sync_reads_an_installed_package_as_its_wheel(wheel: Path, tmp_path: Path) -> None:
    installed, out = tmp_path / "site-packages", tmp_path / "out"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    assert main(["catalog", "sync", "--site-packages", str(installed), "--into", str(out)]) == 0

    section = section_from_json((out / "mmdet.json").read_text())
    assert section.models == {"net": "https://h/net.pth"}
    assert "record_sha256" in section.origin


def test_sync_without_packages_reads_this_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "sync", "--into", str(tmp_path), "--check"]) == 1
    assert "mmcls: 57 names of mmengine-lite" in capsys.readouterr().out


def test_packaged_names_of_mmengine_are_what_the_installed_one_says(tmp_path: Path) -> None:
    assert main(["catalog", "sync", "--into", str(tmp_path)]) == 0

    for zoo in ("openmmlab", "mmcls"):
        shipped = section_from_json((data_directory() / f"{zoo}.json").read_text())
        read = section_from_json((tmp_path / f"{zoo}.json").read_text())
        assert list(read.models.items()) == list(shipped.models.items())
        assert (read.aliases, read.origin["version"]) == (shipped.aliases, shipped.origin["version"])


def test_sync_into_what_is_no_directory_is_refused(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["catalog", "sync", "--wheel", str(wheel), "--into", str(wheel)]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nowhere.whl"], "nowhere.whl cannot be read"),
        (["empty.whl"], "empty.whl: the file is no wheel"),
        (["mmdet-9.9.9-py3-none-any.whl", "mmdet-9.9.9-py3-none-any.whl"], "second wheel of mmdet"),
        (["other.whl"], "no package that tells names"),
    ],
)
def test_sync_of_what_tells_no_names_says_why(
    wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], words: str
) -> None:
    (tmp_path / "empty.whl").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other-1.dist-info/METADATA", "Name: other\nVersion: 1\n")

    paths = [str(tmp_path / name) for name in names]
    assert main(["catalog", "sync", "--into", str(tmp_path / "out"), "--wheel", *paths]) == 1
    assert words in capsys.readouterr().err


def test_wheels_are_requirements_with_their_digests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "wheels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    assert all(len(line.partition("==")[2].partition(" --hash=sha256:")[2]) == 64 for line in lines)
