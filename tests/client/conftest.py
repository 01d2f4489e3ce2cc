"""A proxy in a thread: real HTTP, answers built by hand from torch tensors, and any misbehaviour on request."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch

from zooproxy.client.settings import ClientSettings, Timeouts
from zooproxy.digest import Sha256
from zooproxy.wire import routes
from zooproxy.wire.plain import TensorRef
from zooproxy.wire.problems import problem_type
from zooproxy.wire.tensors import Storage, Tensor, TensorIndex, tensor_index_to_json

Misbehaviour = Callable[["Handler"], None]


class Builder:
    """Writes the storages of a value's tensors into one blob, ties kept, and describes them."""

    def __init__(self, *, lead: int = 64, gap: int = 64) -> None:
        self.blob = bytearray(b"L" * lead)
        self._gap = gap
        self._storages: list[Storage] = []
        self._tensors: list[Tensor] = []
        self._seen: dict[int, int] = {}
        self._positions: dict[int, TensorRef] = {}

    def index(self, value: Any, kind: str = "state_dict") -> TensorIndex:
        tree = self._walk(value, "")
        return TensorIndex(
            blob=Sha256.of(self.blob),
            size=len(self.blob),
            container="torch-zip",
            kind=kind,
            byteorder="little",
            storages=tuple(self._storages),
            tensors=tuple(self._tensors),
            tree=tree,
            dropped=(),
        )

    def _walk(self, value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            return self._positions.get(id(value)) or self._add(value, name)
        if isinstance(value, dict):
            walked = type(value)((key, self._walk(item, f"{name}.{key}")) for key, item in value.items())
            if hasattr(value, "_metadata"):
                walked._metadata = value._metadata
            return walked
        if isinstance(value, (list, tuple)):
            return type(value)(self._walk(item, name) for item in value)
        return value

    def _add(self, tensor: torch.Tensor, name: str) -> TensorRef:
        storage = tensor.untyped_storage()
        key = storage.data_ptr() or id(tensor)
        if key not in self._seen:
            self._seen[key] = len(self._storages)
            octets = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
            self._storages.append(self._write(octets.tobytes()))
        described = (name, str(tensor.dtype)[6:], self._seen[key], tensor.storage_offset())
        self._tensors.append(Tensor(*described, tuple(tensor.shape), tuple(tensor.stride())))
        self._positions[id(tensor)] = ref = TensorRef(len(self._tensors) - 1)
        return ref

    def _write(self, data: bytes) -> Storage:
        start = len(self.blob)
        self.blob += data + b"G" * self._gap
        return Storage(start, len(data), None, Sha256.of(data))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FakeProxy

    def setup(self) -> None:
        super().setup()
        self.proxy.connections += 1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.proxy.requests.append((self.path, dict(self.headers)))
        queue = self.proxy.misbehaviours[url.path.split("/")[2]]
        if queue:
            queue.popleft()(self)
        elif url.path == routes.CHECKPOINT:
            self.checkpoint(parse_qs(url.query))
        elif url.path == routes.RESOLVE:
            told = self.proxy.resolved.get(parse_qs(url.query)["ref"][0])
            self.reply(200, json.dumps({"sha256": told}).encode(), {"Content-Type": "application/json"})
        elif url.path == routes.TENSORS:
            self.tensors({name: values[0] for name, values in parse_qs(url.query).items()})
        else:
            self.blob(url.path.rsplit("/", 1)[1])

    def tensors(self, query: dict[str, str]) -> None:
        found = self.proxy.indexes.get((query["ref"], query.get("prefix")))
        if found is None:
            self.problem(
                404, "unknown-name", f"no model is named {query['ref']}", suggestions=["torchvision://resnet50"]
            )
            return
        body, texts = found
        if self.proxy.digests_are_late and "digests" not in query:
            body = {**body, "storages": [[offset, size, None, None] for offset, size, _, _ in body["storages"]]}
        headers = {"Content-Type": "application/json"}
        if texts:
            headers[routes.WARNING_HEADER] = routes.format_warnings(texts)
        self.reply(200, json.dumps(body).encode(), headers)

    def blob(self, sha256: str) -> None:
        data = self.proxy.blobs[sha256]
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        part = data[first : last + 1]
        self.reply(206, part, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"})

    def checkpoint(self, query: dict[str, list[str]]) -> None:
        """A file from where the range begins, if it is of the tag that the client knows."""
        data = self.proxy.files.get((query["ref"][0], query["variant"][0]))
        if data is None:
            self.problem(404, "unknown-name", f"no model is named {query['ref'][0]}")
            return
        digest = Sha256.of(data)
        headers = {"ETag": f'"{digest}"', "Repr-Digest": digest.repr_digest(), **self.proxy.file_headers}
        start = 0
        if self.headers.get("If-Range") == headers["ETag"]:
            start = int(self.headers["Range"][6:].rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.reply(206 if start else 200, data[start:], headers)

    def problem(self, status: int, slug: str, detail: str, **members: Any) -> None:
        body = {"type": problem_type(slug), "title": "No", "status": status, "detail": detail, **members}
        self.reply(status, json.dumps(body).encode(), {"Content-Type": routes.PROBLEM})

    def reply(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


class FakeProxy:
    """``requests`` are (path, headers); ``misbehaviours`` answer instead, once each, by the path's second segment.

    Where ``digests_are_late``, only who asks for digests gets them.
    """

    def __init__(self) -> None:
        self.base = ""
        self.connections = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.indexes: dict[tuple[str, str | None], tuple[Any, list[str]]] = {}
        self.blobs: dict[str, bytes] = {}
        self.misbehaviours: dict[str, deque[Misbehaviour]] = {
            name: deque() for name in ("tensors", "blobs", "checkpoint", "resolve")
        }
        self.resolved: dict[str, Any] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.file_headers: dict[str, str] = {}
        self.digests_are_late = False

    @property
    def paths(self) -> list[str]:
        return [path.split("?")[0].split("/")[2] for path, _ in self.requests]

    @property
    def ranges(self) -> list[str]:
        return [headers["Range"] for _, headers in self.requests if "Range" in headers]

    def publish(
        self, ref: str, value: Any, *, prefix: str | None = None, texts: list[str] | None = None, **layout: Any
    ) -> TensorIndex:
        builder = Builder(**layout)
        index = builder.index(value)
        self.serve(ref, tensor_index_to_json(index), prefix=prefix, texts=texts)
        self.blobs[index.blob] = bytes(builder.blob)
        return index

    def serve(self, ref: str, body: Any, *, prefix: str | None = None, texts: list[str] | None = None) -> None:
        self.indexes[ref, prefix] = (body, texts or [])


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are part of the tests: nothing is printed."""


@pytest.fixture
def start_proxy() -> Iterator[Callable[[], FakeProxy]]:
    servers: list[Server] = []

    def start() -> FakeProxy:
        proxy = FakeProxy()
        server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"proxy": proxy}))
        proxy.base = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return proxy

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def proxy(start_proxy: Callable[[], FakeProxy], monkeypatch: pytest.MonkeyPatch) -> FakeProxy:
    """The proxy that the environment names."""
    started = start_proxy()
    monkeypatch.setenv("ZOOPROXY", started.base)
    monkeypatch.delenv("ZOOPROXY_TOKEN", raising=False)
    return started


@pytest.fixture
def settings_for() -> Callable[..., ClientSettings]:
    def settings(*proxies: str | FakeProxy, read: float = 30.0) -> ClientSettings:
        bases = tuple(entry if isinstance(entry, str) else entry.base for entry in proxies)
        return ClientSettings(bases, None, Timeouts(connect=2.0, read=read))

    return settings


@pytest.fixture
def dead_proxy() -> str:
    """The URL of a port that nothing listens on."""
    server = Server(("127.0.0.1", 0), Handler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="session")
def mmengine_checkpoint() -> Any:
    """mmengine's own ``runner.checkpoint``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mmengine's imports warn of what they use
        import mmengine.runner.checkpoint as module
    return module


@pytest.fixture
def state_dict() -> OrderedDict[str, torch.Tensor]:
    weight = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    values = {"a.weight": weight, "a.bias": torch.ones(4), "b.steps": torch.tensor(7), "b.empty": torch.empty(0, 3)}
    made: OrderedDict[str, torch.Tensor] = OrderedDict(values)
    made._metadata = OrderedDict({"": {"version": 1}, "a": {"version": 2}})  # type: ignore[attr-defined]
    return made
