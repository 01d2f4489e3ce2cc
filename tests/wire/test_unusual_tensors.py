"""What counts as the description of an unusual tensor, and what only has its name."""

from __future__ import annotations

import pytest

from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.unusual_tensors import META, NESTED, QUANTISED, SPARSE, VIEW, is_described, layout_of, name_of

T = TensorRef(0)
ONE_SCALE, SCALES = Inert("torch.per_tensor_affine", None), Inert("torch.per_channel_affine", None)
COO, CSR = (Inert("torch.serialization._get_layout", (f"torch.sparse_{kind}",)) for kind in ("coo", "csr"))

DESCRIBED = {
    "quantised": Inert(QUANTISED, (T, (ONE_SCALE, 0.1, 3))),
    "quantised by channel": Inert(QUANTISED, (T, (SCALES, T, T, 0))),
    "quantised by channel, of torch 1.4": Inert(QUANTISED, (T, (SCALES, [0.1, 0.2], [0, 1], 0))),
    "sparse": Inert(SPARSE, (COO, (T, T, (2, 3)))),
    "sparse, coalesced": Inert(SPARSE, (COO, (T, T, (2, 3), True))),
    "compressed": Inert(SPARSE, (CSR, (T, T, T, (2, 3)))),
    "nested": Inert(NESTED, (T, T, T, T)),
    "meta": Inert(META, (Inert("torch.float32", None), (2,), (1,), False)),
    "view": Inert(VIEW, (T, {"conj": True, "neg": False})),
}
NOT_DESCRIBED = {
    "another name": Inert("torch._utils._rebuild_other", (T,)),
    "no arguments": Inert(NESTED, None),
    "a state": Inert(NESTED, (T, T, T, T), {"a": 1}),
    "items": Inert(NESTED, (T, T, T, T), None, [1]),
    "a scheme without a name": Inert(QUANTISED, (T, (1, 0.1, 3))),
    "an empty scheme": Inert(QUANTISED, (T, ())),
    "a scale that is a text": Inert(QUANTISED, (T, (ONE_SCALE, "0.1", 3))),
    "one scale by channel": Inert(QUANTISED, (T, (SCALES, 0.1, 3))),
    "scales of texts": Inert(QUANTISED, (T, (SCALES, ["a"], [0], 0))),
    "an axis that is none": Inert(QUANTISED, (T, (SCALES, T, T, None))),
    "integers that are no tensor": Inert(QUANTISED, (1, (ONE_SCALE, 0.1, 3))),
    "a layout that is a number": Inert(SPARSE, (Inert("torch.serialization._get_layout", (1,)), (T, T, (2,)))),
    "a dense layout": Inert(SPARSE, (Inert("torch.serialization._get_layout", ("torch.strided",)), (T, T, (2,)))),
    "compressed of three": Inert(SPARSE, (CSR, (T, T, (2,)))),
    "coalesced or what": Inert(SPARSE, (COO, (T, T, (2,), None))),
    "coalesced as a list": Inert(SPARSE, (COO, (T, T, (2,), [True]))),
    "a shape beyond counting": Inert(META, (None, (2**63,), (1,), False)),
    "another bit": Inert(VIEW, (T, {"odd": True})),
    "a bit that is a number": Inert(VIEW, (T, {"conj": 1})),
}


@pytest.mark.parametrize("case", DESCRIBED)
def test_what_the_table_lists_is_described(case: str) -> None:
    assert is_described(DESCRIBED[case])


@pytest.mark.parametrize("case", NOT_DESCRIBED)
def test_what_only_has_the_name_is_not_described(case: str) -> None:
    assert not is_described(NOT_DESCRIBED[case])


def test_names_and_layouts_are_empty_where_there_is_none() -> None:
    assert (name_of(ONE_SCALE), name_of("torch.float32"), name_of(COO)) == ("torch.per_tensor_affine", "", "")
    assert (layout_of(CSR), layout_of(ONE_SCALE), layout_of(None)) == ("torch.sparse_csr", "", "")
