from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Upstream

#: The hosts of the packaged catalog that the tests play.
HOSTS = ("download.pytorch.org", "download.openmmlab.com")

StartProxy = Callable[..., ProxyProcess]


def played_by(upstream: Upstream) -> dict[str, list[str]]:
    """MIRRORS in which ``upstream`` plays every host of the catalog, below a path of the host's name."""
    return {host: [f"{upstream.url}/{host}", "off"] for host in HOSTS}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start_proxy(data_dir: Path, upstream: Upstream) -> Iterator[StartProxy]:
    """Starts the proxy over the test's data directory; ``upstream`` plays every host of the catalog."""
    with ExitStack() as stack:

        def start(**settings: Any) -> ProxyProcess:
            return stack.enter_context(running_proxy(data_dir, **{"mirrors": played_by(upstream), **settings}))

        yield start
