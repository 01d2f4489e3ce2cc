"""What an operator sees of the cache and does to it, over the wire."""

from __future__ import annotations

import io
from collections.abc import Iterator

import httpx2
import pytest
import torch

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Upstream, running_upstream

REF = "https://download.pytorch.org/net.pth"
PATH = "/download.pytorch.org/net.pth"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with (
        running_upstream() as upstream,
        running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstream)) as p,
    ):
        yield p


def test_pin_is_put_listed_and_removed_and_each_may_be_repeated(proxy: ProxyProcess) -> None:
    first = proxy.request("PUT", "/v1/cache/pins", "torchvision://resnet50")
    again = proxy.request("PUT", "/v1/cache/pins", "torchvision://resnet50")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["ref"] == "torchvision://resnet50"
    assert first.json()["url"].startswith("https://download.pytorch.org/models/resnet50-")
    assert first.json()["sha256"] is None
    assert proxy.get("/v1/cache/pins").json() == [first.json()]
    for _ in range(2):
        assert proxy.request("DELETE", "/v1/cache/pins", "torchvision://resnet50").status_code == 204
    assert proxy.get("/v1/cache/pins").json() == []


def test_pin_of_a_name_that_leads_nowhere_is_refused_as_elsewhere(proxy: ProxyProcess) -> None:
    refused = proxy.request("PUT", "/v1/cache/pins", "torchvision://resnet5O")
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:zooproxy:problem:unknown-name")
    assert proxy.request("PUT", "/v1/cache/pins", REF, force="true").status_code == 400


def until_held(proxy: ProxyProcess, ref: str) -> str:
    """Its sha256."""
    assert proxy.get("/v1/checkpoint", ref, variant="raw").status_code == 200
    while (resolved := proxy.get("/v1/resolve", ref).json())["state"] != "held":
        pass
    return str(resolved["sha256"])


def test_a_cache_tells_what_it_holds_and_uses_survive_an_orderly_end(
    start_proxy: StartProxy, upstream: Upstream
) -> None:
    """One story, since each part of it needs what came before."""
    file = io.BytesIO()
    torch.save({"w": torch.randn(4, 3).t()}, file)
    upstream.put(PATH, file.getvalue())
    proxy = start_proxy(cache_max_bytes="1000000")
    assert proxy.get("/v1/cache").json() == {
        "blobs": 0,
        "bytes": 0,
        "cap_bytes": 1_000_000,
        "free_bytes": 1_000_000,
        "pinned_blobs": 0,
        "pinned_bytes": 0,
        "derived_blobs": 0,
        "derived_bytes": 0,
        "leaving_blobs": 0,
        "leaving_bytes": 0,
    }
    digest = until_held(proxy, REF)
    assert proxy.get("/v1/checkpoint", REF, dtype="bf16").status_code == 200
    assert proxy.get(f"/v1/blobs/{digest}").status_code == 200
    assert proxy.get("/mirror/download.pytorch.org/net.pth").status_code == 200
    assert proxy.get("/v1/tensors", REF, dtype="bf16").status_code == 200
    for head in ("/v1/blobs/" + digest, "/mirror/download.pytorch.org/net.pth"):
        assert proxy.request("HEAD", head).status_code == 200
    assert proxy.request("PUT", "/v1/cache/pins", REF).json()["sha256"] == digest
    totals = proxy.get("/v1/cache").json()
    assert (totals["blobs"], totals["pinned_blobs"], totals["derived_blobs"]) == (3, 1, 2)
    assert totals["pinned_bytes"] == len(file.getvalue())
    assert totals["bytes"] == 1_000_000 - totals["free_bytes"]
    assert proxy.stop() == 0

    again = start_proxy()
    assert [pin["ref"] for pin in again.get("/v1/cache/pins").json()] == [REF]
    *derived, original = again.get("/v1/cache/blobs").json()["blobs"]
    for one in derived:
        assert (one["derived"], one["pinned"], one["uses"]) == (True, False, 1)
        assert one["sources"][0].startswith(f"derived:{digest}/")
    assert (original["sha256"], original["size"]) == (digest, len(file.getvalue()))
    assert (original["sources"], original["derived"], original["pinned"]) == ([REF], False, True)
    assert original["uses"] == 5
    assert original["last_used_at"] >= original["created_at"]

    refused = again.request("DELETE", f"/v1/cache/blobs/{digest}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:zooproxy:problem:blob-pinned")
    removed = again.request("DELETE", f"/v1/cache/blobs/{digest}", force="true").json()
    assert (removed["removed_blobs"], removed["bytes"]) == (3, 0)
    assert again.request("DELETE", f"/v1/cache/blobs/{digest}").status_code == 404
    assert again.get("/v1/resolve", REF).json()["state"] == "absent"


def test_pages_of_what_is_held_lead_to_the_end_and_find_by_name(start_proxy: StartProxy, upstream: Upstream) -> None:
    resnet = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    for number, path in enumerate(["1.pth", "2.pth", "100%_sure.pth"]):
        file = io.BytesIO()
        torch.save({"w": torch.full((number + 1,), 1.0)}, file)
        upstream.put(f"/download.pytorch.org/{path}", file.getvalue())
    proxy = start_proxy()
    urls = [f"https://download.pytorch.org/{path}" for path in ("1.pth", "2.pth", "100%25_sure.pth")]
    upstream.put("/download.pytorch.org/100%25_sure.pth", file.getvalue())
    for url in urls:
        until_held(proxy, url)
    found, cursor = [], ""
    while cursor is not None:
        page = proxy.get("/v1/cache/blobs", limit="2", cursor=cursor).json()
        found += page["blobs"]
        cursor = page["next"]
    assert [source for blob in found for source in blob["sources"]] == urls
    digits = found[0]["sha256"][:8].upper()
    for find, seen in (("2.PTH", urls[1:2]), ("%25_", urls[2:]), (digits, urls[:1]), (urls[0], urls[:1])):
        page = proxy.get("/v1/cache/blobs", q=find).json()
        assert [source for blob in page["blobs"] for source in blob["sources"]] == seen
    assert proxy.get("/v1/cache/blobs", q=resnet).json() == {"blobs": [], "next": None}


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/v1/cache/blobs", {"cursor": "nonsense"}),
        ("GET", "/v1/cache/blobs", {"limit": "0"}),
        ("GET", "/v1/cache/blobs", {"query": "x"}),
        ("GET", "/v1/cache", {"q": "x"}),
        ("DELETE", "/v1/cache/blobs/0676ba61", {}),
    ],
)
def test_what_is_asked_wrongly_is_400(proxy: ProxyProcess, method: str, path: str, query: dict[str, str]) -> None:
    answer = proxy.request(method, path, None, **query)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:zooproxy:problem:bad-request")


@pytest.mark.parametrize("body", [{"to_bytes": -1}, {"to": 0}, {"to_bytes": "much"}])
def test_collecting_down_to_no_size_is_400_and_without_one_down_to_the_cap(
    proxy: ProxyProcess, body: dict[str, object]
) -> None:
    refused = httpx2.post(f"{proxy.url}/v1/cache/gc", json=body, trust_env=False)
    assert (refused.status_code, refused.json()["type"]) == (400, "urn:zooproxy:problem:bad-request")
    done = httpx2.post(f"{proxy.url}/v1/cache/gc", trust_env=False)
    assert (done.status_code, done.json()["removed_blobs"]) == (200, 0)
