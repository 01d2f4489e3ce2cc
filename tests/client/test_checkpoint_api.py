"""The rest of ``mmengine.runner.checkpoint``, side by side with mmengine's own; and where ours is better on purpose."""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
import types
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zooproxy.client import checkpoint as ours
from zooproxy.errors import (
    MalformedCheckpoint,
    NameRefused,
    NothingSelected,
    ProxyNotConfigured,
    ProxyRefused,
    UnsupportedFormat,
)
from zooproxy.wire.plain import Inert

PUBLIC = [
    "CheckpointLoader",
    "load_from_local",
    "load_from_http",
    "load_from_pavi",
    "load_from_ceph",
    "load_from_torchvision",
    "load_from_openmmlab",
    "load_from_mmcls",
    "load_state_dict",
    "load_checkpoint",
    "_load_checkpoint",
    "_load_checkpoint_with_prefix",
    "_load_checkpoint_to_model",
    "weights_to_cpu",
    "get_state_dict",
    "save_checkpoint",
    "find_latest_checkpoint",
    "get_torchvision_models",
    "get_external_models",
    "get_mmcls_models",
    "get_deprecated_model_names",
    "_process_mmcls_checkpoint",
    "_save_to_state_dict",
    "_get_mmengine_home",
    "ENV_MMENGINE_HOME",
    "ENV_XDG_CACHE_HOME",
    "DEFAULT_CACHE_DIR",
    "_IncompatibleKeys",
]

FILENAMES = [
    "http://a/x",
    "https://a/x",
    "modelzoo://x",
    "torchvision://x",
    "open-mmlab://x",
    "openmmlab://x",
    "mmcls://x",
    "pavi://x",
    "s3://x",
    "ss3://x",
    "open-mmlab:s3://x",
    "openmmlabs3://x",
    ":s3://x",
    "petrel://x",
    "c:petrel://x",
    "Torchvision//x",
    "file.pth",
    "ftp://x",
]


@pytest.fixture(params=["ours", "theirs"])
def module(request: Any, mmengine_checkpoint: Any) -> Any:
    """Each in turn: what holds for one has to hold for the other."""
    return ours if request.param == "ours" else mmengine_checkpoint


@pytest.fixture
def loader(module: Any) -> Iterator[Any]:
    before = module.CheckpointLoader._schemes.copy()
    yield module.CheckpointLoader
    module.CheckpointLoader._schemes = before


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def net() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.DataParallel(nn.Linear(2, 2)))
    model.register_buffer("hidden", torch.ones(1), persistent=False)
    return model


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return type(first) is type(second) and all(map(same, first, second))
    return bool(first == second)


def test_the_module_has_every_name_of_mmengines(mmengine_checkpoint: Any) -> None:
    assert [name for name in PUBLIC if not hasattr(ours, name)] == []
    assert [name for name in PUBLIC if not hasattr(mmengine_checkpoint, name)] == []


@pytest.mark.parametrize("filename", FILENAMES)
def test_the_registry_picks_the_loader_that_mmengines_picks(mmengine_checkpoint: Any, filename: str) -> None:
    theirs = mmengine_checkpoint.CheckpointLoader._get_checkpoint_loader(filename).__name__
    assert ours.CheckpointLoader._get_checkpoint_loader(filename).__name__ == theirs


def test_the_registry_sends_names_of_other_zoos_to_the_proxy() -> None:
    assert ours.CheckpointLoader._get_checkpoint_loader("mmdet://x") is ours.load_from_zoo


def test_register_scheme_takes_functions_and_decorators_and_prefers_the_longer(loader: Any, capsys: Any) -> None:
    @loader.register_scheme(prefixes=["x/y", "x/z"])
    def load_from_short(filename: str, map_location: Any) -> Any:
        return ("short", filename, map_location)

    def load_from_long(filename: str, map_location: Any) -> Any:
        return ("long", filename, map_location)

    loader.register_scheme("x/y/z", load_from_long)
    assert loader.load_checkpoint("x/y/z/1", "cpu", None) == ("long", "x/y/z/1", "cpu")
    assert loader.load_checkpoint("x/y/1", logger=None) == ("short", "x/y/1", None)
    assert capsys.readouterr().out.splitlines() == [
        "Loads checkpoint by long backend from path: x/y/z/1",
        "Loads checkpoint by short backend from path: x/y/1",
    ]
    with pytest.raises(KeyError, match="already registered"):
        loader.register_scheme("x/y", load_from_long)
    loader.register_scheme("x/y", load_from_long, force=True)
    assert loader.load_checkpoint("x/y/1", logger="silent")[0] == "long"
    with pytest.raises(AssertionError):
        loader.register_scheme({"x": 1}, load_from_long)


