"""mmengine's and mmcv's registries behind the proxy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from zooproxy.client.hooks import PREFIXES, install, uninstall
from zooproxy.names.zoos import ZOO_OF_SCHEME

SCHEMES = ["http://a/x.pth", "https://a/x.pth", "torchvision://a", "modelzoo://a", "open-mmlab://a", "openmmlab://a"]
SCHEMES += ["mmcls://a", "pavi://a", "s3://b/k", "cluster:s3://b/k", "petrel://b/k", "cluster:petrel://b/k"]


@pytest.fixture
def registry(mmengine_checkpoint: Any) -> Iterator[Any]:
    """mmengine's own CheckpointLoader, put back as it was."""
    loader = mmengine_checkpoint.CheckpointLoader
    before = list(loader._schemes.items())
    yield loader
    uninstall()
    assert list(loader._schemes.items()) == before or "https://mine.example/" in loader._schemes
    loader._schemes = OrderedDict(before)


def test_uninstall_puts_the_registry_back(registry: Any) -> None:
    before = list(registry._schemes.items())
    assert uninstall() == []
    install()
    install()
    assert uninstall() == ["mmengine.runner", "torch.hub"]
    assert list(registry._schemes.items()) == before
    assert not hasattr(registry, "_before_zooproxy")


def test_uninstall_leaves_what_somebody_else_registered_since(registry: Any) -> None:
    def load_from_theirs(filename: str, map_location: Any = None) -> Any:
        return filename

    before = registry._schemes["https://"]
    install()
    registry.register_scheme("https://", load_from_theirs, force=True)
    uninstall()
    assert registry._schemes["https://"] is load_from_theirs
    assert registry._schemes["http://"].__module__ == "mmengine.runner.checkpoint"
    registry.register_scheme("https://", before, force=True)


@pytest.mark.parametrize("ref", SCHEMES)
def test_install_sends_every_scheme_of_mmengine_through_the_proxy(
    proxy: Any, registry: Any, mmengine_checkpoint: Any, ref: str
) -> None:
    proxy.publish(ref, {"weight": torch.full((2, 2), 5.0), "bias": torch.ones(2)})
    assert "mmengine.runner" in install()
    model = torch.nn.Linear(2, 2)
    mmengine_checkpoint.load_checkpoint(model, ref, map_location="cpu", strict=True)
    assert model.weight.tolist() == [[5, 5], [5, 5]]


def test_install_covers_exactly_the_prefixes_that_mmengine_has_but_local_files(registry: Any) -> None:
    theirs = set(registry._schemes) - {""}
    local = registry._schemes[""]
    assert theirs <= set(PREFIXES)
    install()
    zoos = {f"{scheme}://" for scheme in ZOO_OF_SCHEME}
    assert set(registry._schemes) == theirs | zoos | {"", "s3://"}
    assert registry._schemes[""] is local
    assert list(registry._schemes)[-1] == ""
    names = {prefix: loader.__name__ for prefix, loader in registry._schemes.items()}
    assert all(re.fullmatch(r"load_from_[a-z]+", name) for name in names.values())
    assert all(isinstance(loader, types.FunctionType) for loader in registry._schemes.values())


def test_install_keeps_mmengines_backend_names_for_its_log(registry: Any) -> None:
    before = {ref: registry._get_checkpoint_loader(ref).__name__ for ref in SCHEMES}
    install()
    assert {ref: registry._get_checkpoint_loader(ref).__name__ for ref in SCHEMES} == before


def test_install_twice_is_install_once(registry: Any) -> None:
    install()
    once = list(registry._schemes.items())
    install()
    assert list(registry._schemes.items()) == once


def test_install_leaves_local_files_and_users_own_schemes_alone(proxy: Any, registry: Any, tmp_path: Path) -> None:
    def load_from_mine(filename: str, map_location: Any = None) -> Any:
        return {"mine": filename}

    registry.register_scheme("https://mine.example/", load_from_mine)
    install()
    path = tmp_path / "local.pth"
    torch.save({"w": torch.ones(1)}, path)
    assert registry.load_checkpoint(str(path), logger="silent")["w"].tolist() == [1]
    assert registry.load_checkpoint("https://mine.example/x", logger="silent") == {"mine": "https://mine.example/x"}
    assert proxy.requests == []


def test_installed_loaders_log_warnings_and_pass_map_location_on(proxy: Any, registry: Any, capsys: Any) -> None:
    from mmengine.logging import MMLogger

    proxy.publish("openmmlab://old", {"w": torch.ones(1)}, texts=["openmmlab://old is deprecated"])
    install()
    MMLogger.get_instance("zooproxy-warnings", log_level="INFO")
    loaded = registry.load_checkpoint("openmmlab://old", map_location="meta", logger="silent")
    assert loaded["w"].device.type == "meta"
    said = capsys.readouterr()
    assert "openmmlab://old is deprecated" in said.out + said.err


