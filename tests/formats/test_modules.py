"""Whole modules, scripted modules and numpy's archives: the state dict, as torch and numpy give it."""

from __future__ import annotations

import io
import warnings

import numpy
import pytest
import torch

from formats.checkpoint_files import assert_same, checkpoint, index_of, name, packed, rebuilt, saved, text
from zooproxy.errors import FormatError, LimitExceeded, MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.wire.plain import Inert


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.tied = self.backbone[0]
        self.head = torch.nn.Linear(4, 2, bias=False)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("transient", torch.arange(3), persistent=False)
        self.register_buffer("none", None)

    def forward(self, x):
        return self.backbone(x) * self.scale


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_whole_module_reads_as_its_state_dict(protocol):
    module = Net()
    data = saved(module, pickle_protocol=protocol)
    index = index_of(data)
    expected = module.state_dict()
    ours = rebuilt(index, data)
    assert index.kind == "module"
    assert list(ours) == list(expected)
    assert_same(ours, dict(expected))


def test_a_module_in_data_parallel_keeps_its_prefix():
    data = saved(torch.nn.DataParallel(torch.nn.Linear(2, 1)))
    assert [row.name for row in index_of(data).tensors] == ["module.weight", "module.bias"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_reads_as_its_state_dict():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(module), file)
        expected = torch.jit.load(io.BytesIO(file.getvalue())).state_dict()
    data = file.getvalue()
    index = index_of(data)
    assert (index.container, index.kind) == ("torchscript", "module")
    ours = rebuilt(index, data)
    assert set(ours) == set(expected)
    assert_same({key: ours[key] for key in expected}, dict(expected))


def nested(depth: int) -> bytes:
    """Modules within modules, each under the name ``m``."""
    state = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules")
    start = b"".join(name("a.M") + b")R" + state + b"}" + text("m") for _ in range(depth))
    return checkpoint(start + b"N" + b"sub" * depth + b".")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # torch's own, of quantisation
def test_a_quantised_layer_stands_whole_under_its_name():
    quantised = torch.ao.nn.quantized
    module = torch.nn.Sequential(quantised.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), quantised.Linear(3, 2))
    index = index_of(saved(module))
    assert index.kind == "module"
    assert [key for key in index.tree if not key.startswith("1.")] == ["0", "2"]
    assert all(type(index.tree[key]) is Inert for key in ("0", "2"))
    assert len([tensor for tensor in index.tensors if tensor.dtype == "int8"]) == 2
    with pytest.raises(UnsupportedFormat, match=r"'0\.10' is a tensor"):
        refuse_odd_tensors(index)


def test_modules_nest_to_a_limit():
    assert index_of(nested(limits.MODULE_DEPTH)).kind == "module"
    with pytest.raises(LimitExceeded):
        index_of(nested(limits.MODULE_DEPTH + 2))


def test_modules_that_share_themselves_do_not_multiply(monkeypatch):
    """Each of 40 modules holds the next one twice: 2**40 names."""
    monkeypatch.setattr(limits, "TENSORS", 2000)
    parts = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules")
    made = name("a.M") + b")R" + parts + b"}ub" + b"q\x00"
    for number in range(40):
        twice = b"}(" + text("a") + b"h%c" % number + text("b") + b"h%c" % number + b"u"
        made += name("a.M") + b")R" + parts + twice + b"ub" + b"q%c" % (number + 1)
    with pytest.raises(LimitExceeded):
        index_of(checkpoint(made + b"."))


def npz(**arrays: numpy.ndarray) -> bytes:
    file = io.BytesIO()
    numpy.savez(file, **arrays)
    return file.getvalue()


def test_an_npz_reads_bit_equal():
    value = {
        "a": numpy.arange(6, dtype="<f4").reshape(2, 3),
        "f": numpy.asfortranarray(numpy.arange(6, dtype="<i8").reshape(2, 3)),
        "s": numpy.array(2.5),
        "e": numpy.zeros((0, 2)),
        "v": numpy.arange(3, dtype="u1"),
    }
    data = npz(**value)
    index = index_of(data)
    assert (index.container, index.kind) == ("npz", "state_dict")
    ours = rebuilt(index, data)
    assert list(ours) == list(value)
    assert all(torch.equal(ours[key], torch.from_numpy(value[key])) for key in value)


def test_an_npz_that_is_compressed_or_of_objects_is_refused_with_words():
    file = io.BytesIO()
    numpy.savez_compressed(file, a=numpy.zeros(1000))
    for data in (file.getvalue(), npz(a=numpy.array(["x", None], object)), npz(a=numpy.arange(3, dtype=">f4"))):
        with pytest.raises(UnsupportedFormat, match="variant=raw"):
            index_of(data)


HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"


def npy(header: bytes = HEADER, data: bytes = bytes(12), length: int | None = None) -> bytes:
    return b"\x93NUMPY\x01\x00" + (len(header) if length is None else length).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"no array at all",
        npy(data=bytes(11)),
        npy(data=bytes(13)),
        npy(length=60_000),
        npy(HEADER.replace(b"(3,)", b"(99999999999999999999999999,)")),
        npy(HEADER.replace(b"(3,)", b"(" + b"1," * 70 + b"3)")),
        npy(HEADER.replace(b"<f4", b"<f8")),
        npy(b"__import__('os').system('false')"),
    ],
)
def test_an_npz_record_that_lies_is_refused(record):
    with pytest.raises(FormatError):
        index_of(packed([("a.npy", record)]))


def test_a_pickle_with_more_behind_it_is_refused():
    with pytest.raises(MalformedCheckpoint, match="more than one value"):
        index_of(b"\x80\x02}." * 2)


def test_a_pickle_that_names_a_storage_is_refused():
    with pytest.raises(MalformedCheckpoint):
        index_of(b"\x80\x02}(U\x01aNQu.")
