"""Where the bytes of tensors lie."""

from __future__ import annotations

from pathlib import Path

import torch

from zooproxy.client.storages import Buffer


def test_fresh_memory_is_as_long_as_asked_and_writable() -> None:
    buffer = Buffer(5)
    buffer.view[:] = b"abcde"
    assert bytes(buffer.cut(1, 3, 1).tolist()) == b"bcd"
    assert len(Buffer(0).view) == 0


def test_fresh_memory_is_private_for_shared_memory_has_no_huge_pages() -> None:
    storage = Buffer(4 << 20).cut(0, 1, 1)
    address = torch.empty(0, dtype=torch.uint8).set_(storage).data_ptr()
    maps = (line.split() for line in Path("/proc/self/maps").read_text().splitlines())
    ranges = ((*(int(end, 16) for end in area.split("-")), rights) for area, rights, *_ in maps)
    assert [rights for start, stop, rights in ranges if start <= address < stop] == ["rw-p"]
