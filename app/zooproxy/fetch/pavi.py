"""pavi upstreams: SenseTime's model cloud, through its own package where that is installed.

Called as mmengine's ``load_from_pavi`` does. The package is not on PyPI and knows only how to download into a file: the
whole is there before its first byte is read.
"""

from __future__ import annotations

import asyncio
import importlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from zooproxy.errors import UnsupportedSource, UpstreamUnreachable
from zooproxy.fetch.sighting import Sighting
from zooproxy.fetch.upstream import Allows, Body, Continuation, Version

_SCHEME: Final = "pavi://"
_BLOCK: Final = 1 << 20


class PaviUpstream:
    @asynccontextmanager
    async def get(self, url: str, allows: Allows, rest: Continuation | None = None) -> AsyncIterator[Body]:  # noqa: ARG002
        """The model that ``url`` names, always from its start.

        Raises:
            UnsupportedSource: the package ``pavi`` is not installed.
            UpstreamUnreachable: it could not download the model.
        """
        modelcloud = await asyncio.to_thread(_modelcloud)
        with tempfile.TemporaryDirectory(prefix="zooproxy-pavi-") as directory:
            target = Path(directory) / "model"
            try:
                await asyncio.to_thread(_download, modelcloud, url.removeprefix(_SCHEME), target)
                length = target.stat().st_size
            except Exception as error:  # a foreign package, with whatever errors it has
                raise UpstreamUnreachable(f"pavi did not deliver the model: {type(error).__name__}", url=url) from error
            with target.open("rb") as file:
                yield Body(Version(url, length), 0, _blocks(file))

    async def look(self, url: str, allows: Allows, known: Sighting | None = None) -> Sighting:  # noqa: ARG002
        """
        Raises:
            UnsupportedSource: always; the package does nothing but download.
        """
        raise UnsupportedSource("pavi tells nothing of a model but its bytes")


def _modelcloud() -> Any:
    try:
        return importlib.import_module("pavi.modelcloud")
    except ImportError as error:
        raise UnsupportedSource(
            "pavi:// needs the package 'pavi' in the proxy's environment; it comes from SenseTime, not from PyPI"
        ) from error


def _download(modelcloud: Any, name: str, target: Path) -> None:
    modelcloud.get(name).download(str(target))


async def _blocks(file: Any) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(file.read, _BLOCK):
        yield block
