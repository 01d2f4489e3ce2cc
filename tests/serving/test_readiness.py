from __future__ import annotations

import pytest

from fakes.upstream import Upstream, status
from zooproxy.errors import NotReady
from zooproxy.serving.readiness import check_ready
from zooproxy.serving.settings import Settings


def test_a_proxy_that_answers_is_ready(upstream: Upstream) -> None:
    upstream.put("/readyz", b"ready\n")
    check_ready(Settings(host="0.0.0.0", port=upstream.port))
    assert upstream.seen == ["/readyz"]


def test_a_proxy_that_cannot_serve_is_not(upstream: Upstream) -> None:
    upstream.put("/readyz", status(503))
    with pytest.raises(NotReady, match="answered 503"):
        check_ready(Settings(host="127.0.0.1", port=upstream.port))


def test_nobody_there_is_not_ready_either() -> None:
    with pytest.raises(NotReady, match="does not answer"):
        check_ready(Settings(host="127.0.0.1", port=1))
