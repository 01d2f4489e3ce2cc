"""``zooproxy bundle``, as an operator runs it beside a proxy that serves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.sites import hold, opened_site
from fakes.upstream import running_upstream
from zooproxy.cli import main
from zooproxy.digest import Sha256
from zooproxy.formats.reader import READER_VERSION
from zooproxy.names.lock import Lock, Locked, write_lock

REF = "https://download.pytorch.org/small.pth"
LARGE = "https://download.pytorch.org/large.pth"
Bundle = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def connected(
    tmp_path_factory: pytest.TempPathFactory, small_checkpoint: bytes, large_checkpoint: bytes
) -> Iterator[tuple[ProxyProcess, Path]]:
    """A proxy that holds two checkpoints, one of them read, and its data directory."""
    data_dir = tmp_path_factory.mktemp("connected")
    with running_upstream() as upstream, running_proxy(data_dir, mirrors=played_by(upstream)) as proxy:
        for ref, body in ((REF, small_checkpoint), (LARGE, large_checkpoint)):
            upstream.put(ref.removeprefix("https:/"), body)
            assert proxy.get("/v1/checkpoint", ref, variant="raw").content == body
        assert proxy.get("/v1/tensors", REF, digests="wait").status_code == 200
        yield proxy, data_dir


@pytest.fixture
def bundle(
    connected: tuple[ProxyProcess, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Bundle:
    """Runs the command on the proxy's data directory: status, output, complaint."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, data_dir: Path = connected[1]) -> tuple[int, str, str]:
        monkeypatch.setenv("ZOOPROXY_DATA_DIR", str(data_dir))
        status = main(["bundle", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_all_that_is_held_is_exported_beside_a_running_proxy_and_verified(bundle: Bundle) -> None:
    status, out, _ = bundle("export", "--held", "-o", "all.tar")
    assert (status, "2 sources, 2 blobs" in out) == (0, True)
    status, out, _ = bundle("verify", "all.tar")
    assert (status, "2 sources, 2 blobs; whole" in out) == (0, True)


def test_a_bundle_that_is_there_is_not_written_again(bundle: Bundle) -> None:
    assert bundle("export", REF, "-o", "b")[0] == 0
    size = Path("b").stat().st_size
    assert f"{size:,} of them there already" in bundle("export", REF, "-o", "b")[1]


def test_what_a_config_names_is_exported(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(f"load_from = {LARGE!r}\n")
    assert "1 sources, 1 blobs" in bundle("export", "--from-config", "config.py", "-o", "b")[1]


def test_what_is_not_held_is_named_with_the_way_to_bring_it_in(bundle: Bundle) -> None:
    status, _, complaint = bundle("export", REF, "mmcls://vgg16", "-o", "b")
    assert status == 1
    assert "mmcls://vgg16" in complaint
    assert "zooproxy warm" in complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "-o", "b"], "nothing to export"),
        (["export", "torchvision://nonesuch", "-o", "b"], "no model 'nonesuch'"),
        (["export", "--held", "--split", "much", "-o", "b"], "--split is no number"),
        (["export", "--held", "--split", "1k", "-o", "b"], "--split allows 1000"),
        (["export", "--held", "--since", "nowhere", "-o", "b"], "nowhere cannot be used"),
        (["verify", "nowhere"], "nowhere cannot be used"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(bundle: Bundle, arguments: list[str], words: str) -> None:
    status, _, complaint = bundle(*arguments)
    assert (status, words in complaint) == (1, True), complaint


def test_without_a_data_directory_nothing_is_made(bundle: Bundle, tmp_path: Path) -> None:
    status, _, complaint = bundle("export", "--held", "-o", "b", data_dir=tmp_path / "none")
    assert (status, "no data directory" in complaint) == (1, True)
    assert not (tmp_path / "none").exists()


def test_parts_are_verified_together_and_a_missing_one_is_named(bundle: Bundle, large_checkpoint: bytes) -> None:
    assert bundle("export", "--held", "--split", str(len(large_checkpoint) + 11_500), "-o", "b")[0] == 0
    assert bundle("verify", "b.001", "b.002")[0] == 0
    status, _, complaint = bundle("verify", "b.002")
    assert (status, "these are not here: 1" in complaint) == (1, True)


def test_an_increment_is_verified_and_says_what_it_adds_to(bundle: Bundle) -> None:
    assert bundle("export", REF, "-o", "first")[0] == 0
    assert "2 sources, 1 blobs" in bundle("export", "--held", "--since", "first", "-o", "second")[1]
    status, out, _ = bundle("verify", "second")
    assert (status, "adds to the bundle" in out) == (0, True)
    assert "adds to" not in bundle("verify", "first", "second")[1]


@pytest.mark.parametrize("at", [0.0005, 0.5, 0.9999])
def test_one_flipped_bit_is_found(bundle: Bundle, at: float) -> None:
    bundle("export", LARGE, "-o", "b")
    data = bytearray(Path("b").read_bytes())
    data[int(len(data) * at)] ^= 1
    Path("b").write_bytes(data)
    status, out, complaint = bundle("verify", "b")
    assert (status, out) == (1, "")
    assert "bundle" in complaint


@pytest.fixture(scope="module")
def whole(connected: tuple[ProxyProcess, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the connected proxy holds, as a bundle."""
    path = tmp_path_factory.mktemp("media") / "all.tar"
    environment = clean_environment(data_dir=str(connected[1]))
    command = [sys.executable, "-m", "zooproxy", "bundle", "export", "--held", "-o", str(path)]
    subprocess.run(command, env=environment, check=True, cwd=path.parent)
    return path


def test_a_bundle_is_imported_beside_a_running_offline_proxy_which_serves_it_at_once(
    bundle: Bundle, whole: Path, tmp_path: Path, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    with running_proxy(tmp_path / "gap", offline=True) as proxy:
        assert proxy.get("/v1/checkpoint", REF, variant="raw").status_code == 503
        status, out, _ = bundle("import", whole, data_dir=tmp_path / "gap")
        assert (status, "2 of 2 blobs are new here" in out) == (0, True)
        assert proxy.get("/v1/checkpoint", REF, variant="raw").content == small_checkpoint
        assert proxy.get("/v1/checkpoint", LARGE, variant="raw").content == large_checkpoint
        assert proxy.get("/v1/resolve", REF).json()["state"] == "held"
        assert proxy.get("/v1/tensors", LARGE).status_code == 200
    assert "0 of 2 blobs are new here" in bundle("import", whole, data_dir=tmp_path / "gap")[1]
    lines = [json.loads(line) for line in (tmp_path / "gap" / "audit.log").read_text().splitlines()]
    imports = [
        (line["outcome"], line["target"].get("new_blobs")) for line in lines if line["action"] == "bundle import"
    ]
    assert imports == [("done", 2), ("done", 0)]


def test_parts_are_imported_in_any_order_and_a_missing_one_is_told(
    bundle: Bundle, large_checkpoint: bytes, tmp_path: Path
) -> None:
    assert bundle("export", "--held", "--split", str(len(large_checkpoint) + 11_500), "-o", "b")[0] == 0
    status, out, _ = bundle("import", "b.002", data_dir=tmp_path / "gap")
    assert (status, "these are not here: 1" in out) == (0, True)
    status, out, _ = bundle("import", "b.002", "b.001", data_dir=tmp_path / "gap")
    assert (status, "not here" in out) == (0, False)


def test_what_contradicts_this_site_is_refused_until_it_is_accepted(
    bundle: Bundle, whole: Path, tmp_path: Path, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    gap = tmp_path / "gap"

    async def held(body: bytes | None = None) -> str | None:
        async with opened_site(gap) as site:
            if body is not None:
                await hold(site, REF, body)
            found = await site.shelf.index.held(REF)
            return found and found.sha256

    theirs = asyncio.run(held(large_checkpoint))  # another file than the connected side got
    status, _, complaint = bundle("import", whole, data_dir=gap)
    assert (status, theirs in complaint, "--accept" in complaint) == (1, True, True)
    assert asyncio.run(held()) == theirs
    assert bundle("import", whole, "--accept", data_dir=gap)[0] == 0
    assert asyncio.run(held()) == Sha256.of(small_checkpoint)


def test_kill_9_during_an_import_shows_nothing_and_the_next_import_is_as_if_it_had_not_been(
    bundle: Bundle, whole: Path, tmp_path: Path
) -> None:
    gap, pipe, data = tmp_path / "gap", tmp_path / "pipe", whole.read_bytes()
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "zooproxy", "bundle", "import", str(pipe)]
    process = subprocess.Popen(command, env=clean_environment(data_dir=str(gap)), cwd=tmp_path)
    with pipe.open("wb", buffering=0) as feed:
        feed.write(data[:-1024])  # all blobs, and not the end
        while not [path for path in (gap / "blobs").rglob("*") if path.is_file()]:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait(30)
    assert asyncio.run(sources_of(gap)) == []
    assert bundle("import", whole, data_dir=gap)[0] == 0
    assert asyncio.run(sources_of(gap)) == [LARGE, REF]
    assert bundle("import", whole, data_dir=tmp_path / "other")[0] == 0
    assert blobs_of(gap) == blobs_of(tmp_path / "other")


async def sources_of(data_dir: Path) -> list[str]:
    async with opened_site(data_dir) as site:
        return [source.url for source in await site.shelf.index.sources()]


def blobs_of(data_dir: Path) -> dict[str, bytes]:
    """Blobs and the names of their sidecars, which tell when."""
    found = (path for path in (data_dir / "blobs").rglob("*") if path.is_file())
    return {path.name: b"" if path.suffix else path.read_bytes() for path in found}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public half, as openssl makes them."""
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, stderr=subprocess.DEVNULL)
    return private, public


def test_a_signed_bundle_is_believed_to_its_insides(
    bundle: Bundle,
    keys: tuple[Path, Path],
    connected: tuple[ProxyProcess, Path],
    tmp_path: Path,
    small_checkpoint: bytes,
) -> None:
    assert bundle("export", REF, "--sign", keys[0], "-o", "b")[0] == 0
    first = Path("b").read_bytes()
    Path("b").unlink()
    assert bundle("export", REF, "--sign", keys[0], "-o", "b")[0] == 0
    assert Path("b").read_bytes() == first
    assert "signed, by whom was not asked" in bundle("verify", "b")[1]
    assert "signed with a key that is trusted" in bundle("verify", "b", "--trust", keys[1])[1]
    assert bundle("import", "b", "--trust", keys[1], data_dir=tmp_path / "gap")[0] == 0
    here, there = (asyncio.run(index_of(where, small_checkpoint)) for where in (tmp_path / "gap", connected[1]))
    assert here is not None
    assert here == there


async def index_of(data_dir: Path, body: bytes) -> bytes | None:
    async with opened_site(data_dir) as site:
        return await site.shelf.index.tensor_index(Sha256.of(body), READER_VERSION)


def test_where_a_signature_is_asked_for_nothing_else_is_taken_in(
    bundle: Bundle, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle("export", REF, "-o", "unsigned")
    bundle("export", REF, "--sign", keys[0], "-o", "signed")
    forged = Path("signed").read_bytes().replace(b'"trust": "seen"', b'"trust": "SEEN"')
    Path("forged").write_bytes(forged)
    monkeypatch.setenv("ZOOPROXY_BUNDLE_KEYS", json.dumps([str(keys[1])]))
    for name, words in (("unsigned", "is not signed"), ("forged", "not spelt as zooproxy writes it")):
        status, _, complaint = bundle("import", name, data_dir=tmp_path / "gap")
        assert (status, words in complaint) == (1, True), complaint
        status, _, complaint = bundle("verify", name, "--trust", keys[1])
        assert (status, words in complaint) == (1, True), complaint
    assert not (tmp_path / "gap" / "blobs").exists()
    assert bundle("import", "signed", data_dir=tmp_path / "gap")[0] == 0


def test_what_a_lock_file_lists_is_exported_as_it_lists_it(
    bundle: Bundle, tmp_path: Path, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    right = Locked(REF, REF, Sha256.of(small_checkpoint), len(small_checkpoint))
    wrong = Locked(LARGE, LARGE, Sha256.of(b"other"), len(large_checkpoint))
    (tmp_path / "right.lock").write_bytes(write_lock(Lock([right])))
    (tmp_path / "wrong.lock").write_bytes(write_lock(Lock([right, wrong])))
    assert "1 sources, 1 blobs" in bundle("export", "--lock", "right.lock", "-o", "b")[1]
    status, _, complaint = bundle("export", "--lock", "wrong.lock", "-o", "c")
    assert (status, f"1 of what is asked for is not held: {LARGE}" in complaint) == (1, True)
    status, _, complaint = bundle("export", "--lock", "none.lock", "-o", "c")
    assert (status, "none.lock cannot be read" in complaint) == (1, True)
