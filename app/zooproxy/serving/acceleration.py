"""Raw blobs sent by an nginx in front: the reply names the file (``X-Accel-Redirect``) and nginx sends its bytes.

nginx opens the file some time after the reply, at once as a rule. Until then nothing of it shows that the blob is in
use, so the proxy goes on marking it as being read for ``KEPT_SECONDS``: nobody evicts it before nginx has it open, and
what is open stays readable. An nginx that takes longer than that answers 404, as after a removal by force.

Only where the request says that such an nginx passed it on: whoever asks the proxy itself gets the bytes themselves.
``docker/nginx.conf`` is nginx's side. Ranges are nginx's business there; conditions are answered here, since nginx
compares entity tags before it knows this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import BinaryIO, Final

from starlette.requests import Request
from starlette.responses import Response

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.claims import mark_read
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent
from zooproxy.formats.segments import BlobRange
from zooproxy.serving.ranges import NotModified, answer
from zooproxy.serving.replies import Representation, body_headers, common_headers

ASKING: Final = "zooproxy-accel"
"""Set by nginx to whatever it likes, and never passed through from its clients."""

KEPT_SECONDS: Final = 30.0

_MOST_KEPT: Final = 256  # blobs, each with a descriptor; what is asked for beyond that is sent from here


class Acceleration:
    """``location`` is nginx's internal location over the store's ``blobs`` directory, slash at the end.

    ``seconds``: for how long a blob that was handed over is kept from being removed.
    """

    def __init__(self, location: str, seconds: float = KEPT_SECONDS) -> None:
        self._location = location
        self._seconds = seconds
        self._kept: dict[Sha256, tuple[BinaryIO, asyncio.TimerHandle]] = {}

    def reply(self, request: Request, what: Representation, extra: Mapping[str, str]) -> Response | None:
        """The reply that hands ``what`` over to nginx; None where it has to be sent from here."""
        path = what.blob.path
        if path is None or ASKING not in request.headers or what.segments != (BlobRange(0, what.blob.size),):
            return None
        if isinstance(answer(request.headers, what.length, what.etag), NotModified) or not self._keep(what.blob):
            return None
        file = f"{self._location}{path.parent.name}/{path.name}"
        headers = {**common_headers(request, what), **extra, **body_headers(what), "X-Accel-Redirect": file}
        del headers["Accept-Ranges"]  # nginx passes it on beside its own
        return Response(headers=headers, media_type=what.media_type)

    def _keep(self, blob: HeldBlob) -> bool:
        """Whether nobody removes the blob from now on, for long enough."""
        if blob.digest in self._kept:
            file, ending = self._kept.pop(blob.digest)
            ending.cancel()
        elif len(self._kept) < _MOST_KEPT:
            try:
                file = blob.file()
            except BlobAbsent:
                return False
            if not mark_read(file):  # it is just being removed
                file.close()
                return False
        else:
            return False
        self._kept[blob.digest] = file, asyncio.get_running_loop().call_later(self._seconds, self._let_go, blob.digest)
        return True

    def close(self) -> None:
        """Nothing is kept any more."""
        for digest in list(self._kept):
            self._kept[digest][1].cancel()
            self._let_go(digest)

    def _let_go(self, digest: Sha256) -> None:
        self._kept.pop(digest)[0].close()
