"""``load_checkpoint`` and ``load_state_dict`` side by side with mmengine's own, on the same inputs."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zooproxy.client.checkpoint import load_checkpoint, load_state_dict
from zooproxy.client.log import print_log

REF = "torchvision://resnet50"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.register_module("none", None)
        self.head = nn.Linear(4, 2, bias=False)


class Wrapper(nn.Module):
    """A module that mmengine's registry may know as a wrapper."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def trained() -> OrderedDict[str, torch.Tensor]:
    torch.manual_seed(3)
    net = Net()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.state_dict()


def outcome(capsys: Any, model: nn.Module, call: Callable[[nn.Module], Any]) -> tuple[Any, ...]:
    """What a call leaves behind: the model's tensors, what it printed, what it raised."""
    raised = None
    try:
        call(model)
    except Exception as error:  # noqa: BLE001  # whatever it is, both have to raise it
        raised = (type(error), str(error))
    tensors = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    return tensors, capsys.readouterr().out, raised


def _renamed(change: Callable[[str], str]) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((change(name), tensor) for name, tensor in trained().items())


def _without(*names: str, **more: Any) -> OrderedDict[str, Any]:
    kept = OrderedDict((name, tensor) for name, tensor in trained().items() if name not in names)
    kept.update(more)
    return kept


CHECKPOINTS: dict[str, Any] = {
    "exact": trained(),
    "wrapped": {"state_dict": trained(), "meta": {"epoch": 1}},
    "module prefix": _renamed("module.{}".format),
    "missing": _without("head.weight", "stem.0.bias"),
    "missing batches": _without("stem.1.num_batches_tracked"),
    "unexpected": _without(extra=torch.ones(2), other=torch.ones(1)),
    "shape": _without("head.weight", **{"head.weight": torch.ones(5, 4)}),
    "all at once": _without("stem.0.bias", "head.weight", extra=torch.ones(2), **{"head.weight": torch.ones(1)}),
    "no tensor": _without("head.weight", **{"head.weight": "text"}),
    "empty": OrderedDict(),
}


@pytest.fixture(params=[False, True], ids=["lenient", "strict"])
def strict(request: Any) -> bool:
    return request.param


@pytest.fixture(params=[[(r"^module\.", "")], [], [(r"^stem\.", "x."), (r"^x\.", "stem."), ("head", "tail")]], ids=len)
def revise_keys(request: Any) -> list[tuple[str, str]]:
    return request.param


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_load_checkpoint_does_what_mmengine_does(
    proxy: Any, mmengine_checkpoint: Any, capsys: Any, name: str, strict: bool, revise_keys: Any, tmp_path: Path
) -> None:
    checkpoint = CHECKPOINTS[name]
    proxy.publish(REF, checkpoint)
    path = str(tmp_path / "local.pth")
    torch.save(checkpoint, path)
    options = {"strict": strict, "revise_keys": revise_keys}
    model = Net()
    ours = outcome(capsys, copy.deepcopy(model), lambda m: load_checkpoint(m, REF, **options))
    theirs = outcome(capsys, copy.deepcopy(model), lambda m: mmengine_checkpoint.load_checkpoint(m, path, **options))
    line = f"Loads checkpoint by local backend from path: {path}"
    assert ours[1] == theirs[1].replace(line, f"Loads checkpoint by torchvision backend from path: {REF}")
    assert (ours[0], ours[2]) == (theirs[0], theirs[2])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_load_state_dict_does_what_mmengine_does(
    mmengine_checkpoint: Any, capsys: Any, name: str, strict: bool
) -> None:
    state_dict = CHECKPOINTS[name].get("state_dict", CHECKPOINTS[name])
    model = Net()
    before = list(state_dict)
    ours = outcome(capsys, copy.deepcopy(model), lambda model: load_state_dict(model, state_dict, strict))
    theirs = outcome(capsys, copy.deepcopy(model), lambda m: mmengine_checkpoint.load_state_dict(m, state_dict, strict))
    assert ours == theirs
    assert list(state_dict) == before


def test_load_checkpoint_returns_the_checkpoint_with_its_own_keys_and_metadata(proxy: Any) -> None:
    state_dict = _renamed("module.{}".format)
    state_dict._metadata = trained()._metadata  # type: ignore[attr-defined]
    proxy.publish(REF, {"state_dict": state_dict, "meta": {"epoch": 12}})
    returned = load_checkpoint(Net(), REF, logger="silent")
    assert list(returned["state_dict"]) == list(state_dict)
    assert returned["state_dict"]._metadata == state_dict._metadata  # type: ignore[attr-defined]
    assert returned["meta"] == {"epoch": 12}


def test_load_checkpoint_hands_modules_the_version_that_they_were_saved_with(proxy: Any) -> None:
    seen = {}

    class Versioned(nn.Linear):
        def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
            seen.update({prefix: local_metadata})
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    saved = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).state_dict()
    proxy.publish(REF, saved)
    load_checkpoint(nn.Sequential(nn.BatchNorm1d(2), Versioned(2, 2)), REF, logger="silent", strict=True)
    assert seen == {"1.": saved._metadata["1"]}


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: nn.Sequential(nn.DataParallel(net))[0]])
def test_load_state_dict_looks_through_wrappers_as_mmengine_does(
    mmengine_checkpoint: Any, capsys: Any, wrap: Any
) -> None:
    model = Net()
    model.head = wrap(nn.Linear(4, 2, bias=False))
    ours = outcome(capsys, wrap(copy.deepcopy(model)), lambda m: load_state_dict(m, trained(), strict=True))
    theirs = outcome(
        capsys, wrap(copy.deepcopy(model)), lambda m: mmengine_checkpoint.load_state_dict(m, trained(), True)
    )
    assert ours == theirs
    assert ours[2] is None


