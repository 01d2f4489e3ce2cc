"""mmengine's history of a logged value: made where the program has the type, and only of what it can be made of."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from mmengine.logging import HistoryBuffer

from zooproxy.client.imported_types import in_its_own_type
from zooproxy.wire.plain import Inert

NAME = "mmengine.logging.history_buffer.HistoryBuffer"
STATE = {"max_length": 3, "_log_history": torch.tensor([0.5, 1.5]), "_count_history": torch.tensor([1, 2])}


def test_a_history_is_made_of_its_numbers_and_of_no_code_that_comes_with_it() -> None:
    made = in_its_own_type(Inert(NAME, (), {**STATE, "statistics_methods": {"mean": Inert("os.system")}}))
    assert type(made) is HistoryBuffer
    assert [column.tolist() for column in made.data] == [[0.5, 1.5], [1, 2]]
    assert made.statistics("max") == 1.5
    made.update(7.0)
    made.update(8.0)
    assert made.data[0].tolist() == [1.5, 7.0, 8.0]


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {**STATE, "max_length": "3"},
        {**STATE, "max_length": True},
        {**STATE, "max_length": 1},
        {**STATE, "_log_history": [0.5, 1.5]},
        {**STATE, "_log_history": torch.ones(2, 1)},
        {**STATE, "_log_history": Inert("numpy.ndarray")},
        {**STATE, "_count_history": torch.ones(3)},
        {**STATE, "_log_history": torch.ones(2, dtype=torch.bfloat16)},
        {**STATE, "_log_history": torch.ones(2, requires_grad=True)},
        {**STATE, "_log_history": torch.ones(2, device="meta")},
    ],
    ids=repr,
)
def test_what_is_no_history_stays_as_it_is(state: Any) -> None:
    value = Inert(NAME, (), state)
    assert in_its_own_type(value) is value


def test_nothing_is_imported_for_a_history(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmengine"]:
        monkeypatch.delitem(sys.modules, name)
    value = Inert(NAME, (), STATE)
    assert in_its_own_type(value) is value
    assert "mmengine" not in sys.modules
