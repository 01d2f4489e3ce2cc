"""``zooproxy bundle``, as an operator runs it beside a proxy that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import running_upstream
from zooproxy.cli import main

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
        assert proxy.get("/v1/tensors", REF).status_code == 200
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
