"""Paths, header names and media types of version 1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote

DEFAULT_PORT: Final = 8765

API: Final = "/v1"  # begins every path of this version
ZOOS: Final = "/v1/zoos"
ZOO_MAP: Final = "/v1/zoos/{zoo}/map"
ZOO_ALIASES: Final = "/v1/zoos/{zoo}/aliases"
ZOO_MODELS: Final = "/v1/zoos/{zoo}/models"
ZOO_MODEL: Final = "/v1/zoos/{zoo}/models/{name:path}"
#: PUT: a file of the site's own, published under that name; GET: whether it could be; DELETE: withdrawn.
ZOO_FILE: Final = "/v1/zoos/{zoo}/files/{name:path}"
MODELS: Final = "/v1/models"
RESOLVE: Final = "/v1/resolve"
CHECKPOINT: Final = "/v1/checkpoint"
TENSORS: Final = "/v1/tensors"
BLOB: Final = "/v1/blobs/{sha256}"
MIRROR: Final = "/mirror/{host}/{path:path}"
FILLS: Final = "/v1/fills"
FILL: Final = "/v1/fills/{id}"
ACCEPTED: Final = "/v1/cache/accepted"
CACHE: Final = "/v1/cache"
CACHE_BLOBS: Final = "/v1/cache/blobs"
CACHE_BLOB: Final = "/v1/cache/blobs/{sha256}"
CACHE_PINS: Final = "/v1/cache/pins"
CACHE_GC: Final = "/v1/cache/gc"
AUDIT: Final = "/v1/audit"
WATCH: Final = "/v1/watch"
EVENTS: Final = "/v1/events"
HEALTH: Final = "/healthz"
READY: Final = "/readyz"

WARNING_HEADER: Final = "Zooproxy-Warning"
STATE_HEADER: Final = "Zooproxy-State"

OCTETS: Final = "application/octet-stream"
EVENT_STREAM: Final = "text/event-stream"
PROBLEM: Final = "application/problem+json"

RAW: Final = "raw"
FULL: Final = "full"
MODEL: Final = "model"
VARIANTS: Final = (RAW, FULL, MODEL)

SAFETENSORS: Final = "safetensors"
PTH: Final = "pth"
FORMATS: Final = (SAFETENSORS, PTH)

#: ``digests=wait``: a tensor index with every digest, which the proxy may still be computing.
DIGESTS: Final = "digests"
WAIT: Final = "wait"

#: ``Prefer: respond-async`` (RFC 7240, section 4.1), of a tensor index: 202 at once where the file is not held yet.
PREFER: Final = "Prefer"
AT_ONCE: Final = "respond-async"

#: What ``dtype=`` says, and the dtype that floating tensors then have.
DTYPES: Final[Mapping[str, str]] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def format_warnings(warnings: Sequence[str]) -> str:
    """Warnings as one header value: percent-encoded in quotes, separated by a comma and a space.

    Percent-encoding keeps the field within visible ASCII whatever a name holds; ``parse_warnings`` undoes it.
    """
    return ", ".join(f'"{quote(text, safe=_READABLE)}"' for text in warnings)


def parse_warnings(value: str) -> list[str]:
    """The warnings that ``format_warnings`` wrote; text that it cannot have written is left out."""
    return [unquote(quoted) for quoted in re.findall(r'"([^"]*)"', value)]


_READABLE = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"