def test_a_config_with_custom_imports_installs_into_mmengine(proxy: Any, tmp_path: Path) -> None:
    proxy.publish("torchvision://resnet50", {"weight": torch.zeros(1, 1), "bias": torch.ones(1)})
    config = tmp_path / "config.py"
    config.write_text("custom_imports = dict(imports=['zooproxy.mmengine'])\n")
    program = f"""
import torch
from mmengine.config import Config
Config.fromfile({str(config)!r})
from mmengine.runner import load_checkpoint
model = torch.nn.Linear(1, 1)
load_checkpoint(model, 'torchvision://resnet50', strict=True)
assert model(torch.ones(1)).item() == 1
import zooproxy.mmengine, mmengine
assert mmengine is not zooproxy.mmengine and mmengine.__version__
"""
    assert run(program, ZOOPROXY=proxy.base).returncode == 0
    assert proxy.paths == ["tensors", "blobs"]


# -- other registries -------------------------------------------------------------------------------------

MMCV_1 = """
import re

class CheckpointLoader:
    _schemes = {}

    @classmethod
    def register_scheme(cls, prefixes, loader=None, force=False):
        for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
            if prefix in cls._schemes and not force:
                raise KeyError(prefix)
            cls._schemes[prefix] = loader
        cls._schemes = dict(sorted(cls._schemes.items(), reverse=True))

    @classmethod
    def load_checkpoint(cls, filename, map_location=None):
        loader = next(cls._schemes[prefix] for prefix in cls._schemes if {matches})
        return loader(filename, map_location)

CheckpointLoader.register_scheme('', lambda filename, map_location: 'local')
CheckpointLoader.register_scheme(['s3://', 'torchvision://'], lambda filename, map_location: 'original')
"""


@pytest.mark.parametrize("matches", ["re.match(prefix, filename)", "filename.startswith(prefix)"])
def test_install_reaches_a_registry_of_mmcv_1(
    proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matches: str
) -> None:
    """The contract of mmcv 1.x's registry, written out here: mmcv itself needs torchvision even to be imported."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text("")
    (tmp_path / "mmcv" / "runner.py").write_text(MMCV_1.replace("{matches}", matches))
    monkeypatch.syspath_prepend(tmp_path)
    for ref in ("torchvision://resnet50", "s3://bucket/key"):
        proxy.publish(ref, {"w": torch.ones(1)})
    try:
        assert install(["mmcv.runner"]) == ["mmcv.runner"]
        from mmcv.runner import CheckpointLoader

        for ref in ("torchvision://resnet50", "s3://bucket/key"):
            assert CheckpointLoader.load_checkpoint(ref)["w"].tolist() == [1]
        assert CheckpointLoader.load_checkpoint("local.pth") == "local"
    finally:
        for name in ("mmcv.runner", "mmcv"):
            sys.modules.pop(name, None)


def test_install_without_any_registry_says_what_is_missing_and_what_to_do() -> None:
    done = run(
        "import sys; sys.modules.update(mmengine=None, mmcv=None, torch=None)\nimport zooproxy; zooproxy.install()"
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: neither mmengine nor mmcv 1.x can be imported")
    assert "zooproxy.load_checkpoint(model, ref) needs neither" in last
    assert "mmengine.runner: No module named" in last


def test_install_passes_over_a_package_that_breaks_when_imported(
    registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "raise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "zooproxy_broken_package.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    assert install(["zooproxy_broken_package", "mmengine.runner"]) == ["mmengine.runner"]
    with pytest.raises(ImportError, match="torchvision::nms"):
        install(["zooproxy_broken_package"])


def test_install_into_a_module_without_a_registry_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="CheckpointLoader"):
        install(["json"])  # as mmcv 2, which has a runner no more


# -- what importing costs ---------------------------------------------------------------------------------


def run(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("ZOOPROXY", "ZOOPROXY_TOKEN")}
    return subprocess.run(
        [sys.executable, "-c", program], env={**clean, **environ}, capture_output=True, text=True, check=False
    )


def test_the_client_imports_no_torch_until_it_loads() -> None:
    done = run("import sys, zooproxy.client.checkpoint, zooproxy.client.hooks; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_load_with_zooproxy_unset_says_how_to_set_it() -> None:
    done = run("import zooproxy; zooproxy.load('torchvision://resnet50')")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("zooproxy.errors.ProxyNotConfigured: ")
    assert "export ZOOPROXY=http://cache.lan:8765" in last


def test_the_package_offers_its_three_functions() -> None:
    import zooproxy
    from zooproxy.client import checkpoint, hooks, loader

    assert zooproxy.load is loader.load
    assert zooproxy.load_checkpoint is checkpoint.load_checkpoint
    assert zooproxy.install is hooks.install
