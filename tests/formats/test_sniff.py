"""The structure check of a fill: every container is told, and every usual impostor is refused with its name."""

from __future__ import annotations

import io
import json
import pathlib
import pickle
import tarfile
import zipfile

import numpy
import pytest
import safetensors.torch
import torch

from formats.checkpoint_files import checkpoint, mapping, packed, repacked, saved, tensor
from zooproxy.errors import NotACheckpoint
from zooproxy.formats.sniff import Container, sniff

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "data" / "checkpoints"


def container(data: bytes) -> Container:
    return sniff(io.BytesIO(data), len(data))


def legacy(**options: object) -> bytes:
    return saved({"a": torch.arange(1000)}, _use_new_zipfile_serialization=False, **options)


def tar_of(*names: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def numpy_zip() -> bytes:
    file = io.BytesIO()
    numpy.savez(file, a=numpy.arange(3), b=numpy.ones(2))
    return file.getvalue()


def script() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), file)
    return file.getvalue()


def whole_files() -> dict[str, tuple[bytes, Container]]:
    tensors = safetensors.torch.save({"a": torch.arange(4), "b": torch.ones(2)}, {"format": "pt"})
    return {
        "torch zip": (saved({"a": torch.ones(3)}), Container.TORCH_ZIP),
        "torch 1.6": ((CHECKPOINTS / "mmcv_model.pth").read_bytes(), Container.TORCH_ZIP),
        "repacked": (repacked(saved({"a": torch.ones(3)})), Container.TORCH_ZIP),
        "by hand": (checkpoint(mapping(w=tensor()) + b"."), Container.TORCH_ZIP),
        "legacy of lpips": ((CHECKPOINTS / "lpips_v0.1_alex.pth").read_bytes(), Container.TORCH_LEGACY),
        "legacy": (legacy(), Container.TORCH_LEGACY),
        "legacy, protocol 4": (legacy(pickle_protocol=4), Container.TORCH_LEGACY),
        "tar": (tar_of("sys_info", "pickle", "storages", "tensors"), Container.TORCH_TAR),
        "tar with a dot": (tar_of("./pickle", "./storages"), Container.TORCH_TAR),
        "safetensors": (tensors, Container.SAFETENSORS),
        "safetensors without tensors": (safetensors.torch.save({}), Container.SAFETENSORS),
        "bare pickle": (pickle.dumps({"model": numpy.arange(3)}), Container.PICKLE),
        "npz": (numpy_zip(), Container.NUMPY_ZIP),
        "zip around a file": (packed([("x.pth", saved({"a": torch.ones(1)}))]), Container.ZIPPED),
        "package": (packed([("p/.data/extern_modules", b""), ("p/a.py", b"")]), Container.TORCH_PACKAGE),
        "old exported program": (
            packed([("serialized_exported_program.json", b""), ("version", b"")]),
            Container.PT2,
        ),
    }


@pytest.mark.parametrize("case", whole_files())
def test_a_whole_file_is_told_by_its_container(case):
    data, expected = whole_files()[case]
    assert container(data) is expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_archives_of_code_are_told():
    assert container(script()) is Container.TORCHSCRIPT
    assert container(exported()) is Container.PT2


def test_every_container_has_words():
    assert all(kind.words for kind in Container)


IMPOSTORS = {
    "empty": (b"", "empty"),
    "html": (b"\n<!DOCTYPE HTML><html>", "HTML"),
    "html without a doctype": (b"\xef\xbb\xbf<html><body>not found", "HTML"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "markup": (b"<center>502 Bad Gateway</center>", "markup"),
    "json": (b'{"message": "rate limit"}', "JSON"),
    "json array": (b' [{"message": "rate limit"}]', "JSON"),
    "text": (b"404: Not Found", "plain text"),
    "long text cut inside a character": (b"a" + "ü".encode() * 3000, "plain text"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
    "gzip": (b"\x1f\x8b\x08\x00rest of it", "gzip"),
    "xz": (b"\xfd7zXZ\x00\x00", "xz"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "zeros": (bytes(10_000), "no checkpoint"),
    "noise": (bytes(range(128, 256)) * 10, "no checkpoint"),
    "one byte": (b"\x80", "no checkpoint"),
    "another tar": (tar_of("model.py", "weights.pth"), "tar archive"),
    "another zip": (packed([("a.txt", b"a"), ("b.txt", b"b")]), "zip archive"),
    "zip without entries": (packed([]), "zip archive"),
}


@pytest.mark.parametrize("case", IMPOSTORS)
def test_an_impostor_is_refused_by_its_name(case):
    data, words = IMPOSTORS[case]
    with pytest.raises(NotACheckpoint, match=words):
        container(data)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("case", ["torch zip", "torch 1.6", "safetensors", "npz"])
def test_a_file_cut_short_is_refused(case, share):
    data, _ = whole_files()[case]
    with pytest.raises(NotACheckpoint):
        container(data[: int(len(data) * share)])


def test_a_bare_pickle_cut_short_is_refused():
    with pytest.raises(NotACheckpoint, match="cut short"):
        container(pickle.dumps({"model": numpy.arange(300)})[:-5])


def test_a_legacy_file_that_stops_in_its_magic_number_is_refused():
    with pytest.raises(NotACheckpoint, match="cut short"):
        container(legacy()[:10])


@pytest.mark.parametrize("length", [15, 20, 25, 60])
def test_a_legacy_file_that_stops_in_its_header_is_refused(length):
    with pytest.raises(NotACheckpoint, match="stops in its header"):
        container(legacy()[:length])


def test_a_legacy_file_of_another_version_is_refused():
    data = legacy()
    with pytest.raises(NotACheckpoint, match="version"):
        container(data.replace(b"M\xe9\x03.", b"M\xea\x03.", 1))


def with_header(header: object, data: bytes = bytes(8)) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


@pytest.mark.parametrize(
    "header",
    [
        b"{not json",
        b"{" * 100_000,
        b"{\xff}",
        {"a": 3},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, "8"]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
    ],
)
def test_a_safetensors_header_that_lies_is_refused(header):
    with pytest.raises(NotACheckpoint, match="safetensors header"):
        container(with_header(header))


def test_a_safetensors_header_past_the_end_is_refused():
    with pytest.raises(NotACheckpoint, match="past the end"):
        container((10_000).to_bytes(8, "little") + b"{}")


def test_a_safetensors_header_of_many_megabytes_is_not_read():
    with pytest.raises(NotACheckpoint, match="more than is read"):
        container((90_000_000).to_bytes(8, "little") + b"{}")


def test_a_file_shorter_than_its_size_is_refused():
    with pytest.raises(NotACheckpoint, match="ends early"):
        sniff(io.BytesIO(b"PK\x03\x04"), 1000)


def test_a_large_file_is_judged_by_its_ends(tmp_path):
    path = tmp_path / "large.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"}.")
        with archive.open("archive/data/0", "w", force_zip64=True) as record:
            for _ in range(32):
                record.write(bytes(2**20))

    class Watched(io.FileIO):
        bytes_read = 0

        def read(self, size=-1):
            found = super().read(size)
            self.bytes_read += len(found)
            return found

    with Watched(path) as file:
        assert sniff(file, path.stat().st_size) is Container.TORCH_ZIP
        assert file.bytes_read < 100_000
