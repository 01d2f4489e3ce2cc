"""The bytes of an upload as they come: what ends it before its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fakes.memory_blobs import MemoryBlobStore
from zooproxy.cache.space import SPARE, Space
from zooproxy.digest import Sha256
from zooproxy.errors import UploadError
from zooproxy.names.published import PublishedFile, PublishedName
from zooproxy.provide.publishing import Publication, Publishing
from zooproxy.serving.routes import publishing


class Silent:
    """A request whose client sends something, and then nothing."""

    async def stream(self) -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.Event().wait()


async def test_an_upload_of_which_nothing_arrives_for_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "STALL_SECONDS", 0.05)
    blocks = publishing._blocks(cast("Any", Silent()))
    assert await anext(blocks) == b"some"
    with pytest.raises(UploadError, match="nothing arrived for"):
        await anext(blocks)


async def test_more_bytes_than_announced_are_not_taken() -> None:
    space = Space(lambda: 1 << 40)
    keeping = cast(
        "Any", SimpleNamespace(shelf=SimpleNamespace(store=MemoryBlobStore()), stock=SimpleNamespace(space=space))
    )
    wanted = Publication(PublishedName("site", "team/model"), PublishedFile(Sha256.of(b"abc"), "x.pth"), 3)

    async def blocks() -> AsyncIterator[bytes]:
        yield b"abcd"

    with pytest.raises(UploadError, match="more than the announced 3 bytes"):
        await Publishing(keeping, cast("Any", None), cast("Any", None))._keep(wanted, blocks())
    assert space.free() == (1 << 40) - SPARE  # the room is free again
