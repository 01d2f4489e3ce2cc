"""Numbers of a machine of the other byte order, turned where they lie."""

from __future__ import annotations

import sys
from dataclasses import replace

from zooproxy.client.storages import byte_tensor
from zooproxy.errors import UnsupportedFormat
from zooproxy.wire.tensors import DTYPE_SIZES, TensorIndex


def in_native_order(index: TensorIndex, memory: memoryview) -> TensorIndex:
    """``index`` with its numbers in this machine's order: turned in place in ``memory``, its blob.

    Raises:
        UnsupportedFormat: a storage is viewed as numbers of two widths, of which only one could be right.
    """
    if index.byteorder == sys.byteorder:
        return index
    widths: dict[int, int] = {}
    for tensor in index.tensors:
        # A complex number is two numbers.
        width = DTYPE_SIZES[tensor.dtype] // (2 if tensor.dtype.startswith("complex") else 1)
        if widths.setdefault(tensor.storage, width) != width:
            raise UnsupportedFormat(
                "the checkpoint's byte order is not this machine's, and it views one storage as numbers of two widths"
            )
    for number, width in widths.items():
        storage = index.storages[number]
        _turn(memory[storage.offset : storage.offset + storage.size], width)
    return replace(index, byteorder=sys.byteorder)


def _turn(memory: memoryview, width: int) -> None:
    whole = len(memory) - len(memory) % width
    if width > 1 and whole:
        numbers = byte_tensor(memory[:whole]).view(-1, width)
        numbers.copy_(numbers.flip(1))
