"""Numbers of the other byte order, turned where they lie: as torch reads the same file."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
import torch

from formats.checkpoint_files import index_of, repacked
from zooproxy.client.byte_order import in_native_order
from zooproxy.client.published import Published
from zooproxy.client.storages import Buffer
from zooproxy.digest import Sha256
from zooproxy.errors import UnsupportedFormat
from zooproxy.formats.forms import Form


def big_endian(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return repacked(file.getvalue(), byteorder=b"big")


def published(data: bytes) -> Published:
    buffer = Buffer(len(data))
    buffer.view[:] = data
    return Published(buffer, Sha256.of(data))


def test_every_width_is_turned_and_what_is_shared_is_turned_once() -> None:
    base = torch.arange(12, dtype=torch.int32)
    value = {
        "bytes": torch.arange(5, dtype=torch.int8),
        "halves": torch.arange(5).bfloat16(),
        "base": base,
        "turned": base.view(3, 4).t(),
        "longs": torch.arange(3),
        "complex": torch.complex(torch.arange(2.0), torch.ones(2)),
        "none": torch.empty(0, 2),
    }
    data = big_endian(value)
    expected = torch.load(io.BytesIO(data), weights_only=True)
    loaded = published(data).value("https://h.example/x.pth", Form(), "cpu")
    assert list(loaded) == list(value)
    for name, tensor in expected.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].stride() == tensor.stride()


def test_one_storage_of_two_widths_is_refused() -> None:
    index = index_of(big_endian({"longs": torch.arange(4)}))
    words = dataclasses.replace(index.tensors[0], name="words", dtype="int32")
    with pytest.raises(UnsupportedFormat, match="two widths"):
        in_native_order(dataclasses.replace(index, tensors=(*index.tensors, words)), memoryview(b""))


def test_what_is_in_order_is_left_alone() -> None:
    file = io.BytesIO()
    torch.save({"w": torch.arange(3)}, file)
    index = index_of(file.getvalue())
    assert in_native_order(index, memoryview(b"")) is index
