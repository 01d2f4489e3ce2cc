"""The forms in which a checkpoint is served: a variant, and for its bytes a format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from zooproxy.formats.safetensors_header import DTYPES as SAFETENSORS_DTYPES
from zooproxy.formats.safetensors_writer import safetensors_rendition
from zooproxy.formats.segments import Rendition
from zooproxy.formats.torch_zip_writer import pth_rendition
from zooproxy.formats.variants import leaves, select_full, select_model
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.routes import DTYPES, FULL, MODEL, PTH, SAFETENSORS
from zooproxy.wire.tensors import Tensor, TensorIndex
from zooproxy.wire.unusual_tensors import QUANTISED


@dataclass(frozen=True)
class Form:
    """What of a checkpoint is wanted, in the wire's words; ``variant`` is full or model.

    ``buffers``: ``dtype`` is meant for the statistics of normalisation too.
    """

    variant: str = MODEL
    format: str = SAFETENSORS
    prefix: Optional[str] = None
    dtype: Optional[str] = None
    buffers: bool = False


#: Buffers that lose their meaning with their precision; they keep their dtype unless asked.
_STATISTICS = ("running_mean", "running_var")
_FLOATING = frozenset({"bfloat16", "float16", "float32", "float64"})


@dataclass(frozen=True)
class Recast:
    """What has to be done to tensors that no range of the blob expresses.

    ``dtype``: what floating tensors of 16 bits and more become; None leaves them.
    ``contiguous``: each tensor is laid out row-major and little-endian, in a storage of its own. ``kept``: names of
    tensors that keep their dtype whatever it is: statistics of normalisation, scales of quantised tensors.
    """

    dtype: Optional[str]
    contiguous: bool
    kept: frozenset[str] = frozenset()

    def target(self, tensor: Tensor) -> str:
        """The dtype that ``tensor`` gets."""
        kept = tensor.dtype not in _FLOATING or tensor.name in self.kept
        return tensor.dtype if kept or self.dtype is None else self.dtype


def recast_of(part: TensorIndex, form: Form, *, as_file: bool = True) -> Optional[Recast]:
    """What stands between ``part`` and the form, None where ranges suffice or where nothing helps.

    ``as_file``: bytes in the form's format are wanted; else a tensor index, whose tensors may be strided.
    """
    recast = Recast(DTYPES[form.dtype], False, _kept(part, form)) if form.dtype else Recast(None, False)
    swapped = part.byteorder != "little"
    if form.format == SAFETENSORS and as_file:
        if any(recast.target(tensor) not in SAFETENSORS_DTYPES for tensor in part.tensors):
            return None
        strided = any(not tensor.is_contiguous for tensor in part.tensors)
        recast = replace(recast, contiguous=strided or swapped)
    elif not as_file:
        recast = replace(recast, contiguous=swapped)
    changes = any(recast.target(tensor) != tensor.dtype for tensor in part.tensors)
    return recast if changes or recast.contiguous else None


def _kept(part: TensorIndex, form: Form) -> frozenset[str]:
    statistics = () if form.buffers else (t.name for t in part.tensors if t.name.endswith(_STATISTICS))
    return _scales(part).union(statistics)


def _scales(part: TensorIndex) -> frozenset[str]:
    """The names of the scales of quantised tensors: what they mean is told to their last bit."""
    quantised = (leaf for leaf, _ in leaves(part.tree) if isinstance(leaf, Inert) and leaf.type_name == QUANTISED)
    within = (inner for leaf in quantised for inner, _ in leaves(leaf.args))
    return frozenset(part.tensors[ref.position].name for ref in within if isinstance(ref, TensorRef))


def needs_checksums(part: TensorIndex, form: Form) -> bool:
    """Whether the form wants the CRC-32 of storages whose container has none (``reader.with_digests``)."""
    return form.format == PTH and any(storage.crc32 is None and storage.size for storage in part.storages)


def selected(index: TensorIndex, form: Form, recipe: Optional[str]) -> TensorIndex:
    """The part of ``index`` that the form's variant and prefix name; ``recipe`` is the zoo's, for ``model``.

    Raises:
        UnsupportedFormat, NothingSelected: as ``variants.select_model`` and ``select_full``.
    """
    if form.variant == FULL:
        return select_full(index, prefix=form.prefix)
    return select_model(index, recipe=recipe, prefix=form.prefix)


def rendition(part: TensorIndex, form: Form) -> Rendition:
    """What ``selected`` gave, in the form's format.

    Raises:
        UnsupportedFormat: a tensor that the format, or a range of the blob, cannot express.
        LimitExceeded: it would grow out of proportion.
    """
    return pth_rendition(part) if form.format == PTH else safetensors_rendition(part)
