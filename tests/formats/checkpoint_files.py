"""Checkpoints for tests: written by torch, or put together by hand, read with our reader, compared with torch's."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from zooproxy.client.assembly import tensors_of, tree_from_json, tree_with_tensors
from zooproxy.client.plan import plan_of
from zooproxy.client.storages import Buffer
from zooproxy.digest import Sha256
from zooproxy.formats.reader import read_tensor_index, with_digests
from zooproxy.formats.segments import Literal, Rendition
from zooproxy.wire import plain
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.tensors import DTYPE_SIZES, TensorIndex

STOP = b"."


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def index_of(data: bytes) -> TensorIndex:
    return read_tensor_index(io.BytesIO(data), len(data), Sha256.of(data))


def digested(data: bytes) -> TensorIndex:
    return with_digests(index_of(data), io.BytesIO(data))


def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)


def rendered(rendition: Rendition, data: bytes) -> bytes:
    """The bytes that a rendition of the blob ``data`` stands for."""
    return b"".join(
        piece.data if isinstance(piece, Literal) else data[piece.offset : piece.offset + piece.length]
        for piece in rendition.segments
    )


def as_client(index: TensorIndex, data: bytes) -> tuple[Any, Any]:
    """What our client makes of the index's JSON, and of the index itself."""
    plan = plan_of(index)
    buffer = Buffer(plan.size)
    for span in plan.spans:
        buffer.view[span.at : span.at + span.size] = data[span.start : span.stop]
    tensors = tensors_of(index, plan, buffer, "cpu")
    return tree_from_json(plain.to_json(index.tree), tensors), tree_with_tensors(index.tree, tensors)


def rebuilt(index: TensorIndex, data: bytes) -> Any:
    """The index's tree with torch tensors in it, ties kept: what a client makes of it."""
    storages = []
    for storage in index.storages:
        raw = torch.UntypedStorage(storage.size)
        if storage.size:
            block = bytearray(data[storage.offset : storage.offset + storage.size])
            raw.copy_(torch.frombuffer(block, dtype=torch.uint8).untyped_storage())
        storages.append(raw)
    tensors = [
        torch.empty(0, dtype=getattr(torch, row.dtype)).set_(storages[row.storage], row.offset, row.shape, row.stride)
        for row in index.tensors
    ]
    return _planted(index.tree, tensors)


def _planted(value: Any, tensors: list[torch.Tensor]) -> Any:
    if isinstance(value, TensorRef):
        return tensors[value.position]
    if isinstance(value, dict):
        planted = type(value)((key, _planted(item, tensors)) for key, item in value.items())
        if hasattr(value, "_metadata"):
            planted._metadata = _planted(value._metadata, tensors)
        return planted
    if isinstance(value, (list, tuple)):
        return type(value)([_planted(item, tensors) for item in value])
    return value


def assert_same(ours: Any, theirs: Any, path: str = "root") -> None:
    """Bit for bit, dtype, shape, stride, order and ``_metadata`` included; an inert leaf stands for anything."""
    if isinstance(ours, Inert):
        return
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, torch.Tensor), path
        assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride()), path
        assert bits(ours) == bits(theirs.detach()), path
    elif isinstance(theirs, Mapping):
        assert isinstance(ours, dict), path
        assert list(ours) == list(theirs), path
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{path}.{key}")
        if hasattr(theirs, "_metadata"):
            assert_same(ours._metadata, theirs._metadata, f"{path}._metadata")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), path
        for at, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(mine, other, f"{path}.{at}")
    else:
        assert ours == theirs or (ours != ours and theirs != theirs), path


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


# -- by torch -----------------------------------------------------------------------------------------------


def patterned(dtype: str, count: int = 24) -> torch.Tensor:
    raw = torch.arange(count * DTYPE_SIZES[dtype], dtype=torch.int64).remainder(2 if dtype == "bool" else 120)
    return raw.to(torch.uint8).view(getattr(torch, dtype))


def layouts() -> dict[str, object]:
    base = torch.arange(60.0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return {
        "views at offsets": {"a": base[3:9], "b": base[9:].reshape(3, 17)},
        "ties": {"a": base, "b": base, "c": base.view(6, 10), "other": base.clone()},
        "slices with steps": {"a": base[::7], "b": base.reshape(6, 10)[:, 2:5]},
        "transposed": {"a": base.reshape(6, 10).t(), "b": base.reshape(3, 4, 5).permute(2, 0, 1)},
        "channels last": {"a": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)},
        "expanded": {"a": torch.tensor([1.0]).expand(4, 5)},
        "empty": {"a": torch.empty(0), "b": torch.empty(3, 0, 2), "c": base},
        "scalars": {"a": torch.tensor(3.5), "b": torch.tensor(7)},
        "parameters and buffers": {"p": torch.nn.Parameter(base), "b": torch.nn.Buffer(base.clone())},
        "state dict with _metadata": module.state_dict(),
        "wrapped": {"meta": {"epoch": 3, "CLASSES": ("a", "b")}, "state_dict": module.state_dict()},
        "nested": {"a": [torch.ones(2), {"b": (torch.zeros(1), None)}], "n": {1: torch.ones(1)}},
        "atoms": {"i": -(2**70), "f": 1e300, "n": None, "t": (True, False), "s": "ü", "b": b"\x00\xff", "w": base},
        "a bare tensor": base,
        "a list": [base, base[:3]],
    }


# -- by hand ----------------------------------------------------------------------------------------------


def packed(records: Iterable[tuple[str, bytes]], *, method: int = zipfile.ZIP_STORED, zip64: bool = False) -> bytes:
    """A zip of these records in this order, written by Python's zipfile."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in records:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=zip64) as record:
                record.write(data)
    return file.getvalue()


def repacked(data: bytes, *, method: int = zipfile.ZIP_STORED, **replaced: bytes | None) -> bytes:
    """The archive's records written anew by zipfile; a record named ``replaced`` gets other bytes, or goes (None)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    for name, other in replaced.items():
        found = f"archive/{name.replace('__', '.').replace('_slash_', '/')}"
        if other is None:
            del records[found]
        else:
            records[found] = other
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in records.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
    return file.getvalue()


def checkpoint(pickle: bytes, storages: Mapping[str, bytes] | None = None) -> bytes:
    """A torch zip whose data.pkl is ``pickle``."""
    records = [("archive/data.pkl", pickle)]
    records += [(f"archive/data/{key}", data) for key, data in (storages or {"0": bytes(64)}).items()]
    return packed(records)


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(dotted: str) -> bytes:
    """GLOBAL."""
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return (b"\x8a" + bytes([len(raw)]) if len(raw) < 256 else b"\x8b" + struct.pack("<i", len(raw))) + raw


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def storage(key: str = "0", count: int = 16, kind: str = "torch.FloatStorage") -> bytes:
    return tuple_of(text("storage"), name(kind), text(key), text("cpu"), integer(count)) + b"Q"


def tensor(
    shape: tuple[int, ...] = (2,),
    stride: tuple[int, ...] = (1,),
    offset: int = 0,
    stored: bytes | None = None,
    rest: bytes = b"",
) -> bytes:
    """A call of ``_rebuild_tensor_v2``; ``rest`` comes after its six arguments."""
    sizes = tuple_of(*map(integer, shape)) + tuple_of(*map(integer, stride))
    arguments = (stored if stored is not None else storage()) + integer(offset) + sizes + b"\x89N" + rest
    return name("torch._utils._rebuild_tensor_v2") + tuple_of(arguments) + b"R"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"
