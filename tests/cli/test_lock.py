"""``zooproxy lock``: the real command and a real proxy."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import torch

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.upstream import Ranged, Upstream, running_upstream
from zooproxy.cli import main
from zooproxy.digest import Sha256
from zooproxy.names.lock import Lock, Locked, lock_at, write_lock

NET = "https://download.pytorch.org/net.pth"
ALIAS = "open-mmlab://resnet50_caffe"  # deprecated, and kept as written
CAFFE = "https://download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth"
OBJECT = "lab:petrel://bucket/größe.pth"
OWN = "mmdet://網絡"
MISSING = "https://download.pytorch.org/missing.pth"


def file_of(number: float) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.full((3,), number)}, file)
    return file.getvalue()


BODIES = {NET: 0.0, CAFFE: 1.0, OBJECT: 2.0, OWN: 3.0}


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    return {url: file_of(number) for url, number in BODIES.items()}


@pytest.fixture(scope="module")
def upstream(bodies: dict[str, bytes]) -> Iterator[Upstream]:
    with running_upstream() as upstream:
        for url in (NET, CAFFE):
            upstream.put(url.removeprefix("https:/"), bodies[url])
        upstream.put(quote("/bucket/größe.pth"), Ranged(bodies[OBJECT]))
        upstream.put("/download.pytorch.org/own.pth", bodies[OWN])
        yield upstream


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, bodies: dict[str, bytes]
) -> Iterator[ProxyProcess]:
    settings: dict[str, Any] = {"mirrors": played_by(upstream), "s3": {"lab": {"endpoint": upstream.url}}}
    settings["pins"] = {ALIAS: Sha256.of(bodies[CAFFE])}
    with running_proxy(tmp_path_factory.mktemp("data"), **settings) as proxy:
        address = f"{proxy.url}/v1/zoos/mmdet/models/{quote(OWN.removeprefix('mmdet://'))}"
        own = {"url": "https://download.pytorch.org/own.pth"}
        assert httpx2.put(address, json=own, trust_env=False, timeout=30).status_code == 201
        yield proxy


class Command:
    """``zooproxy lock`` in a directory of its own; ``out`` and ``err`` of the last call."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "weights.lock"
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        status = main(["lock", *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status

    @property
    def entries(self) -> dict[str, Locked]:
        return {entry.ref: entry for entry in lock_at(self.file).entries}

    def write(self, *entries: Locked) -> bytes:
        self.file.write_bytes(write_lock(Lock(entries)))
        return self.file.read_bytes()


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ZOOPROXY", raising=False)
    return Command(folder, capsys)


@pytest.fixture
def pointed(proxy: ProxyProcess, lock: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    return lock


def entry(ref: str, data: bytes, url: str | None = None) -> Locked:
    return Locked(ref, url or ref, Sha256.of(data), len(data))


@pytest.fixture
def configs(lock: Command) -> Path:
    """A folder of configs that mention NET, the alias and a path; a base beside it that mentions OWN."""
    folder = lock.file.parent / "configs"
    folder.mkdir()
    (lock.file.parent / "base.py").write_text(f"teacher = {OWN!r}\n")
    (folder / "a.py").write_text(f"_base_ = ['../base.py']\nload_from = {NET!r}\nresume_from = 'work/x.pth'\n")
    (folder / "b.yaml").write_text(f"load_from: {ALIAS}\n")
    (folder / "c.txt").write_text(MISSING)
    return folder


# -- writing ----------------------------------------------------------------------------------------------


def test_references_are_locked_as_written_with_what_the_proxy_has_proven(
    pointed: Command, bodies: dict[str, bytes]
) -> None:
    assert pointed(NET, ALIAS, OBJECT, OWN) == 0
    assert pointed.entries == {
        NET: entry(NET, bodies[NET]),
        ALIAS: entry(ALIAS, bodies[CAFFE], CAFFE),
        OBJECT: entry(OBJECT, bodies[OBJECT], "lab:s3://bucket/größe.pth"),
        OWN: entry(OWN, bodies[OWN], "https://download.pytorch.org/own.pth"),
    }
    assert f"locked    {NET}: {Sha256.of(bodies[NET])}" in pointed.out
    assert pointed.err == "weights.lock: 4 references\n"


def test_locking_again_changes_no_byte_and_writes_nothing(pointed: Command) -> None:
    assert pointed(OWN, NET) == 0
    before, written = pointed.file.read_bytes(), pointed.file.stat().st_mtime_ns
    assert pointed(NET, OWN) == 0
    assert pointed("--update") == 0
    assert (pointed.file.read_bytes(), pointed.file.stat().st_mtime_ns) == (before, written)
    assert pointed.out == ""
    assert [path.name for path in pointed.file.parent.iterdir()] == ["weights.lock"]


def test_configs_and_folders_of_them_are_locked_their_bases_included(pointed: Command, configs: Path) -> None:
    assert pointed(str(configs), "-o", "folder.lock") == 0
    assert [one.ref for one in lock_at(Path("folder.lock")).entries] == [NET, ALIAS]
    assert pointed(str(configs / "a.py")) == 0
    assert set(pointed.entries) == {NET, OWN}


def test_entries_that_are_there_are_kept_and_pruned_on_request(pointed: Command, bodies: dict[str, bytes]) -> None:
    gone = entry("https://gone.example/x.pth", b"x")
    pointed.write(gone, entry(NET, bodies[NET]))
    assert pointed(NET, ALIAS) == 0
    assert set(pointed.entries) == {gone.ref, NET, ALIAS}
    assert pointed(NET, "--prune") == 0
    assert set(pointed.entries) == {NET}
    assert pointed.out == f"dropped   {gone.ref}\ndropped   {ALIAS}\n"


def test_a_digest_that_would_change_is_an_error_with_both_until_update(
    pointed: Command, bodies: dict[str, bytes]
) -> None:
    before = pointed.write(entry(ALIAS, b"other", CAFFE), entry(CAFFE, b"other"), entry(NET, bodies[NET]))
    for refs in ([ALIAS], ["openmmlab://resnet50_caffe"], [NET, CAFFE, OWN]):
        assert pointed(*refs) == 1
        assert f"locked with {Sha256.of(b'other')}, and now it has {Sha256.of(bodies[CAFFE])}" in pointed.err
        assert "zooproxy lock --update" in pointed.err
        assert pointed.file.read_bytes() == before
    assert pointed("--update", ALIAS) == 0
    assert pointed.out.count("changed ") == 2
    assert pointed.entries[CAFFE] == entry(CAFFE, bodies[CAFFE])


def test_a_source_that_moved_is_locked_anew_where_its_bytes_are_the_same(
    pointed: Command, bodies: dict[str, bytes]
) -> None:
    moved = "https://download.pytorch.org/own.pth"
    pointed.write(entry(OWN, bodies[OWN], "https://old.example/own.pth"))
    assert pointed(OWN) == 0
    assert pointed.out.endswith(f"moved     {OWN}: https://old.example/own.pth -> {moved}\n")
    pointed.write(entry(OWN, b"other", "https://old.example/own.pth"))
    assert pointed(OWN) == 1
    assert "differs" in pointed.err
    assert pointed("--update") == 0
    assert pointed.entries[OWN] == entry(OWN, bodies[OWN], moved)


def test_what_cannot_be_locked_is_told_one_by_one_and_nothing_is_written(pointed: Command, configs: Path) -> None:
    (configs / "a.py").write_text("load_from = 'torchvision://resnet5O'\n")
    assert pointed(NET, MISSING, "https://elsewhere.example/x.pth", "oss://b/x.pth", str(configs)) == 1
    assert "refused   torchvision://resnet5O" in pointed.err
    assert f"({configs / 'a.py'}:1)" in pointed.err
    for words in (f"refused   {MISSING}: upstream answered 404", "elsewhere.example", "refused   oss://b/x.pth"):
        assert words in pointed.err
    assert "4 could not be locked" in pointed.err
    assert not pointed.file.exists()
    pointed.write(Locked("torchvision://resnet5O", NET, Sha256("a" * 64), 5))
    assert pointed(str(configs / "a.py")) == 1
    assert "did you mean torchvision://resnet50" in pointed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to lock"),
        (["--update"], "nothing to lock"),
        (["--prune"], "nothing to lock"),
        (["--check", "--update"], "--check changes nothing"),
        (["nowhere"], "there is no file or folder nowhere"),
        ([NET], "does not name a proxy"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(lock: Command, arguments: list[str], words: str) -> None:
    assert lock(*arguments) == 1
    assert words in lock.err


def test_a_lock_file_or_a_config_that_cannot_be_read_is_named(pointed: Command) -> None:
    pointed.file.write_text("<<<<<<< ours\n")
    assert pointed(NET) == 1
    assert "weights.lock: line 1 is left from a merge" in pointed.err
    pointed.file.unlink()
    Path("bad.py").write_text("def (")
    Path("bytes.yaml").write_bytes(b"\xff")
    for name in ("bad.py", "bytes.yaml"):
        assert pointed(name) == 1
        assert f"the config {name} cannot be read" in pointed.err
    assert pointed(NET, "-o", "no/such/folder.lock") == 1
    assert "folder.lock cannot be written" in pointed.err


def test_the_nodes_own_lock_file_does_not_keep_one_from_being_written(
    pointed: Command, monkeypatch: pytest.MonkeyPatch, bodies: dict[str, bytes]
) -> None:
    pointed.write()
    monkeypatch.setenv("ZOOPROXY_LOCK", str(pointed.file))
    assert pointed(NET) == 0
    assert pointed.entries == {NET: entry(NET, bodies[NET])}


# -- without a proxy --------------------------------------------------------------------------------------


def test_direct_fetches_proves_and_locks(
    lock: Command, upstream: Upstream, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOPROXY", "direct")
    url = upstream.put("/direct.pth", bodies[NET])
    assert lock(url) == 0
    assert lock.entries == {url: entry(url, bodies[NET])}
    asked = upstream.seen.count("/direct.pth")
    assert lock(url) == 0
    assert upstream.seen.count("/direct.pth") == asked == 1
    hinted = upstream.put("/net-00000000.pth", bodies[NET])
    page = upstream.put("/page.pth", b"<html>log in</html>")
    assert lock(hinted, page, "s3://bucket/x.pth", "torchvision://no_such", upstream.url + "/absent.pth") == 1
    for words in ("promises 00000000", "only http and https", "has no model", "status 404", f"refused   {page}"):
        assert words in lock.err
    lock.write(Locked("torchvision://no_such", url, Sha256("a" * 64), 5))
    assert lock("torchvision://no_such") == 1
    assert "has no model" in lock.err


def test_nothing_is_locked_where_the_proxy_is_off(lock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY", "off")
    assert lock(NET) == 1
    assert "names no proxy first" in lock.err


# -- checking ---------------------------------------------------------------------------------------------


def test_a_lock_of_all_that_configs_name_passes(pointed: Command, configs: Path) -> None:
    assert pointed(str(configs), str(configs / "a.py")) == 0
    assert pointed("--check", str(configs), str(configs / "a.py")) == 0
    assert (pointed.out, pointed.err) == ("", "weights.lock: 3 references checked against the proxy, 0 not right\n")
    assert pointed("--check", "openmmlab://resnet50_caffe", CAFFE, NET, OWN) == 0  # by their sources
    assert pointed.out == ""


def test_a_check_lists_what_is_missing_stale_different_and_unknown(
    pointed: Command, configs: Path, bodies: dict[str, bytes]
) -> None:
    pointed.write(
        entry(OWN, bodies[OWN], "https://old.example/own.pth"),
        entry(ALIAS, b"other", CAFFE),
        Locked("torchvision://no_such", "https://h.example/x", Sha256("a" * 64), 5),
    )
    assert pointed("--check", str(configs), "torchvision://resnet5O") == 1
    lines = pointed.out.splitlines()
    assert lines[0].startswith(f"missing   {NET}: {configs / 'a.py'}:2 names it; zooproxy lock")
    assert lines[1].startswith("unknown   torchvision://resnet5O: it is not in the lock file; torchvision has no")
    assert lines[2].startswith(f"stale     {OWN}: locked from https://old.example/own.pth, and it leads to")
    assert lines[3].startswith(f"differs   {ALIAS}: locked with {Sha256.of(b'other')}, and the proxy has")
    assert lines[4].startswith("unknown   torchvision://no_such: ")
    assert [line.split()[0] for line in lines[5:]] == ["surplus", "surplus"]
    assert "5 not right" in pointed.err


def test_a_surplus_entry_is_noted_and_no_failure(pointed: Command, bodies: dict[str, bytes]) -> None:
    pointed.write(entry(NET, bodies[NET]), entry(ALIAS, bodies[CAFFE], CAFFE))
    assert pointed("--check", NET) == 0
    assert pointed.out.startswith(f"surplus   {ALIAS}: ")
    assert pointed("--check") == 0
    assert pointed.out == ""


def test_without_a_proxy_a_check_does_what_the_packaged_catalog_can_tell(
    lock: Command, configs: Path, bodies: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Locked("torchvision://resnet50", "https://old.example/x.pth", Sha256("a" * 64), 5)
    lock.write(entry(OWN, bodies[OWN], NET), entry(ALIAS, b"other", CAFFE))
    for variable in ("", "direct", "off"):
        monkeypatch.setenv("ZOOPROXY", variable)
        assert lock("--check", ALIAS) == 0
        assert "checked against the packaged catalog" in lock.err
        assert lock.out.splitlines()[0].startswith(f"unchecked {OWN}: mmdet has no model")
    lock.write(moved)
    assert lock("--check", str(configs)) == 1
    assert [line.split()[0] for line in lock.out.splitlines()] == ["missing", "missing", "stale", "surplus"]


@pytest.mark.parametrize("content", [None, b"{}\n"])
def test_a_check_of_what_is_no_lock_fails(lock: Command, content: bytes | None) -> None:
    if content is not None:
        lock.file.write_bytes(content)
    assert lock("--check") == 1
    assert "lock file malformed: weights.lock" in lock.err


def test_a_check_fails_where_no_proxy_answers(lock: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY", "http://127.0.0.1:1")
    lock.write(Locked(NET, NET, Sha256("a" * 64), 5))
    assert lock("--check") == 1
    assert "proxy unreachable" in lock.err


def test_a_check_needs_neither_torch_nor_the_server(lock: Command, bodies: dict[str, bytes]) -> None:
    lock.write(entry(ALIAS, bodies[CAFFE], CAFFE))
    barred = "import sys; sys.modules.update(torch=None, pydantic=None, fastapi=None, sqlalchemy=None)"
    code = f"{barred}\nfrom zooproxy.cli import main\nsys.exit(main(['lock', '--check', {ALIAS!r}]))"
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_proxy_with_that_lock_file_serves_what_was_locked(
    pointed: Command, tmp_path: Path, upstream: Upstream, bodies: dict[str, bytes]
) -> None:
    assert pointed(NET) == 0
    settings = {"mirrors": played_by(upstream), "lock_file": str(pointed.file)}
    with running_proxy(tmp_path / "data", **settings) as proxy:
        assert proxy.get("/v1/checkpoint", NET, variant="raw").content == bodies[NET]
        assert proxy.get("/v1/checkpoint", CAFFE, variant="raw").status_code == 403
