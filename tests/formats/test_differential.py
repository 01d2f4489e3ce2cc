"""Every face of every file against torch.load: what is written how, through safetensors, pth and our client."""

from __future__ import annotations

import io
import pathlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import torch

from formats.checkpoint_files import as_client, assert_same, digested, layouts, loaded, rendered, repacked, saved
from formats.unusual_tensors import described
from zooproxy.digest import Sha256
from zooproxy.formats.forms import Form, recast_of, rendition, selected
from zooproxy.provide.derivation import Derivation
from zooproxy.wire.tensors import TensorIndex

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "data" / "checkpoints"


def small() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.PReLU())


def stepped(make: Callable[..., torch.optim.Optimizer], **options: Any) -> dict[str, Any]:
    module = small()
    optimizer = make(module.parameters(), lr=0.01, **options)
    module(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return {"state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}


def parallel() -> Any:
    """As DistributedDataParallel names them."""
    return OrderedDict((f"module.{key}", value) for key, value in small().state_dict().items())


def averaged() -> Any:
    module = small()
    ema = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    ema.update_parameters(module)
    return {"state_dict": module.state_dict(), "ema_state_dict": ema.state_dict()}


def trained() -> Any:
    module = small()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    rng = {"torch": torch.get_rng_state(), "seed": 3}
    return {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        **rng,
    }


VALUES = {
    **{name: (lambda value=value: value) for name, value in layouts().items()},
    "Adam": lambda: stepped(torch.optim.Adam, amsgrad=True),
    "SGD with momentum": lambda: stepped(torch.optim.SGD, momentum=0.9),
    "Adagrad": lambda: stepped(torch.optim.Adagrad),
    "LBFGS-like nesting": lambda: {"state": {0: {"old_dirs": [torch.ones(2), torch.zeros(2)], "n_iter": 3}}},
    "distributed": parallel,
    "averaged": averaged,
    "trained": trained,
    "a whole module": small,
}
WRITERS: dict[str, Callable[[Any], bytes]] = {
    "zip, protocol 2": saved,
    "zip, protocol 1": lambda value: saved(value, pickle_protocol=1),
    "zip, protocol 5": lambda value: saved(value, pickle_protocol=5),
    "repacked": lambda value: repacked(saved(value)),
    "legacy": lambda value: saved(value, _use_new_zipfile_serialization=False),
    "legacy, protocol 4": lambda value: saved(value, _use_new_zipfile_serialization=False, pickle_protocol=4),
}
REAL = {str(path.relative_to(CHECKPOINTS)): path for path in sorted(CHECKPOINTS.rglob("*.pth"))}


def derived(part: TensorIndex, form: Form, data: bytes) -> tuple[TensorIndex, bytes]:
    """The part and the bytes that the form is served from: laid out anew where ranges do not suffice."""
    recast = recast_of(part, form)
    if recast is None:
        return part, data
    derivation = Derivation(part, recast, data)
    made = b"".join(derivation.blocks(Sha256.of(b"name")))
    return derivation.result(Sha256.of(made), len(made)), made


def check(data: bytes, theirs: Any) -> None:
    if isinstance(theirs, torch.nn.Module):
        theirs = dict(theirs.state_dict())  # the versions of _metadata are in the classes alone
    full = selected(digested(data), Form("full"), None)
    for ours in as_client(full, data):
        assert_same(ours, theirs)
    written = rendered(rendition(full, Form("full", "pth")), data)
    assert_same(torch.load(io.BytesIO(written), weights_only=True), theirs)
    part, made = derived(full, Form("full"), data)
    named = safetensors.torch.load(rendered(rendition(part, Form("full")), made))
    assert sorted(named) == sorted(row.name for row in part.tensors)
    again = digested(written)
    assert [row.name for row in again.tensors] == [row.name for row in full.tensors]
    tensors = [each for _, each in sorted(tensors_by_position(full, data).items())]
    for row, tensor in zip(part.tensors, tensors, strict=True):
        assert_same(named[row.name], tensor.contiguous(), row.name)


def tensors_by_position(index: TensorIndex, data: bytes) -> dict[int, torch.Tensor]:
    from zooproxy.client.assembly import tensors_of
    from zooproxy.client.plan import whole_plan
    from zooproxy.client.storages import Buffer

    buffer = Buffer(len(data))
    buffer.view[:] = data
    return dict(enumerate(tensors_of(index, whole_plan(index), buffer, "cpu")))


@pytest.mark.parametrize("case", VALUES)
def test_every_face_is_what_torch_loads_whoever_wrote_it(case: str) -> None:
    for write in WRITERS.values():
        data = write(VALUES[case]())
        check(data, loaded(data))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # torch's, of what it did then
@pytest.mark.parametrize("name", REAL)
def test_every_face_of_a_real_file_is_what_torch_loads(name: str) -> None:
    """Files that other projects published, and files of torch 1.4 to 2.0."""
    data = REAL[name].read_bytes()
    theirs = loaded(data)
    if not any(kind in name for kind in ("quantised", "sparse")):
        check(data, theirs)
        return
    full = selected(digested(data), Form("full"), None)
    written = rendered(rendition(full, Form("full", "pth")), data)
    for ours in (*as_client(full, data), torch.load(io.BytesIO(written), weights_only=True)):
        assert {key: described(value) for key, value in ours.items()} == {
            key: described(value) for key, value in theirs.items()
        }
