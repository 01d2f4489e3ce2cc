"""Tensors that no strided range describes, as a tensor index has them: an ``Inert`` named after the function by which
torch rebuilds it, whose parts are tensors of the index (torch/_utils.py).

============================================  ======================================================================
name                                          arguments
============================================  ======================================================================
torch._utils._rebuild_qtensor                 integers, ``(scheme, scale, zero point)`` or
                                              ``(scheme, scales, zero points, axis)``, which are tensors, or lists
                                              of numbers from torch before 1.5
torch._utils._rebuild_sparse_tensor           layout, ``(indices, values, shape[, is coalesced])`` or
                                              ``(compressed indices, plain indices, values, shape)``
torch._utils._rebuild_nested_tensor           values, shapes, strides, offsets
torch._utils._rebuild_meta_tensor_no_storage  dtype, shape, strides, requires_grad
torch._utils._rebuild_tensor_v2               a tensor, ``{"conj": …, "neg": …}``: the bits that a view of it has set
============================================  ======================================================================

Schemes, layouts and dtypes are ``Inert`` too: ``torch.per_tensor_affine``, ``torch.serialization._get_layout`` of
``torch.sparse_coo``, ``torch.float32``. Whatever has such a name and other arguments is described by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Final

from zooproxy.wire.plain import Inert, TensorRef

QUANTISED: Final = "torch._utils._rebuild_qtensor"
SPARSE: Final = "torch._utils._rebuild_sparse_tensor"
NESTED: Final = "torch._utils._rebuild_nested_tensor"
META: Final = "torch._utils._rebuild_meta_tensor_no_storage"
VIEW: Final = "torch._utils._rebuild_tensor_v2"

LAYOUT: Final = "torch.serialization._get_layout"
_COO: Final = "torch.sparse_coo"
_COMPRESSED: Final = frozenset(f"torch.sparse_{kind}" for kind in ("csr", "csc", "bsr", "bsc"))
_ONE_SCALE: Final = "torch.per_tensor_affine"
_SCALES: Final = frozenset({"torch.per_channel_affine", "torch.per_channel_affine_float_qparams"})

_IsTensor = Callable[[Any], bool]


def is_described(value: Inert, is_tensor: _IsTensor = lambda leaf: isinstance(leaf, TensorRef)) -> bool:
    """Whether ``value`` is a tensor by the table above; ``is_tensor`` tells what stands for its parts."""
    fits = _FITS.get(value.type_name)
    if fits is None or type(value.args) is not tuple or value.state is not None or value.items is not None:
        return False
    return fits(value.args, is_tensor)


def layout_of(value: Any) -> str:
    """``torch.sparse_coo`` and the like; empty where ``value`` is no layout."""
    if type(value) is Inert and value.type_name == LAYOUT and type(value.args) is tuple and len(value.args) == 1:
        return value.args[0] if type(value.args[0]) is str else ""
    return ""


def name_of(value: Any) -> str:
    """The name that ``value`` is; empty where it is something else."""
    return value.type_name if type(value) is Inert and value.args is None else ""


def _is_shape(value: Any) -> bool:
    return type(value) is tuple and all(type(length) is int and 0 <= length < 2**63 for length in value)


def _quantised(args: Any, is_tensor: _IsTensor) -> bool:
    if len(args) != 2 or not is_tensor(args[0]) or type(args[1]) is not tuple or not args[1]:
        return False
    scheme, *rest = args[1]
    if name_of(scheme) == _ONE_SCALE:
        return [type(each) for each in rest] == [float, int]
    if name_of(scheme) not in _SCALES or len(rest) != 3 or type(rest[2]) is not int:
        return False
    return all(map(is_tensor, rest[:2])) or (_are(rest[0], float) and _are(rest[1], int))


def _are(values: Any, kind: type) -> bool:
    return type(values) is list and all(type(value) is kind for value in values)


def _sparse(args: Any, is_tensor: _IsTensor) -> bool:
    if len(args) != 2 or type(args[1]) is not tuple:
        return False
    layout, parts = layout_of(args[0]), args[1]
    if layout == _COO:
        shape, rest = parts[2:3], parts[3:]
        return (
            len(parts) in (3, 4)
            and all(map(is_tensor, parts[:2]))
            and _is_shape(*shape)
            and all(type(each) is bool for each in rest)
        )
    return layout in _COMPRESSED and len(parts) == 4 and all(map(is_tensor, parts[:3])) and _is_shape(parts[3])


def _nested(args: Any, is_tensor: _IsTensor) -> bool:
    return len(args) == 4 and all(map(is_tensor, args))


def _meta(args: Any, _: _IsTensor) -> bool:
    return len(args) == 4 and all(map(_is_shape, args[1:3]))


def _view(args: Any, is_tensor: _IsTensor) -> bool:
    return (
        len(args) == 2
        and is_tensor(args[0])
        and type(args[1]) is dict
        and all(bit in ("conj", "neg") and type(value) is bool for bit, value in args[1].items())
    )


_FITS: Final[Mapping[str, Callable[[Any, _IsTensor], bool]]] = {
    QUANTISED: _quantised,
    SPARSE: _sparse,
    NESTED: _nested,
    META: _meta,
    VIEW: _view,
}
