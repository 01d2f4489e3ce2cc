"""Files below the site's own folder, as an upstream."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

from zooproxy.errors import UpstreamUnreachable
from zooproxy.fetch.sighting import Sighting
from zooproxy.fetch.upstream import Allows, Body, Continuation, Version
from zooproxy.names.local_files import contained, local_file

_BLOCK: Final = 1 << 20


class LocalFiles:
    """Reads ``root``; a symbolic link that leads out of it is not followed. Always from the start: it is near."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @asynccontextmanager
    async def get(self, url: str, allows: Allows, rest: Continuation | None = None) -> AsyncIterator[Body]:  # noqa: ARG002
        file = await asyncio.to_thread(self._opened, url)
        try:
            length = file.seek(0, 2)
            file.seek(0)
            yield Body(Version(url, length), 0, _blocks(file))
        finally:
            file.close()

    async def look(self, url: str, allows: Allows, known: Sighting | None = None) -> Sighting:  # noqa: ARG002
        """Its length, and its time of change in place of an entity tag."""
        file = await asyncio.to_thread(self._opened, url)
        with file:
            status = os.fstat(file.fileno())
        return Sighting(url, status.st_size, f'"{status.st_mtime_ns}"')

    def _opened(self, url: str) -> BinaryIO:
        named = local_file(url)
        checked = None if named is None else contained(str(named.path))
        if checked is None:
            raise UpstreamUnreachable("the name leads out of the site's folder of files", url=url)
        path = self._root / checked.path
        try:
            if not path.resolve(strict=True).is_relative_to(self._root.resolve()) or not path.is_file():
                raise UpstreamUnreachable(f"{checked.path} is no file in the site's folder", url=url)
            return path.open("rb")
        except OSError as error:
            raise UpstreamUnreachable(f"{checked.path} cannot be read in the site's folder", url=url) from error


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(file.read, _BLOCK):
        yield block
