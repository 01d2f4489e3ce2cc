"""Quantised, sparse, nested and meta tensors and conj or neg views, put together from their parts by torch's own
functions, which check what a file claims (torch/_utils.py, torch/_tensor.py); and torch's dtypes and devices."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Callable, Final

from zooproxy.client.storages import has_untyped_storages, storage_of
from zooproxy.errors import MalformedCheckpoint, UnsupportedFormat
from zooproxy.wire.plain import Inert
from zooproxy.wire.standard_types import DEVICE
from zooproxy.wire.unusual_tensors import META, NESTED, QUANTISED, SPARSE, VIEW, is_described, layout_of


def torch_object(value: Inert) -> Any:
    """The dtype or the device that ``value`` stands for; else ``value`` itself."""
    if not value.type_name.startswith("torch."):
        return value
    import torch

    if value.args is None:
        found = vars(torch).get(value.type_name[len("torch.") :])
        return found if isinstance(found, torch.dtype) else value
    if value.type_name == DEVICE and type(value.args) is tuple:
        with contextlib.suppress(TypeError, RuntimeError):  # RuntimeError: a device that this torch does not know
            return torch.device(*value.args)
    return value


def rebuilt(value: Inert) -> Any:
    """The tensor that ``value`` describes by the table of ``wire.unusual_tensors``, its parts being tensors already;
    ``value`` itself where it describes none.

    Raises:
        MalformedCheckpoint: its parts contradict each other.
        UnsupportedFormat: this torch has no such tensors.
    """
    rebuild = _REBUILD.get(value.type_name)
    if rebuild is None:
        return value
    import torch

    if not is_described(value, lambda part: isinstance(part, torch.Tensor)):
        return value
    try:
        return rebuild(torch, *value.args)
    except AttributeError as error:
        raise UnsupportedFormat(
            f"torch {torch.__version__} cannot hold a tensor of this checkpoint: {error}"
        ) from error
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
        raise MalformedCheckpoint("the checkpoint has an unusual tensor whose parts contradict each other") from error


def _quantised(torch: Any, integers: Any, scheme: tuple[Any, ...]) -> Any:
    dtypes = {torch.int8: torch.qint8, torch.uint8: torch.quint8, torch.int32: torch.qint32}
    options = {"dtype": dtypes[integers.dtype], "device": integers.device}
    shape = tuple(integers.shape)
    if len(scheme) == 3:
        made = torch._empty_affine_quantized(  # noqa: SLF001  # as torch._utils does
            shape, scale=scheme[1], zero_point=scheme[2], **options
        )
    else:
        _, scales, zero_points, axis = scheme
        if isinstance(scales, list):
            scales, zero_points = torch.tensor(scales, dtype=torch.float64), torch.tensor(zero_points)
        made = torch._empty_per_channel_affine_quantized(  # noqa: SLF001  # as torch._utils does
            shape, scales=scales, zero_points=zero_points, axis=axis, **options
        )
    return made.set_(_quantised_storage(torch, integers), integers.storage_offset(), shape, integers.stride())


def _quantised_storage(torch: Any, integers: Any) -> Any:
    if has_untyped_storages():
        return storage_of(integers)
    # A storage of quantised numbers, of which a copy is the only source: they share their memory with nothing.
    everything = torch.empty(0, dtype=integers.dtype, device=integers.device).set_(integers.storage())
    return torch._make_per_tensor_quantized_tensor(everything, 1.0, 0).storage()  # noqa: SLF001  # as torch._utils does


def _sparse(torch: Any, layout: Inert, parts: tuple[Any, ...]) -> Any:
    checked = {"check_invariants": True} if hasattr(torch.sparse, "check_sparse_tensor_invariants") else {}
    name = layout_of(layout).rpartition(".")[2]
    if name != "sparse_coo":
        return torch.sparse_compressed_tensor(*parts, layout=getattr(torch, name), **checked)
    made = torch.sparse_coo_tensor(*parts[:3], **checked)
    return made._coalesced_(parts[3]) if parts[3:] else made


def _nested(torch: Any, values: Any, shapes: Any, strides: Any, offsets: Any) -> Any:
    """torch does not look whether the parts lie within the values."""
    if not len(shapes) == len(strides) == len(offsets) or shapes.shape != strides.shape or values.dim() != 1:
        raise ValueError("not as many shapes as strides or offsets")
    for shape, stride, offset in zip(shapes.tolist(), strides.tolist(), offsets.tolist()):
        reach = offset + sum((length - 1) * step for length, step in zip(shape, stride)) + 1
        if min(offset, *shape, *stride) < 0 or (0 not in shape and reach > values.numel()):
            raise ValueError("a part lies outside")
    return torch._nested_view_from_buffer(values, shapes, strides, offsets)  # noqa: SLF001  # as torch._utils does


def _meta(torch: Any, dtype: Any, shape: tuple[int, ...], stride: tuple[int, ...], _: Any) -> Any:
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _view(torch: Any, tensor: Any, bits: dict[str, bool]) -> Any:
    view = tensor.conj() if bits.get("conj") else tensor
    return torch._neg_view(view) if bits.get("neg") else view  # noqa: SLF001  # nothing public sets that bit


_REBUILD: Final[Mapping[str, Callable[..., Any]]] = {
    QUANTISED: _quantised,
    SPARSE: _sparse,
    NESTED: _nested,
    META: _meta,
    VIEW: _view,
}
