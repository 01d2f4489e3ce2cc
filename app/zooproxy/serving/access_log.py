"""uvicorn's access log without credentials: a reference may be a presigned URL."""

from __future__ import annotations

import logging
from typing import Final

from zooproxy.masking import masked

LOGGER: Final = "uvicorn.access"
_PATH = 2  # of (client, method, path with query, version, status)


class WithoutCredentials(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args
        if isinstance(arguments, tuple) and len(arguments) > _PATH:
            shown = masked(str(arguments[_PATH]))
            record.args = (*arguments[:_PATH], shown, *arguments[_PATH + 1 :])
        return True
