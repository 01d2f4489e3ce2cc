"""docker/nginx.conf before a real proxy: raw files leave from nginx, with the headers and conditions of the proxy's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import zooproxy
from components.nginx import free_port, running_nginx
from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import running_upstream

REF = "https://download.pytorch.org/net.pth"
CONFIGURATION = Path(__file__).parents[2] / "docker" / "nginx.conf"


def adapted(port: int, proxy: str, data_dir: Path) -> str:
    text = CONFIGURATION.read_text()
    for shipped, here in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("http://127.0.0.1:8765", proxy),
        ("/var/lib/zooproxy/blobs/", f"{data_dir}/blobs/"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    return text


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, large_checkpoint: bytes) -> Iterator[tuple[str, ProxyProcess]]:
    """nginx's URL, and the proxy behind it, which holds ``REF``."""
    data_dir, directory = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("nginx")
    with running_upstream() as upstream:
        upstream.put("/download.pytorch.org/net.pth", large_checkpoint)
        settings = {"mirrors": played_by(upstream), "accel_redirect": "/zooproxy-blobs/"}
        with running_proxy(data_dir, **settings) as proxy:
            assert proxy.get("/v1/checkpoint", REF, variant="raw").content == large_checkpoint
            port = free_port()
            with running_nginx(directory, adapted(port, proxy.url, data_dir)):
                yield f"http://127.0.0.1:{port}", proxy


def ask(
    url: str, path: str, headers: dict[str, str] | None = None, method: str = "GET", **query: str
) -> httpx2.Response:
    return httpx2.request(method, url + path, params=query, headers=headers, timeout=30, trust_env=False)


def test_a_raw_file_leaves_from_nginx_as_the_proxy_would_send_it(
    pair: tuple[str, ProxyProcess], large_checkpoint: bytes
) -> None:
    nginx, proxy = pair
    digest = hashlib.sha256(large_checkpoint).hexdigest()
    for path, query in (
        ("/v1/checkpoint", {"ref": REF, "variant": "raw"}),
        (f"/v1/blobs/{digest}", {}),
        ("/mirror/download.pytorch.org/net.pth", {}),
    ):
        ours, theirs = ask(proxy.url, path, **query), ask(nginx, path, **query)
        assert theirs.content == ours.content == large_checkpoint
        assert theirs.headers["server"].startswith("nginx")
        assert "x-accel-redirect" not in {**ours.headers, **theirs.headers}
        for name in (
            "etag",
            "repr-digest",
            "content-disposition",
            "content-type",
            "cache-control",
            "accept-ranges",
            "content-length",
            "x-content-type-options",
        ):
            assert theirs.headers.get_list(name) == ours.headers.get_list(name), name
        assert theirs.headers.get("zooproxy-state") == ours.headers.get("zooproxy-state")


def test_the_proxy_hands_the_file_over_and_sends_nothing_of_it(pair: tuple[str, ProxyProcess]) -> None:
    _, proxy = pair
    answer = ask(proxy.url, "/v1/checkpoint", {"Zooproxy-Accel": "on"}, ref=REF, variant="raw")
    assert answer.headers["x-accel-redirect"].startswith("/zooproxy-blobs/")
    assert answer.content == b""


def test_what_was_just_handed_over_is_in_use_and_stays(pair: tuple[str, ProxyProcess], large_checkpoint: bytes) -> None:
    nginx, proxy = pair
    digest = hashlib.sha256(large_checkpoint).hexdigest()
    assert ask(nginx, f"/v1/blobs/{digest}", method="HEAD").status_code == 200
    refused = ask(proxy.url, f"/v1/cache/blobs/{digest}", method="DELETE")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:zooproxy:problem:blob-in-use")
    assert ask(nginx, f"/v1/blobs/{digest}").content == large_checkpoint


def test_ranges_and_conditions_hold_through_nginx(pair: tuple[str, ProxyProcess], large_checkpoint: bytes) -> None:
    nginx, _ = pair
    raw = {"ref": REF, "variant": "raw"}
    tag = ask(nginx, "/v1/checkpoint", **raw).headers["etag"]
    size = len(large_checkpoint)
    part = ask(nginx, "/v1/checkpoint", {"Range": "bytes=10-19", "If-Range": tag}, **raw)
    assert (part.status_code, part.content) == (206, large_checkpoint[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    changed = ask(nginx, "/v1/checkpoint", {"Range": "bytes=10-19", "If-Range": '"other"'}, **raw)
    assert (changed.status_code, len(changed.content)) == (200, size)
    known = ask(nginx, "/v1/checkpoint", {"If-None-Match": tag}, **raw)
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    beyond = ask(nginx, "/v1/checkpoint", {"Range": f"bytes={size}-"}, **raw)
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    several = ask(nginx, "/v1/checkpoint", {"Range": "bytes=0-1,10-11"}, **raw)
    assert (several.status_code, several.content) == (200, large_checkpoint)
    head = ask(nginx, "/v1/checkpoint", method="HEAD", **raw)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


def test_variants_and_look_ups_pass_through_nginx(pair: tuple[str, ProxyProcess]) -> None:
    nginx, proxy = pair
    for path, query in (("/v1/checkpoint", {"ref": REF}), ("/v1/tensors", {"ref": REF}), ("/v1/resolve", {"ref": REF})):
        assert ask(nginx, path, **query).content == ask(proxy.url, path, **query).content
    refused = ask(nginx, "/v1/checkpoint", ref="mmcls://vgg61")
    assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")


def test_no_client_reaches_the_internal_location(pair: tuple[str, ProxyProcess], large_checkpoint: bytes) -> None:
    nginx, _ = pair
    digest = hashlib.sha256(large_checkpoint).hexdigest()
    assert ask(nginx, f"/zooproxy-blobs/{digest[:2]}/{digest[2:]}").status_code == 404


def test_the_client_loads_through_nginx(pair: tuple[str, ProxyProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("ZOOPROXY", pair[0])
    assert torch.equal(zooproxy.load(REF)["weight"], torch.arange(1_000_000.0))


def test_state_does_not_change_on_the_word_of_a_client_behind_nginx(pair: tuple[str, ProxyProcess]) -> None:
    """nginx's own address is loopback, and its clients are not."""
    nginx, _ = pair
    answer = ask(nginx, "/v1/cache/accepted", method="PUT", ref=REF, sha256="0" * 64)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:zooproxy:problem:not-from-here")
