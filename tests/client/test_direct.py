"""``direct``: the published file from its publisher, with the proxy's own checks."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.upstream import Upstream, redirect, status, truncated
from zooproxy.client.direct import _Redirects
from zooproxy.client.loader import load
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import (
    DigestMismatch,
    FormatError,
    RedirectRefused,
    UnknownName,
    UnsupportedSource,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)


@pytest.fixture
def settings(tmp_path: Path) -> ClientSettings:
    return ClientSettings(("direct",), folder=tmp_path / "store")


@pytest.fixture
def in_memory() -> ClientSettings:
    return ClientSettings(("direct",))


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


WRAPPED = {
    "state_dict": OrderedDict([("backbone.w", torch.arange(4.0)), ("head.w", torch.ones(3))]),
    "meta": {"epoch": 2},
    "optimizer": {"state": torch.ones(100)},
}


def published(upstream: Upstream, data: bytes = b"", name: str = "net-{hint}.pth") -> str:
    data = data or saved(WRAPPED)
    return upstream.put("/" + name.format(hint=Sha256.of(data)[:8]), data)


def files(settings: ClientSettings) -> list[str]:
    assert settings.folder is not None
    return [path.suffix for path in settings.folder.iterdir() if path.suffix != ".lock"]


def test_direct_loads_the_model_variant_and_downloads_once(upstream: Upstream, settings: ClientSettings) -> None:
    ref = published(upstream)
    for _ in range(2):
        loaded = load(ref, settings=settings)
        assert list(loaded) == ["state_dict", "meta"]
        assert loaded["state_dict"]["backbone.w"].tolist() == [0, 1, 2, 3]
    assert load(ref, prefix="backbone.", settings=settings)["w"].tolist() == [0, 1, 2, 3]
    assert len(upstream.seen) == 1
    loaded["state_dict"]["backbone.w"][0] = 9  # the file that is mapped stays as it is
    assert load(ref, settings=settings)["state_dict"]["backbone.w"][0] == 0


def test_direct_in_memory_leaves_no_file(upstream: Upstream, in_memory: ClientSettings, tmp_path: Path) -> None:
    assert load(published(upstream), settings=in_memory)["meta"] == {"epoch": 2}
    assert not (tmp_path / "store").exists()


def test_direct_comes_after_the_proxies_with_a_reason_in_the_log(
    upstream: Upstream, in_memory: ClientSettings, dead_proxy: str, caplog: Any
) -> None:
    settings = ClientSettings((dead_proxy, "direct"))
    assert load(published(upstream), settings=settings)["meta"] == {"epoch": 2}
    assert f"{dead_proxy}: Connection refused; trying direct" in caplog.text


def test_a_verdict_of_the_proxy_does_not_fall_through_to_direct(proxy: Any, upstream: Upstream) -> None:
    with pytest.raises(KeyError, match="no model is named"):
        load(published(upstream), settings=ClientSettings((proxy.base, "direct")))
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("net-00000000.pth", saved(WRAPPED), DigestMismatch),
        ("net.pth", b"<html>sign in</html>" * 100, FormatError),
        ("net.pth", saved(WRAPPED)[:-300], FormatError),
    ],
    ids=["another hash", "a login page", "cut short at the source"],
)
def test_direct_refuses_what_is_not_the_published_file(
    upstream: Upstream, settings: ClientSettings, name: str, data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        load(published(upstream, data, name), settings=settings)
    assert files(settings) == []


def test_direct_tries_again_when_a_body_is_cut_short(upstream: Upstream, settings: ClientSettings) -> None:
    data = saved(WRAPPED)
    ref = upstream.put("/net.pth", truncated(data, len(data) // 2))
    with pytest.raises(UpstreamTruncated, match="ended after"):
        load(ref, settings=settings)
    assert len(upstream.seen) == 3
    assert files(settings) == []


def test_direct_tells_what_the_publisher_answered(
    upstream: Upstream, in_memory: ClientSettings, dead_proxy: str
) -> None:
    with pytest.raises(UpstreamStatus, match="status 503"):
        load(upstream.put("/net.pth", status(503)), settings=in_memory)
    with pytest.raises(UpstreamUnreachable, match="cannot be reached"):
        load(f"{dead_proxy}/net.pth", settings=in_memory)


def test_direct_follows_redirects_but_none_that_leaves_tls(upstream: Upstream, in_memory: ClientSettings) -> None:
    ref = upstream.put("/moved.pth", redirect(published(upstream)))
    assert load(ref, settings=in_memory)["meta"] == {"epoch": 2}
    import urllib.request

    request = urllib.request.Request("https://a/x.pth")
    with pytest.raises(RedirectRefused, match="without TLS"):
        _Redirects().redirect_request(request, None, 302, "Found", {}, "http://a/x.pth")


def test_direct_takes_a_login_from_netrc(
    upstream: Upstream, in_memory: ClientSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    load(published(upstream), settings=in_memory)
    assert upstream.headers[0]["authorization"] == "Basic bWU6c2VjcmV0"


def test_direct_goes_through_the_environments_http_proxy(
    upstream: Upstream, in_memory: ClientSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(WRAPPED)
    upstream.put("http://weights.invalid/net.pth", data)
    monkeypatch.setenv("http_proxy", upstream.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert load("http://weights.invalid/net.pth", settings=in_memory)["meta"] == {"epoch": 2}


def test_direct_knows_names_and_refuses_what_it_cannot_fetch(in_memory: ClientSettings) -> None:
    with pytest.raises(UnknownName):
        load("torchvision://resnet51", settings=in_memory)
    with pytest.raises(UnsupportedSource, match="only http and https"):
        load("s3://bucket/net.pth", settings=in_memory)


def test_zooproxy_itself_is_reached_through_the_environments_http_proxy(
    proxy: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"ZOOPROXY": "http://cache.invalid:8765", "http_proxy": upstream.url, "ZOOPROXY_CACHE_DIR": "memory"}
    with pytest.raises(Exception, match="404"):
        load("torchvision://resnet50", settings=ClientSettings.from_environ(environ))
    assert upstream.seen[0].startswith("http://cache.invalid:8765/v1/tensors?ref=")
    direct = ClientSettings.from_environ({**environ, "no_proxy": "cache.invalid"})
    assert direct.gateway_of("http://cache.invalid:8765") is None
    tunnel = ClientSettings.from_environ({"ZOOPROXY": "https://c", "HTTPS_PROXY": "gate:3128", "HTTP_PROXY": "x"})
    assert (tunnel.gateway_of("https://c"), tunnel.gateway_of("http://c")) == ("gate:3128", None)


def test_a_token_outranks_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine a login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert ClientSettings(("http://a",), "t").login_of("http://a") == "Bearer t"
    assert ClientSettings(("http://a",)).login_of("http://a:80/x") == "Basic bWU6c2VjcmV0"
    assert ClientSettings(("http://b",)).login_of("http://b") is None
    (tmp_path / "netrc").write_text("nonsense")
    assert ClientSettings(("http://a",)).login_of("http://a") is None
    assert os.environ["NETRC"]
