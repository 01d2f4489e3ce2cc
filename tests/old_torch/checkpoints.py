"""Checkpoints that an old torch writes, reads and compares: runs under its interpreter, Python 3.6 and up.

``python checkpoints.py write FOLDER`` writes the files. ``python checkpoints.py read PAIRS`` reads lines of
``original<TAB>made`` from PAIRS and compares what the two files hold. ``python checkpoints.py client FILE REF``
compares what ``zooproxy.load`` gives for REF with what FILE holds.
"""

import collections
import pathlib
import sys
import warnings

import torch

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
ZIP = {"_use_new_zipfile_serialization": True}
LEGACY = {"_use_new_zipfile_serialization": False}


def small_module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU())


def trained():
    """A wrapped checkpoint with its optimizer, as training programs write them."""
    module = small_module()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    module(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    meta = {"epoch": 3, "CLASSES": ("cat", "dog"), "lr": 0.01, "none": None}
    return {"meta": meta, "state_dict": module.state_dict(), "optimizer": optimizer.state_dict()}


def layouts():
    base = torch.arange(24, dtype=torch.float32)
    return collections.OrderedDict(
        [
            ("base", base),
            ("tied", base),
            ("tail", base[7:]),
            ("turned", base.view(4, 6).t()),
            ("steps", base[::5]),
            ("expanded", torch.ones(1).expand(3, 2)),
            ("empty", torch.empty(0, 3)),
            ("scalar", torch.tensor(2.5)),
            ("parameter", torch.nn.Parameter(torch.ones(2))),
        ]
    )


def dtypes():
    names = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool", "bfloat16"]
    names += ["complex64", "complex128"] if VERSION >= (1, 6) else []
    return {name: torch.arange(5).to(getattr(torch, name)) for name in names}


def quantised():
    values = torch.arange(12, dtype=torch.float32).view(3, 4)
    scales, zeros = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), torch.tensor([0, 1, 2])
    return {
        "one": torch.quantize_per_tensor(values, 0.1, 3, torch.quint8),
        "int32": torch.quantize_per_tensor(values, 0.01, 0, torch.qint32),
        "turned": torch.quantize_per_tensor(values, 0.1, 3, torch.qint8).t(),
        "many": torch.quantize_per_channel(values, scales, zeros, 0, torch.qint8),
    }


def checkpoints():
    """name -> (value, options of torch.save)."""
    made = {
        "trained-legacy": (trained(), LEGACY),
        "layouts-legacy": (layouts(), LEGACY),
        "dtypes-legacy": (dtypes(), LEGACY),
        "quantised-legacy": (quantised(), LEGACY),
        "sparse-legacy": ({"w": torch.eye(3).to_sparse()}, LEGACY),
        "module-legacy": (torch.nn.DataParallel(small_module()), LEGACY),
    }
    if VERSION >= (1, 6):
        for name in list(made):
            made[name.replace("legacy", "zip")] = (made[name][0], ZIP)
    return made


def write(folder):
    for name, (value, options) in checkpoints().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(value, str(pathlib.Path(folder, name + ".pth")), **options)
    torch.jit.save(torch.jit.script(small_module()), str(pathlib.Path(folder, "scripted.pt")))


def compare(ours, theirs, path):
    """Values, dtypes, shapes, strides and order; a module counts as its state dict."""
    if isinstance(theirs, torch.nn.Module):
        theirs = theirs.state_dict()
    if isinstance(theirs, torch.Tensor):
        compare_tensors(ours, theirs.detach(), path)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), path
        for key in theirs:
            compare(ours[key], theirs[key], f"{path}.{key}")
        if hasattr(theirs, "_metadata") and hasattr(ours, "_metadata"):
            assert ours._metadata == theirs._metadata, path
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is type(theirs), path
        assert len(ours) == len(theirs), path
        for at, each in enumerate(theirs):
            compare(ours[at], each, f"{path}.{at}")
    else:
        assert ours == theirs, path


def compare_tensors(ours, theirs, path):
    assert isinstance(ours, torch.Tensor), path
    assert (ours.dtype, ours.shape, ours.layout) == (theirs.dtype, theirs.shape, theirs.layout), path
    if ours.layout is torch.sparse_coo:
        ours, theirs = ours.to_dense(), theirs.to_dense()
    assert ours.stride() == theirs.stride(), path
    if ours.is_quantized:
        assert torch.equal(ours.dequantize(), theirs.dequantize()), path
        ours, theirs = ours.int_repr(), theirs.int_repr()
    assert ours.tolist() == theirs.tolist(), path


def restricted(name):
    """Options under which torch.load runs nothing, where it has them and has them for what is in that file."""
    since = (1, 13)
    if "trained" in name:
        since = (2, 0)  # floats
    elif "quantised" in name:
        since = (2, 1)
    return {"weights_only": True} if since <= VERSION else {}


def read(pairs):
    for line in pathlib.Path(pairs).read_text().splitlines():
        original, made = line.split("\t")
        theirs = torch.load(original)
        for options in ({}, restricted(original)):
            compare(torch.load(made, **options), theirs, made)
        if "layouts" in original:
            again = torch.load(made)
            assert again["base"].data_ptr() == again["tied"].data_ptr(), made
        print(f"reads {pathlib.Path(made).name}")


def client(file, ref):
    import zooproxy
    from zooproxy.client.checkpoint import load_from_local

    ours, theirs = zooproxy.load(ref), torch.load(file)
    compare(load_from_local(file), theirs, file)
    if isinstance(theirs, dict) and "optimizer" in theirs:  # the model is state dict and meta
        theirs = {key: theirs[key] for key in ours}
    compare(ours, theirs, ref)
    for where in ("cpu", {"cpu": "cpu"}, lambda storage, location: storage, lambda storage, location: None):
        compare(zooproxy.load(ref, where), theirs, ref)
    if "layouts" in ref:
        assert ours["base"].data_ptr() == ours["tied"].data_ptr() == ours["tail"].data_ptr() - 7 * 4, ref
        ours["base"].add_(1)
        assert ours["tail"].tolist() == (theirs["tail"] + 1).tolist(), ref
    if "module" in ref:
        module = torch.nn.DataParallel(small_module())
        torch.nn.init.zeros_(module.module[0].weight)
        zooproxy.load_checkpoint(module, ref, strict=True)
        compare(module.state_dict(), theirs, ref)
    print(f"loads {ref}")


if __name__ == "__main__":
    {"write": write, "read": read, "client": client}[sys.argv[1]](*sys.argv[2:])
