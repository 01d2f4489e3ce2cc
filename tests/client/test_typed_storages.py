"""The way of torch before 1.13, with a torch that has typed storages besides; `make oldtorch` takes a real one."""

from __future__ import annotations

import builtins
import io
from collections import OrderedDict
from typing import Any

import pytest
import torch

from zooproxy.client import staging, storages, unusual_tensors
from zooproxy.client.loader import load
from zooproxy.client.local import read_local
from zooproxy.client.typed_storages import Octets
from zooproxy.errors import UnsupportedFormat

REF = "torchvision://resnet50"
DTYPES = ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "float32", "complex64", "complex128"]


@pytest.fixture(autouse=True)
def no_untyped_storages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (storages, staging, unusual_tensors):
        monkeypatch.setattr(module, "has_untyped_storages", lambda: False)


def checkpoint() -> OrderedDict[str, Any]:
    base = torch.arange(24.0)
    numbers = {name: torch.arange(5).to(getattr(torch, name)) for name in DTYPES}
    layouts = {"base": base, "tail": base[7:], "turned": base.view(4, 6).t(), "none": torch.empty(0, 3)}
    return OrderedDict([*layouts.items(), *numbers.items()])


def assert_as_saved(loaded: Any, saved: OrderedDict[str, Any]) -> None:
    assert list(loaded) == list(saved)
    for name, tensor in saved.items():
        assert (loaded[name].dtype, loaded[name].stride()) == (tensor.dtype, tensor.stride()), name
        assert torch.equal(loaded[name], tensor), name


@pytest.mark.parametrize(
    "where",
    [None, "cpu", {"cpu": "cpu"}, lambda storage, location: storage, lambda storage, location: None],
    ids=["none", "cpu", "mapping", "itself", "wherever"],
)
def test_a_load_is_as_saved_and_ties_survive(proxy: Any, where: Any) -> None:
    proxy.publish(REF, checkpoint())
    loaded = load(REF, where)
    assert_as_saved(loaded, checkpoint())
    loaded["base"].add_(1)
    assert torch.equal(loaded["tail"], checkpoint()["tail"] + 1)
    file = io.BytesIO()
    torch.save({name: loaded[name] for name in ("base", "tail")}, file)
    again = torch.load(io.BytesIO(file.getvalue()))
    assert again["base"].data_ptr() + 7 * 4 == again["tail"].data_ptr()


def test_a_function_says_where_each_storage_goes(proxy: Any) -> None:
    proxy.publish(REF, checkpoint())
    seen = []

    def elsewhere(storage: Any, location: str) -> Any:
        seen.append((storage.dtype, location))
        return storage.clone()

    assert_as_saved(load(REF, elsewhere), checkpoint())
    assert (torch.bfloat16, "cpu") in seen
    assert len(seen) == len(checkpoint()) - 2  # the views of base are of one storage


def test_another_device_gets_the_numbers_of_each_dtype(proxy: Any) -> None:
    proxy.publish(REF, checkpoint())
    loaded = load(REF, "meta")
    assert {name: (tensor.dtype, tensor.shape, tensor.device.type) for name, tensor in loaded.items()} == {
        name: (tensor.dtype, tensor.shape, "meta") for name, tensor in checkpoint().items()
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, about what it will drop
def test_quantised_tensors_keep_their_strides(tmp_path: Any) -> None:
    values = torch.arange(12.0).view(3, 4)
    scales, zeros = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), torch.tensor([0, 1, 2])
    saved = {
        "one": torch.quantize_per_tensor(values, 0.1, 3, torch.quint8).t(),
        "many": torch.quantize_per_channel(values, scales, zeros, 0, torch.qint8),
    }
    torch.save(saved, tmp_path / "x.pth")
    loaded = read_local(tmp_path / "x.pth")
    for name, tensor in saved.items():
        assert (loaded[name].stride(), loaded[name].qscheme()) == (tensor.stride(), tensor.qscheme())
        assert torch.equal(loaded[name].dequantize(), tensor.dequantize())


def test_bytes_at_odd_addresses_are_copied_and_a_rest_is_left_out() -> None:
    memory = bytearray(range(32))
    octets = Octets(memory)
    even, odd = octets.cut(16, 9, 4), octets.cut(1, 9, 4)
    assert even.numbers(torch.uint8).tolist() == list(range(16, 25))
    assert odd.numbers(torch.uint8).tolist() == list(range(1, 10))
    assert [len(cut.numbers(torch.int32)) for cut in (even, odd)] == [2, 2]
    memory[16] = memory[1] = 99
    assert (even.numbers(torch.uint8)[0], odd.numbers(torch.uint8)[0]) == (99, 1)


def test_without_numpy_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def no_numpy(name: str, *rest: Any, **options: Any) -> Any:
        if name == "numpy":
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", no_numpy)
    with pytest.raises(UnsupportedFormat, match="pip install numpy"):
        Octets(bytearray(4))
