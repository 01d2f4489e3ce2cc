"""torch.hub behind the proxy: what torchvision's and timm's weights go through."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.hub

from fakes.upstream import Upstream
from zooproxy.client import hub
from zooproxy.client.hooks import install, uninstall

URL = "https://download.pytorch.org/models/net-{}.pth"


@pytest.fixture
def torch_hub() -> Iterator[Any]:
    install(["torch.hub"])
    yield torch.hub
    uninstall(["torch.hub"])
    assert torch.hub.load_state_dict_from_url.__module__ == "torch.hub"


def test_install_replaces_what_others_imported_and_uninstall_puts_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = types.ModuleType("library_with_weights")
    library.load_url = before = torch.hub.load_state_dict_from_url
    library.unrelated = os.getcwd
    monkeypatch.setitem(sys.modules, "library_with_weights", library)
    assert install(["torch.hub"]) == install(["torch.hub"]) == ["torch.hub"]
    assert library.load_url is torch.hub.load_state_dict_from_url is hub.load_state_dict_from_url
    assert uninstall(["torch.hub"]) == ["torch.hub"]
    assert uninstall(["torch.hub"]) == []
    assert library.load_url is torch.hub.load_state_dict_from_url is before
    assert library.unrelated is os.getcwd


def test_load_state_dict_from_url_comes_through_the_proxy(proxy: Any, torch_hub: Any, tmp_path: Path) -> None:
    url = URL.format("12345678")
    index = proxy.publish(url, {"model": {"w": torch.ones(3)}, "epoch": 4}, texts=["it is old"])
    loaded = torch_hub.load_state_dict_from_url(url, str(tmp_path / "dir"), progress=False)
    assert (loaded["model"]["w"].tolist(), loaded["epoch"]) == ([1, 1, 1], 4)
    assert "variant=full" in proxy.requests[0][0]
    assert not (tmp_path / "dir").exists()
    with pytest.raises(RuntimeError, match=f'expected "12345678", got "{index.blob}"'):
        torch_hub.load_state_dict_from_url(url, check_hash=True)
    named = URL.format(index.blob[:8])
    proxy.publish(named, {"model": {"w": torch.ones(3)}, "epoch": 4})
    assert torch_hub.load_state_dict_from_url(named, check_hash=True)["epoch"] == 4


def test_download_url_to_file_comes_through_the_proxy(proxy: Any, torch_hub: Any, tmp_path: Path) -> None:
    url = URL.format("x")
    proxy.files[url, "raw"] = b"the published bytes"
    torch_hub.download_url_to_file(url, str(tmp_path / "net.pth"), progress=False)
    assert (tmp_path / "net.pth").read_bytes() == b"the published bytes"
    with pytest.raises(RuntimeError, match="invalid hash value"):
        torch_hub.download_url_to_file(url, str(tmp_path / "other.pth"), hash_prefix="00000000")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["net.pth"]


def test_urls_that_name_no_weights_are_torchs_own_business(
    proxy: Any, torch_hub: Any, upstream: Upstream, tmp_path: Path
) -> None:
    url = upstream.put("/archive/main.zip", b"a repository")
    torch_hub.download_url_to_file(url, str(tmp_path / "main.zip"), progress=False)
    assert (tmp_path / "main.zip").read_bytes() == b"a repository"
    file = io.BytesIO()
    torch.save({"w": 1}, file)
    odd = upstream.put("/weights?id=5", file.getvalue())
    assert torch_hub.load_state_dict_from_url(odd, str(tmp_path), progress=False, file_name="five") == {"w": 1}
    assert proxy.requests == []


# -- zooproxy run -----------------------------------------------------------------------------------------

CHILD = """
import subprocess, sys
if len(sys.argv) == 2:
    raise SystemExit(subprocess.run([sys.executable, __file__, sys.argv[1], 'grandchild']).returncode)
assert 'torch' not in sys.modules and 'zooproxy.client.hooks' not in sys.modules
from torch.hub import load_state_dict_from_url
print(load_state_dict_from_url(sys.argv[1])['w'].tolist(), __import__('torch').hub.__spec__.loader.__class__.__name__)
"""


def zooproxy(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zooproxy", *arguments]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


def test_run_hooks_an_unchanged_script_and_its_children(proxy: Any, tmp_path: Path) -> None:
    url = URL.format("x")
    proxy.publish(url, {"w": torch.ones(2)})
    script = tmp_path / "train.py"
    script.write_text(CHILD)
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("print('own')")
    done = zooproxy("run", str(script), url, PYTHONPATH=str(own))
    assert (done.returncode, done.stdout.split("\n")[-2]) == (0, "[1.0, 1.0] SourceFileLoader"), done.stderr
    assert done.stdout.count("own") == 3  # of zooproxy itself, of the script and of its child


def test_run_hands_on_the_programs_own_status_and_arguments(proxy: Any) -> None:
    done = zooproxy("run", "--", sys.executable, "-c", "import sys; sys.exit(len(sys.argv))", "-x", "--", "y")
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        ((), {}, "needs a program"),
        (("no-such-program-here",), {}, "cannot be run: No such file"),
        (("x.py",), {"ZOOPROXY": ""}, "export ZOOPROXY"),
    ],
)
def test_run_that_cannot_start_says_why(proxy: Any, arguments: Any, environ: dict[str, str], told: str) -> None:
    done = zooproxy("run", *arguments, **environ)
    assert done.returncode == 1
    assert told in done.stderr
