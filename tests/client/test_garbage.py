"""The garbage collector waits while a checkpoint is described, and is then as it was before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from zooproxy.client.garbage import collected_later


@pytest.fixture(autouse=True)
def enabled_afterwards() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("running", [True, False])
def test_the_collector_is_quiet_within_and_then_as_it_was(running: bool) -> None:
    (gc.enable if running else gc.disable)()
    with collected_later():
        assert not gc.isenabled()
        with collected_later():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() is running


def test_the_collector_runs_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="no"), collected_later():
        raise ValueError("no")
    assert gc.isenabled()
