"""Tensors that no strided range describes, and how to compare them."""

from __future__ import annotations

import torch

ODD = ("per tensor", "per channel", "qint32", "coo", "csr", "nested", "conj", "neg", "meta", "dtype")


def odd() -> dict[str, object]:
    ones = torch.ones(2, dtype=torch.complex64) * 1j
    return {
        "per tensor": torch.quantize_per_tensor(torch.arange(6.0).reshape(2, 3).t(), 0.1, 3, torch.quint8),
        "per channel": torch.quantize_per_channel(
            torch.randn(2, 3), torch.tensor([0.1, 0.2]).double(), torch.tensor([0, 1]), 0, torch.qint8
        ),
        "qint32": torch.quantize_per_tensor(torch.arange(6.0), 0.1, 0, torch.qint32),
        "coo": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "conj": ones.conj(),
        "neg": ones.conj().imag,
        "meta": torch.empty(2, 3, device="meta"),
        "dtype": torch.qint8,
    }


def described(value: object) -> object:
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_quantized:
        return (value.dtype, value.stride(), value.qscheme(), value.int_repr().tolist(), value.dequantize().tolist())
    if value.is_nested:
        return [part.tolist() for part in value.unbind()]
    if value.is_meta:
        return (value.dtype, value.shape, value.stride())
    dense = value.to_dense() if value.layout is not torch.strided else value
    return (value.layout, value.is_conj(), value.is_neg(), dense.resolve_conj().resolve_neg().tolist())
