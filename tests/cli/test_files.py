"""``zooproxy inspect`` and ``zooproxy convert`` on files, in this process and, once, as a command without torch."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from formats.checkpoint_files import assert_same
from formats.test_sniff import whole_files
from zooproxy.cli import main
from zooproxy.formats.sniff import Container

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "data" / "checkpoints"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.pth"
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(module.parameters(), momentum=0.9)
    torch.save(
        {"state_dict": module.state_dict(), "optimizer": optimizer.state_dict(), "device": torch.device("cpu")}, path
    )
    return path


def test_inspect_tells_what_a_file_holds(file, capsys):
    assert main(["inspect", str(file)]) == 0
    out = capsys.readouterr().out
    assert "container  torch-zip\nkind       wrapped\ntensors    7 in 7 storages" in out
    assert "not plain  torch.device" in out
    assert "  0.weight  float32 [4, 3, 3, 3]\n" in out


def test_inspect_shows_the_first_tensors_unless_asked_for_all(tmp_path, capsys):
    path = tmp_path / "many.pth"
    torch.save({f"w{number}": torch.ones(2, 3).t() for number in range(30)}, path)
    main(["inspect", str(path)])
    out = capsys.readouterr().out
    assert "strides (1, 3)" in out
    assert "10 more" in out
    main(["inspect", "--all", str(path)])
    assert capsys.readouterr().out.count("\n  w") == 30


def test_inspect_as_json_is_the_tensor_index(file, capsys):
    import hashlib

    main(["inspect", "--json", str(file)])
    index = json.loads(capsys.readouterr().out)
    assert index["blob"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert index["storages"][0][3] is not None


def test_convert_to_safetensors_and_to_a_torch_file(file, tmp_path):
    expected = torch.load(file, weights_only=False)
    assert main(["convert", str(file), str(tmp_path / "out.safetensors")]) == 0
    ours = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert_same({key: ours[key] for key in expected["state_dict"]}, dict(expected["state_dict"]))
    assert main(["convert", "--variant", "full", str(file), str(tmp_path / "out.pth")]) == 0
    ours = torch.load(tmp_path / "out.pth", weights_only=True)
    assert_same(ours["state_dict"], expected["state_dict"])
    assert ours["optimizer"] == expected["optimizer"]


@pytest.mark.parametrize("name", ["lpips_v0.1_alex.pth", "lpips_v0.0_vgg.pth", "mmcv_model.pth"])
def test_published_files_convert(name, tmp_path):
    main(["convert", str(CHECKPOINTS / name), str(tmp_path / name)])
    expected = torch.load(CHECKPOINTS / name, map_location="cpu", weights_only=True)
    assert_same(torch.load(tmp_path / name, weights_only=True), expected)


def test_convert_part_of_it_to_half_the_bytes(file, tmp_path):
    main(["convert", "--prefix", "0", "--dtype", "bf16", "--format", "pth", str(file), str(tmp_path / "half")])
    expected = torch.load(file, weights_only=False)["state_dict"]
    ours = torch.load(tmp_path / "half", weights_only=True)
    assert list(ours) == ["weight", "bias"]
    assert torch.equal(ours["weight"], expected["0.weight"].bfloat16())


def test_convert_keeps_statistics_unless_asked(file, tmp_path):
    out = str(tmp_path / "half.safetensors")
    for options, dtype in ([], torch.float32), (["--buffers"], torch.bfloat16):
        assert main(["convert", "--dtype", "bf16", *options, str(file), out]) == 0
        assert safetensors.torch.load_file(out)["1.running_mean"].dtype is dtype


@pytest.mark.parametrize("case", whole_files())
def test_inspect_tells_every_container(case, tmp_path, capsys):
    data, container = whole_files()[case]
    path = tmp_path / "x"
    path.write_bytes(data)
    status = main(["inspect", str(path)])
    told = capsys.readouterr()
    if status == 0:
        assert f"container  {container.value}\n" in told.out
    else:
        assert container in (Container.TORCH_TAR, Container.ZIPPED, Container.TORCH_PACKAGE, Container.PT2)
        assert container.words in told.err


def test_convert_over_its_own_source_replaces_it_whole(file):
    expected = torch.load(file, weights_only=False)["state_dict"]
    assert main(["convert", str(file), str(file)]) == 0
    assert_same(torch.load(file, weights_only=True)["state_dict"], expected)
    assert [path.name for path in file.parent.iterdir()] == ["in.pth"]


def test_convert_writes_the_same_without_the_kernel_s_copy(file, tmp_path, monkeypatch):
    main(["convert", str(file), str(tmp_path / "a.pth")])

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    main(["convert", str(file), str(tmp_path / "b.pth")])
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_what_cannot_be_read_or_written_is_one_sentence_and_leaves_nothing(file, tmp_path, capsys):
    page = tmp_path / "page.pth"
    page.write_text("<html>")
    for arguments in (
        ["inspect", str(tmp_path / "absent.pth")],
        ["inspect", str(page)],
        ["convert", str(page), str(tmp_path / "out.pth")],
        ["convert", str(file), str(tmp_path / "absent" / "out.pth")],
        ["convert", "--prefix", "neck", str(file), str(tmp_path / "out.pth")],
    ):
        assert main(arguments) == 1
        assert capsys.readouterr().err.startswith("zooproxy: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pth", "page.pth"]


def test_neither_command_imports_torch(file):
    code = (
        "import sys; from zooproxy.cli import main; main(['inspect', sys.argv[1]]); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