def test_load_state_dict_looks_through_what_mmengines_registry_knows(mmengine_checkpoint: Any) -> None:
    from mmengine.registry import MODEL_WRAPPERS

    MODEL_WRAPPERS.register_module(name="ZooproxyTestWrapper", module=Wrapper)
    try:
        load_state_dict(Wrapper(Net()), trained(), strict=True)
    finally:
        del MODEL_WRAPPERS.module_dict["ZooproxyTestWrapper"]
    with pytest.raises(RuntimeError, match=r"missing keys in source state_dict: module\.stem"):
        load_state_dict(Wrapper(Net()), trained(), strict=True)


def test_load_state_dict_runs_post_hooks_that_change_the_keys() -> None:
    model = Net()
    model.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
    load_state_dict(model, _without("head.weight"), strict=True)


def test_load_state_dict_refuses_post_hooks_that_return_values() -> None:
    model = Net()
    model.register_load_state_dict_post_hook(lambda module, keys: keys)
    with pytest.raises(AssertionError, match="in place"):
        load_state_dict(model, trained())


@pytest.mark.parametrize("value", [[torch.ones(1)], {"state_dict": [torch.ones(1)]}], ids=["list", "inner list"])
def test_load_checkpoint_of_no_state_dict_is_a_runtime_error(proxy: Any, value: Any) -> None:
    proxy.publish(REF, value)
    with pytest.raises(RuntimeError, match="state_dict"):
        load_checkpoint(Net(), REF, logger="silent")


@pytest.mark.parametrize(
    ("ref", "backend"),
    [
        ("https://a/x.pth", "http"),
        ("s3://b/x.pth", "ceph"),
        ("cluster:s3://b/x.pth", "ceph"),
        ("petrel://b/x.pth", "ceph"),
        ("pavi://x", "pavi"),
        ("modelzoo://x", "torchvision"),
        ("open-mmlab://x", "openmmlab"),
        ("mmcls://x", "mmcls"),
        ("mmdet://x", "zoo"),
    ],
)
def test_load_checkpoint_logs_the_backend_that_mmengine_would(proxy: Any, caplog: Any, ref: str, backend: str) -> None:
    proxy.publish(ref, trained())
    with caplog.at_level(logging.INFO, "node"):
        load_checkpoint(Net(), ref, logger=logging.getLogger("node"))
    assert caplog.messages == [f"Loads checkpoint by {backend} backend from path: {ref}"]


# -- where messages go ------------------------------------------------------------------------------------


def test_print_log_prints_drops_or_logs(capsys: Any, caplog: Any) -> None:
    print_log("printed")
    print_log("dropped", "silent")
    print_log("logged", logging.getLogger("node"), logging.WARNING)
    assert capsys.readouterr().out == "printed\n"
    assert caplog.record_tuples == [("node", logging.WARNING, "logged")]


def test_print_log_to_neither_name_nor_logger_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="logger"):
        print_log("x", 5)  # type: ignore[arg-type]


def test_print_log_to_current_means_mmengines_latest_logger(mmengine_checkpoint: Any, capsys: Any) -> None:
    from mmengine.logging import MMLogger

    MMLogger.get_instance("zooproxy-test", log_level="INFO")
    print_log("for the runner", "current")
    print_log("for it too", "zooproxy-test")
    told = capsys.readouterr()
    assert "for the runner" in told.out + told.err
    assert "for it too" in told.out + told.err
    with pytest.raises(ValueError, match="has not been created"):
        print_log("x", "zooproxy-no-such-logger")


WITHOUT_MMENGINE = """
import sys, logging
sys.modules['mmengine'] = None
logging.basicConfig(format='%(name)s %(levelname)s %(message)s', level=logging.INFO, stream=sys.stdout)
import torch
from zooproxy.client.checkpoint import load_checkpoint, load_state_dict
from zooproxy.client.log import print_log
model = torch.nn.DataParallel(torch.nn.Linear(2, 2))
load_state_dict(model, {'weight': torch.zeros(2, 2)}, logger='current')
print_log('named', 'node')
assert model.module.weight.abs().sum() == 0
"""


def test_load_state_dict_needs_no_mmengine() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_MMENGINE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "zooproxy WARNING The model and loaded state dict do not match exactly" in done.stdout
    assert "missing keys in source state_dict: bias" in done.stdout
    assert "node INFO named" in done.stdout


RANKS = """
import sys, torch, torch.distributed as dist
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method='file://' + store, rank=rank, world_size=2)
from zooproxy.client.checkpoint import load_state_dict
load_state_dict(torch.nn.Linear(2, 2), {})
try:
    load_state_dict(torch.nn.Linear(2, 2), {}, strict=True)
except RuntimeError:
    print('raised')
dist.barrier()
dist.destroy_process_group()
"""


def test_load_state_dict_reports_on_rank_0_and_raises_on_every_rank(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANKS, str(rank), store], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    told = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert ["missing keys" in text for text in told] == [True, False]
    assert ["raised" in text for text in told] == [True, True]