def test_register_scheme_that_clashes_registers_nothing() -> None:
    before = list(ours.CheckpointLoader._schemes)
    with pytest.raises(KeyError):
        ours.CheckpointLoader.register_scheme(["new://", "mmcls://"], ours.load_from_http)
    assert list(ours.CheckpointLoader._schemes) == before


# -- files of this machine --------------------------------------------------------------------------------


def values() -> dict[str, Any]:
    weight = torch.arange(12.0).reshape(3, 4)
    state = OrderedDict(a=weight, tied=weight, view=weight.t()[1:], none=torch.empty(0, 2), half=torch.ones(3).half())
    return {"state_dict": state, "meta": {"epoch": 3, "t": (1, 2.5, None)}, "optimizer": {"state": [torch.ones(2)]}}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_load_from_local_gives_what_mmengines_gives(mmengine_checkpoint: Any, tmp_path: Path, legacy: bool) -> None:
    path = str(tmp_path / "x.pth")
    torch.save(values(), path, _use_new_zipfile_serialization=not legacy)
    mine, theirs = ours.load_from_local(path), mmengine_checkpoint.load_from_local(path, None)
    assert same(mine, theirs)
    state = mine["state_dict"]
    assert state["a"].data_ptr() == state["tied"].data_ptr()
    assert state["view"].stride() == theirs["state_dict"]["view"].stride()
    state["a"][0, 0] = 7.0  # the memory is the caller's, and no file's
    assert torch.load(path)["state_dict"]["a"][0, 0] == 0


def test_load_from_local_understands_the_home_directory(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"w": torch.ones(2)}, tmp_path / "x.pth")
    assert module.load_from_local("~/x.pth", None)["w"].tolist() == [1, 1]
    with pytest.raises(FileNotFoundError, match=r"absent\.pth can not be found"):
        module.load_from_local("~/absent.pth", None)


class Labelled(torch.Tensor):
    """A subclass that no reader without its class can rebuild."""


class Gadget:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_load_from_local_executes_nothing_unless_it_is_trusted(tmp_path: Path, capsys: Any) -> None:
    ran = tmp_path / "ran"
    path = str(tmp_path / "x.pth")
    torch.save({"state_dict": {"weight": torch.ones(1, 1), "bias": torch.ones(1)}, "gadget": Gadget(ran)}, path)
    loaded = ours.load_checkpoint(nn.Linear(1, 1), path, strict=True)
    assert isinstance(loaded["gadget"], Inert)
    assert not ran.exists()
    ours.load_checkpoint(nn.Linear(1, 1), path, strict=True, trust=True)
    assert ran.exists()
    assert capsys.readouterr().out.count(f"Loads checkpoint by local backend from path: {path}\n") == 2


def test_load_from_local_reads_what_mmengines_own_runner_writes(mmengine_checkpoint: Any, tmp_path: Path) -> None:
    from mmengine.logging import HistoryBuffer

    path = str(tmp_path / "epoch_1.pth")
    history = HistoryBuffer([1.0], [1])
    mmengine_checkpoint.save_checkpoint({"state_dict": {"w": torch.ones(2)}, "message_hub": {"loss": history}}, path)
    with pytest.raises(Exception, match="weights_only"):
        mmengine_checkpoint.load_from_local(path, None)
    loaded = ours.load_from_local(path)
    assert loaded["state_dict"]["w"].tolist() == [1, 1]
    resumed = loaded["message_hub"]["loss"]
    resumed.update(3.0)
    assert type(resumed) is HistoryBuffer
    assert [column.tolist() for column in resumed.data] == [[1.0, 3.0], [1, 1]]
    assert (resumed.statistics("mean"), resumed.max_length) == (2.0, history.max_length)


def test_load_from_local_rebuilds_sparse_tensors_and_runs_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "x.pth")
    torch.save({"w": torch.eye(3).to_sparse(), "gadget": Gadget(tmp_path / "ran")}, path)
    loaded = ours.load_from_local(path)
    assert loaded["w"].to_dense().equal(torch.eye(3))
    assert isinstance(loaded["gadget"], Inert)
    assert not (tmp_path / "ran").exists()


