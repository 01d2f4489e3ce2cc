"""Raw blobs sent by an nginx in front: the reply names the file (``X-Accel-Redirect``) and nginx sends its bytes.

Only where the request says that such an nginx passed it on: whoever asks the proxy itself gets the bytes themselves.
``docker/nginx.conf`` is nginx's side. Ranges are nginx's business there; conditions are answered here, since nginx
compares entity tags before it knows this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from zooproxy.formats.segments import BlobRange
from zooproxy.serving.ranges import NotModified, answer
from zooproxy.serving.replies import Representation, body_headers, common_headers

ASKING: Final = "zooproxy-accel"
"""Set by nginx to whatever it likes, and never passed through from its clients."""


class Acceleration:
    """``location`` is nginx's internal location over the store's ``blobs`` directory, slash at the end."""

    def __init__(self, location: str) -> None:
        self._location = location

    def reply(self, request: Request, what: Representation, extra: Mapping[str, str]) -> Response | None:
        """The reply that hands ``what`` over to nginx; None where it has to be sent from here."""
        path = what.blob.path
        if path is None or ASKING not in request.headers or what.segments != (BlobRange(0, what.blob.size),):
            return None
        if isinstance(answer(request.headers, what.length, what.etag), NotModified):
            return None
        file = f"{self._location}{path.parent.name}/{path.name}"
        headers = {**common_headers(request, what), **extra, **body_headers(what), "X-Accel-Redirect": file}
        del headers["Accept-Ranges"]  # nginx passes it on beside its own
        return Response(headers=headers, media_type=what.media_type)
