"""The first byte of a variant: of a blob that was just filled, and of one that was asked for before, against raw's."""

from __future__ import annotations

import hashlib
import http.client
import json
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

from benchmarks.components import Server, running_nginx, running_proxy
from benchmarks.figures import Figure

REF = "https://download.pytorch.org/models/net.pth"
_FORMS = ("&format=safetensors", "&format=pth", "&format=safetensors&prefix=layer1.")
#: What a variant's first byte may take longer than raw's.
_MILLISECONDS = 2.0


def run(smoke: bool) -> list[Figure]:
    tensors, size, rounds = (160, 4 << 20, 3) if smoke else (2000, 2 << 30, 50)
    what = f"{size >> 20:,} MiB, {tensors:,} tensors"
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "www" / "models").mkdir(parents=True)
        _write_checkpoint(root / "www" / "models" / "net.pth", tensors, size)
        with running_nginx(root / "www", root) as nginx:
            mirrors = json.dumps({"download.pytorch.org": [nginx.url, "off"]})
            with running_proxy(root / "data", mirrors=mirrors) as proxy:
                _first_byte(proxy, _path("raw"), to_the_end=True)
                return [_cold(proxy, root, what), *_warm(proxy, rounds, what)]


def _write_checkpoint(path: Path, tensors: int, size: int) -> None:
    import torch

    part = size // tensors // 4
    torch.save({f"layer{at // 4}.block.{at % 4}.weight": torch.rand(part) for at in range(tensors)}, path)


def _path(variant: str, rest: str = "") -> str:
    return f"/v1/checkpoint?ref={quote(REF)}&variant={variant}{rest}"


def _cold(proxy: Server, root: Path, what: str) -> Figure:
    first = _first_byte(proxy, _path("model"))
    start = time.perf_counter()
    with (root / "www" / "models" / "net.pth").open("rb") as file:
        hashlib.file_digest(file, "sha256")
    summed = (time.perf_counter() - start) * 1e3
    return Figure(f"first byte of model after a fill, {what}: sha256 of it all", first, summed, "ms", "less than 1")


def _warm(proxy: Server, rounds: int, what: str) -> list[Figure]:
    for form in _FORMS:
        _first_byte(proxy, _path("model", form))
    taken: dict[str, list[float]] = {path: [] for path in (_path("raw"), *(_path("model", form) for form in _FORMS))}
    for _ in range(rounds):
        for path, times in taken.items():
            times.append(_first_byte(proxy, path))
    raw, *variants = (min(times) for times in taken.values())
    return [
        Figure(f"first byte of model{form}, {what}: raw's and 2 ms", variant, raw + _MILLISECONDS, "ms", "<= 1")
        for form, variant in zip(_FORMS, variants, strict=True)
    ]


def _first_byte(proxy: Server, path: str, *, to_the_end: bool = False) -> float:
    """Milliseconds from the request to the first byte of the body, on a connection that is open."""
    address = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
    try:
        connection.connect()
        start = time.perf_counter()
        connection.request("GET", path)
        with connection.getresponse() as response:
            response.read(1)
            taken = (time.perf_counter() - start) * 1e3
            while to_the_end and response.read(1 << 20):
                pass
            return taken
    finally:
        connection.close()
