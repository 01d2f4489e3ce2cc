"""Will it load: what is missing, unexpected or of another shape, and the change of keys that would make it fit."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import zooproxy
from zooproxy.cli import main
from zooproxy.client.comparing import Mismatch, compare, compared
from zooproxy.client.settings import ClientSettings
from zooproxy.errors import FormatError, MalformedReference, ProxyNotConfigured

REF = "torchvision://resnet50"


def backbone() -> nn.Module:
    return nn.Sequential(OrderedDict(stem=nn.Linear(3, 4), norm=nn.BatchNorm1d(4), head=nn.Linear(4, 2)))


def renamed(old: str, new: str) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((re.sub(old, new, name), tensor) for name, tensor in backbone().state_dict().items())


def test_what_matches_matches_and_no_byte_of_a_tensor_is_moved(proxy: Any) -> None:
    proxy.publish(REF, {"state_dict": renamed("^", "module."), "meta": {}})
    comparison = zooproxy.compare(backbone(), REF)
    assert comparison.matches
    assert str(comparison) == "9 tensors match"
    assert proxy.paths == ["tensors"]


def test_each_difference_is_named(proxy: Any) -> None:
    saved = backbone().state_dict()
    del saved["stem.bias"], saved["norm.num_batches_tracked"]
    proxy.publish(REF, {**saved, "extra": torch.ones(1), "head.weight": torch.ones(5, 4), "epoch": 3})
    comparison = compare(backbone(), REF)
    assert not comparison.matches
    assert (comparison.missing, comparison.unexpected) == (("stem.bias",), ("extra",))
    assert comparison.mismatched == (Mismatch("head.weight", (2, 4), (5, 4)),)
    assert (comparison.prefix, comparison.revise_keys) == (None, None)
    assert str(comparison).splitlines() == [
        "6 tensors match",
        "1 missing:",
        "  stem.bias",
        "1 unexpected:",
        "  extra",
        "1 of another shape:",
        "  head.weight: 2x4 wanted, 5x4 found",
    ]


def test_a_prefix_that_would_make_it_fit_is_suggested_and_does(proxy: Any, capsys: Any) -> None:
    saved = renamed("^", "backbone.")
    saved["neck.weight"] = torch.ones(2)
    proxy.publish(REF, {"state_dict": saved, "meta": {}})
    comparison = compare(backbone(), REF)
    assert (comparison.matching, comparison.prefix, comparison.matching_then) == (0, "backbone.", 9)
    assert "prefix='backbone.' would make 9 match" in str(comparison)
    model = backbone()
    zooproxy.load_checkpoint(model, REF, revise_keys=comparison.revise_keys or ())
    assert torch.equal(model.state_dict()["stem.weight"], saved["backbone.stem.weight"])


@pytest.mark.parametrize(("old", "new"), [("^", "encoder."), ("^stem", "first"), ("^", "a.b.c.")])
def test_revise_keys_that_would_make_it_fit_are_suggested_and_do(tmp_path: Path, old: str, new: str) -> None:
    wanted = nn.ModuleDict({"encoder": backbone()}) if new == "encoder." else backbone()
    path = tmp_path / "x.pth"
    torch.save(backbone().state_dict() if new == "encoder." else renamed(old, new), path)
    comparison = compare(wanted, path)
    assert comparison.revise_keys is not None
    assert comparison.matching_then == 9
    zooproxy.load_checkpoint(wanted, str(path), strict=True, logger="silent", revise_keys=comparison.revise_keys)


def test_many_differences_are_cut_short_in_print() -> None:
    comparison = compared({f"w{number}": (1,) for number in range(25)}, {"x": ()})
    assert str(comparison).splitlines()[-3:] == ["  and 5 more", "1 unexpected:", "  x"]


def test_names_that_say_nothing_make_no_suggestion() -> None:
    comparison = compared({"a.weight": (1,), "b.weight": (1,)}, {"c.weight": (1,)})
    assert (comparison.prefix, comparison.revise_keys) == (None, None)


def test_what_cannot_be_compared_says_why(proxy: Any, tmp_path: Path) -> None:
    with pytest.raises(MalformedReference, match="no file that can be read"):
        compare({}, tmp_path / "absent.pth")
    with pytest.raises(ProxyNotConfigured, match="before it is moved"):
        compare({}, REF, settings=ClientSettings(("direct",)))
    proxy.publish(REF, [torch.ones(1)])
    with pytest.raises(FormatError, match="no state dict"):
        compare({}, REF)


def test_the_command_compares_files_and_references(proxy: Any, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "x.pth"
    torch.save({"state_dict": backbone().state_dict()}, path)
    proxy.publish(REF, backbone().state_dict())
    assert main(["diff", str(path), REF]) == 0
    proxy.publish(REF, renamed("^stem", "first"))
    assert main(["diff", REF, str(path)]) == 1
    told = capsys.readouterr().out
    assert "2 missing:\n  first.weight" in told
    assert "revise_keys=[('^stem" in told


def test_the_command_shows_and_prunes_the_nodes_store(
    proxy: Any, node_store: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.publish(REF, {"w": torch.ones(1000)})
    zooproxy.load(REF)
    assert main(["cache", "--client"]) == 0
    assert re.search(rf"4,512  last used .*\n4,512 bytes in {node_store}", capsys.readouterr().out)
    assert main(["cache", "--client", "--prune", "1M"]) == 0
    assert main(["cache", "--client", "--prune", "0"]) == 0
    assert "4,512 bytes removed\n0 bytes in" in capsys.readouterr().out
    assert main(["cache"]) == 1
    assert main(["cache", "--client", "--prune", "much"]) == 1
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", "memory")
    assert main(["cache", "--client"]) == 1
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", "/dev/null/x")
    assert main(["cache", "--client"]) == 1
