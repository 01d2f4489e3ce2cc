"""What was published to the proxy itself, as an upstream: it has no other copy, so it can only say so."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final

from zooproxy.errors import UnsupportedSource, UpstreamStatus
from zooproxy.fetch.sighting import Sighting
from zooproxy.fetch.upstream import Allows, Body, Continuation

_GONE: Final = 410


class PublishedFiles:
    """Asked only where the blob is not held: it was removed, or it rotted."""

    def get(
        self,
        url: str,
        allows: Allows,  # noqa: ARG002  # the interface's signature
        rest: Continuation | None = None,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[Body]:
        message = "this file was published here and is not held any more; publish it again: zooproxy publish"
        raise UpstreamStatus(message, url=url, status=_GONE)

    async def look(self, url: str, allows: Allows, known: Sighting | None = None) -> Sighting:  # noqa: ARG002
        """
        Raises:
            UnsupportedSource: always; there is nobody to ask.
        """
        raise UnsupportedSource("what is published to this proxy is nowhere else")