def test_load_from_local_leaves_what_it_does_not_know_to_torchs_restricted_reader(tmp_path: Path) -> None:
    path = str(tmp_path / "x.pth")
    torch.save({"w": Labelled(torch.ones(2))}, path)
    with pytest.raises(UnsupportedFormat, match="trust=True"):
        ours.load_from_local(path)
    with torch.serialization.safe_globals([Labelled, torch._tensor._rebuild_from_type_v2]):
        assert type(ours.load_from_local(path)["w"]) is Labelled


def test_load_from_local_of_a_damaged_file_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MalformedCheckpoint):
        ours.load_from_local(str(path))


# -- names ------------------------------------------------------------------------------------------------


def test_the_maps_are_mmengines(mmengine_checkpoint: Any, home: Path) -> None:
    for name in ("get_external_models", "get_mmcls_models", "get_deprecated_model_names"):
        assert list(getattr(ours, name)().items()) == list(getattr(mmengine_checkpoint, name)().items())
    import mmengine

    legacy = json.loads((Path(mmengine.__path__[0]) / "hub/torchvision_0.12.json").read_text())
    models = ours.get_torchvision_models()
    assert (len(models), list(models.items())[: len(legacy)]) == (250, list(legacy.items()))


@pytest.mark.parametrize("variable", ["MMENGINE_HOME", "XDG_CACHE_HOME", None])
def test_the_home_directory_is_mmengines(
    mmengine_checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in ("MMENGINE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable or "HOME", str(tmp_path))
    home = Path(ours._get_mmengine_home())
    assert home.is_dir()
    assert tmp_path in (home, *home.parents)
    assert str(home) == mmengine_checkpoint._get_mmengine_home()


def test_the_users_own_names_come_before_the_proxys(proxy: Any, home: Path, capsys: Any, caplog: Any) -> None:
    home.mkdir()
    torch.save({"w": torch.ones(1)}, home / "mine.pth")
    own = {"mine": "mine.pth", "far": "https://a/far.pth", "gone": "gone.pth"}
    own["resnet50_caffe_bgr"] = own["detectron2/resnet50_caffe_bgr"] = "mine.pth"
    (home / "open_mmlab.json").write_text(json.dumps(own))
    proxy.publish("https://a/far.pth", {"w": torch.zeros(1)})
    proxy.publish("openmmlab://other", {"w": torch.full((1,), 2.0)})
    names = ["mine", "far", "other", "resnet50_caffe_bgr"]
    assert [ours._load_checkpoint(f"openmmlab://{name}", logger="silent")["w"].item() for name in names] == [1, 0, 2, 1]
    assert ours.get_external_models()["mine"] == "mine.pth"
    with pytest.raises(FileNotFoundError, match="can not be found"):
        ours._load_checkpoint("open-mmlab://gone", logger="silent")
    (home / "open_mmlab.json").write_text("[]")
    with pytest.raises(AssertionError, match="no mapping"):
        ours.get_external_models()


def test_an_unknown_name_is_a_key_error_with_a_sentence(proxy: Any) -> None:
    with pytest.raises(KeyError) as caught:
        ours.load_from_mmcls("mmcls://nothing")
    assert isinstance(caught.value, NameRefused)
    assert str(caught.value) == "no model is named mmcls://nothing"


def test_what_the_proxy_warns_of_goes_to_the_logger_as_with_mmengine(proxy: Any, home: Path) -> None:
    said: list[Any] = []
    stand_in = served_as("zooproxy_stand_in")
    stand_in.print_log = lambda *args, **options: said.append((args, options))
    proxy.publish("openmmlab://old", {"w": torch.ones(1)}, texts=["old is deprecated"])
    stand_in.load_from_openmmlab("openmmlab://old")
    assert said == [(("old is deprecated",), {"logger": "current", "level": logging.WARNING})]


def served_as(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, str(ours.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_served_under_another_name_looks_up_its_own_globals(proxy: Any, home: Path) -> None:
    stand_in = served_as("mmengine_runner_checkpoint")
    stand_in.load_from_http = lambda filename, map_location=None: f"url:{filename}"
    stand_in.print_log = lambda *args, **options: None
    assert stand_in._load_checkpoint("torchvision://resnet50") == "url:torchvision://resnet50"
    assert stand_in._load_checkpoint("mmcls://vgg16") == "url:mmcls://vgg16"
    assert stand_in.CheckpointLoader is not ours.CheckpointLoader


# -- parts of a checkpoint --------------------------------------------------------------------------------


def test_load_checkpoint_with_prefix_does_what_mmengines_does(module: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "x.pth")
    torch.save({"state_dict": {"backbone.w": torch.ones(2), "head.w": torch.ones(1)}}, path)
    found = module._load_checkpoint_with_prefix("backbone", path)
    assert type(found) is dict
    assert same(found, {"w": torch.ones(2)})
    with pytest.raises(AssertionError, match=r"neck\. is not in the pretrained model"):
        module._load_checkpoint_with_prefix("neck", path)


def test_load_checkpoint_with_prefix_asks_the_proxy_for_the_prefix_only(proxy: Any, home: Path, capsys: Any) -> None:
    proxy.publish("torchvision://x", {"w": torch.ones(2)}, prefix="backbone.")
    assert same(ours._load_checkpoint_with_prefix("backbone", "torchvision://x"), {"w": torch.ones(2)})
    assert capsys.readouterr().out == "Loads checkpoint by torchvision backend from path: torchvision://x\n"
    refuse = lambda handler: handler.problem(422, NothingSelected.slug, "nothing there")  # noqa: E731
    proxy.misbehaviours["tensors"].append(refuse)
    with pytest.raises(AssertionError, match=r"neck\. is not in the pretrained model"):
        ours._load_checkpoint_with_prefix("neck", "https://a/x.pth")
    with pytest.raises(ProxyRefused):
        ours._load_checkpoint_with_prefix("neck", "https://a/unknown.pth")


@pytest.mark.parametrize("wrapped", [True, False])
def test_process_mmcls_checkpoint_does_what_mmengines_does(module: Any, wrapped: bool) -> None:
    state = OrderedDict([("backbone.w", torch.ones(1)), ("head.w", torch.ones(2))])
    processed = module._process_mmcls_checkpoint({"state_dict": state, "meta": 1} if wrapped else state)
    assert type(processed["state_dict"]) is OrderedDict
    assert same(processed, {"state_dict": OrderedDict(w=torch.ones(1))})


def test_process_mmcls_checkpoint_without_a_backbone_is_refused_not_emptied(mmengine_checkpoint: Any) -> None:
    assert mmengine_checkpoint._process_mmcls_checkpoint({"head.w": 1}) == {"state_dict": OrderedDict()}
    with pytest.raises(NothingSelected, match="backbone"):
        ours._process_mmcls_checkpoint({"head.w": 1})


# -- out of a model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_vars", [False, True])
def test_get_state_dict_does_what_mmengines_does(mmengine_checkpoint: Any, keep_vars: bool) -> None:
    model = nn.DataParallel(net())
    model.module._register_state_dict_hook(lambda module, state, prefix, local: state.update(extra=prefix))
    model.module[0]._register_state_dict_hook(lambda module, state, prefix, local: state)
    mine, theirs = (each.get_state_dict(model, keep_vars=keep_vars) for each in (ours, mmengine_checkpoint))
    assert type(mine) is type(theirs)
    assert same(mine, theirs)
    assert mine._metadata == theirs._metadata
    assert mine["0.weight"].requires_grad is keep_vars


def test_save_to_state_dict_does_what_mmengines_does(mmengine_checkpoint: Any) -> None:
    mine: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for module in net().modules():
        ours._save_to_state_dict(module, mine, "p.", False)
        mmengine_checkpoint._save_to_state_dict(module, theirs, "p.", False)
    assert mine
    assert same(mine, theirs)


def test_weights_to_cpu_does_what_mmengines_does(mmengine_checkpoint: Any) -> None:
    pair = namedtuple("pair", "first second")
    state: Any = OrderedDict(w=torch.ones(2), nested={"l": [torch.ones(1), 5]}, pair=pair(torch.ones(1), None))
    state._metadata = OrderedDict({"": {"version": 1}})
    mine, theirs = ours.weights_to_cpu(state), mmengine_checkpoint.weights_to_cpu(state)
    assert same(mine, theirs)
    assert mine._metadata == theirs._metadata == state._metadata
    assert type(mine["pair"]) is pair


@pytest.mark.parametrize(
    "options", [{}, {"backend_args": {"backend": "local"}}, {"file_client_args": {"backend": "disk"}}]
)
def test_save_checkpoint_does_what_mmengines_does(module: Any, tmp_path: Path, options: Any) -> None:
    path = tmp_path / "made" / "x.pth"
    module.save_checkpoint(values(), str(path), **options)
    assert same(torch.load(path), values())
    with pytest.raises(ValueError, match="cannot be set at the same time"):
        module.save_checkpoint({}, str(path), {"backend": "disk"}, {"backend": "local"})
    with pytest.raises(ValueError, match="pavi://"):
        module.save_checkpoint({}, "pavi://x", **(options or {"backend_args": {}}))
    with pytest.raises(ImportError, match="pavi"):
        module.save_checkpoint({}, "pavi://x")


def test_find_latest_checkpoint_does_what_mmengines_does(module: Any, tmp_path: Path, capsys: Any) -> None:
    assert module.find_latest_checkpoint(str(tmp_path)) is None
    assert capsys.readouterr().out == "Did not find last_checkpoint to be resumed.\n"
    (tmp_path / "last_checkpoint").write_text("epoch_3.pth\n")
    assert module.find_latest_checkpoint(str(tmp_path)) == "epoch_3.pth"


def test_models_on_the_meta_device_are_given_the_tensors(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    saved = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).state_dict()
    ours.load_state_dict(model, saved, strict=True)
    assert same(model.state_dict(), saved)
    assert all(parameter.requires_grad for parameter in model.parameters())


# -- without mmengine, without a proxy --------------------------------------------------------------------


class PaviModel:
    name = "x.pth"

    def download(self, path: str) -> None:
        torch.save({"w": torch.ones(1)}, path)

    def create_file(self, path: str, name: str) -> None:
        self.created = (torch.load(path), name)


@pytest.fixture
def pavi(monkeypatch: pytest.MonkeyPatch) -> PaviModel:
    """The pavi package in the shape that mmengine uses; the real one is SenseTime's own."""
    model = PaviModel()

    class NodeNotFoundError(Exception):
        pass

    def get(path: str) -> PaviModel:
        if path == "new":
            raise NodeNotFoundError
        return model

    package: Any = types.ModuleType("pavi")
    folder = type("Folder", (), {"create_training_model": lambda self, name: model})
    package.modelcloud = types.SimpleNamespace(get=get, Folder=folder)
    package.exception = types.SimpleNamespace(NodeNotFoundError=NodeNotFoundError)
    monkeypatch.setitem(sys.modules, "pavi", package)
    monkeypatch.delenv("ZOOPROXY", raising=False)
    return model


def test_pavi_paths_use_the_pavi_package_where_no_proxy_is_named(module: Any, pavi: PaviModel) -> None:
    assert module.load_from_pavi("pavi://folder/x.pth")["w"].tolist() == [1]
    for folder in ("old", "new"):
        module.save_checkpoint({"epoch": 1}, f"pavi://{folder}/y.pth")
        assert pavi.created == ({"epoch": 1}, "y.pth")
    with pytest.raises(AssertionError):
        module.load_from_pavi("folder/x.pth")


def test_objects_use_mmengines_backend_where_no_proxy_is_named(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOOPROXY", raising=False)
    torch.save({"w": torch.ones(1)}, tmp_path / "x.pth")
    assert module.load_from_ceph(str(tmp_path / "x.pth"), backend="local")["w"].tolist() == [1]


def test_urls_without_a_proxy_say_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOOPROXY", raising=False)
    with pytest.raises(ProxyNotConfigured, match="export ZOOPROXY"):
        ours.load_from_http("https://a/x.pth")


WITHOUT_MMENGINE = """
import sys, pathlib, pytest
sys.modules['mmengine'] = None
from zooproxy.client import checkpoint
checkpoint.save_checkpoint({'w': 1}, 'made/x.pth')
assert checkpoint.load_from_local('made/x.pth') == {'w': 1}
assert [path.name for path in pathlib.Path('made').iterdir()] == ['x.pth']
for arguments in (('s3://b/x.pth',), ('x.pth', {'backend': 'petrel'}), ('x.pth', None, {'backend': 'petrel'})):
    with pytest.raises(ImportError, match='mmengine'):
        checkpoint.save_checkpoint({}, *arguments)
assert len(checkpoint.get_mmcls_models()) == 57
"""


def test_the_module_works_with_no_mmengine_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MMENGINE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
