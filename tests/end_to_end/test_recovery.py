"""What a restart makes of a data directory that somebody, or something, has been at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.conftest import StartProxy
from end_to_end.proxy_process import ProxyProcess, spawn
from fakes.upstream import Upstream

URLS = [f"https://download.pytorch.org/{number}.pth" for number in range(3)]


@pytest.fixture
def bodies(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes, large_checkpoint: bytes
) -> list[bytes]:
    """Three sources, two of them one blob, held by a proxy that was then killed."""
    bodies = [small_checkpoint, large_checkpoint, small_checkpoint]
    for url, body in zip(URLS, bodies, strict=True):
        upstream.put(url.removeprefix("https:/"), body)
    proxy = start_proxy()
    for url in URLS:
        assert proxy.get("/v1/checkpoint", url, variant="raw").status_code == 200
    proxy.kill()
    return bodies


def served(proxy: ProxyProcess) -> list[bytes]:
    return [proxy.get("/v1/checkpoint", url, variant="raw").content for url in URLS]


def test_database_file_deleted_is_rebuilt_by_two_at_once_and_everything_served_without_upstream(
    start_proxy: StartProxy, bodies: list[bytes], data_dir: Path
) -> None:
    for file in data_dir.glob("zooproxy.db*"):
        file.unlink()
    starting = [spawn(data_dir, offline="true") for _ in range(2)]
    proxies = [ProxyProcess(process) for process in starting]
    try:
        assert [served(proxy) for proxy in proxies] == [bodies, bodies]
    finally:
        assert [proxy.stop() for proxy in proxies] == [0, 0]


WRITE_THE_INDEX_ANEW_AND_STOP_IN_THE_MIDDLE = """
import asyncio, sys
from pathlib import Path
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.cache.inventory import Inventory
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.provide.quarantine import Quarantine
from zooproxy.provide.reconciliation import Reconciliation, reconciled

class Stopping(Inventory):
    async def _adopt(self, connection, claims, some):
        await super()._adopt(connection, claims, some[:1])
        print("in the middle", flush=True)
        sys.stdin.read()

async def main():
    root = Path(sys.argv[1])
    async with open_database(f"sqlite:///{root}/zooproxy.db") as database:
        shelf = Shelf(LocalBlobStore(root), Index(database))
        inventory = Stopping(database, shelf.index.uses)
        async with reconciled(shelf.store, Reconciliation(shelf, inventory, Quarantine(shelf)), inventory):
            print("never")

asyncio.run(main())
"""


def test_who_starts_while_another_process_writes_the_index_anew_waits_and_goes_on_when_that_one_is_killed(
    start_proxy: StartProxy, bodies: list[bytes], data_dir: Path
) -> None:
    for file in data_dir.glob("zooproxy.db*"):
        file.unlink()
    script = [sys.executable, "-c", WRITE_THE_INDEX_ANEW_AND_STOP_IN_THE_MIDDLE, str(data_dir)]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in the middle\n"
        second = spawn(data_dir, offline="true")
        assert second.stderr is not None
        told = next(line for line in second.stderr if "index anew" in line or "listens" in line)
        assert "another process writes the index anew; this one waits for it" in told
        first.kill()
    proxy = ProxyProcess(second)
    try:
        assert served(proxy) == bodies
    finally:
        assert proxy.stop() == 0


def test_database_of_garbage_is_rebuilt_and_the_bad_file_kept(
    start_proxy: StartProxy, bodies: list[bytes], data_dir: Path
) -> None:
    (data_dir / "zooproxy.db-wal").unlink()  # SQLite would heal the file from it
    (data_dir / "zooproxy.db").write_bytes(b"\xffgarbage" * 4000)
    proxy = start_proxy(offline="true")
    assert served(proxy) == bodies
    kept = next(data_dir.glob("zooproxy.db.damaged-*Z"))
    assert kept.read_bytes() == b"\xffgarbage" * 4000
    assert proxy.says(kept.name)
