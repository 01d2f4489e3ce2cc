"""What an operator sees of the cache and does to it, over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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


def test_pins_survive_a_kill(start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes) -> None:
    upstream.put(PATH, small_checkpoint)
    first = start_proxy()
    assert first.request("PUT", "/v1/cache/pins", REF).status_code == 201
    first.kill()
    (pin,) = start_proxy().get("/v1/cache/pins").json()
    assert pin["ref"] == REF
