"""What mmengine's own runner writes: refused by torch's safe settings, and served so that they take it."""

from __future__ import annotations

import io
import pickle
import warnings

import pytest
import torch

from formats.checkpoint_files import assert_same, digested, rebuilt, rendered
from zooproxy.formats.forms import Form, rendition, selected

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what mmengine's own imports warn of
    from mmengine.hooks import CheckpointHook, EMAHook
    from mmengine.model import BaseModel
    from mmengine.runner import Runner


class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))

    def forward(self, inputs, mode="loss"):
        return {"loss": self.net(inputs).square().mean()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An epoch trained by mmengine's Runner, with an averaged model."""
    folder = tmp_path_factory.mktemp("runner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = Runner(
            model=Tiny(),
            work_dir=str(folder),
            train_dataloader=torch.utils.data.DataLoader([{"inputs": torch.randn(2)}] * 8, batch_size=4),
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "Adam", "lr": 0.1}},
            param_scheduler={"type": "MultiStepLR", "milestones": [1]},
            custom_hooks=[EMAHook()],
            default_hooks={"checkpoint": {"type": CheckpointHook, "interval": 1}},
            default_scope="mmengine",
            experiment_name="tiny",
        )
        runner.train()
    return (folder / "epoch_1.pth").read_bytes()


def served(data, form):
    return torch.load(
        io.BytesIO(rendered(rendition(selected(digested(data), form, None), form), data)), weights_only=True
    )


def test_torch_s_safe_settings_refuse_it(written):
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(written), weights_only=True)


def test_model_as_pth_is_its_state_dict_and_meta(written):
    theirs = torch.load(io.BytesIO(written), weights_only=False)
    ours = served(written, Form(format="pth"))
    assert list(ours) == ["state_dict", "meta"] or list(ours) == ["meta", "state_dict"]
    assert_same(ours["state_dict"], theirs["state_dict"])
    assert ours["meta"]["experiment_name"] == theirs["meta"]["experiment_name"]


def test_full_as_pth_is_everything_that_trains_on(written):
    theirs = torch.load(io.BytesIO(written), weights_only=False)
    ours = served(written, Form("full", "pth"))
    assert set(ours) == set(theirs)
    assert_same(ours["ema_state_dict"], theirs["ema_state_dict"])
    assert_same(ours["optimizer"], theirs["optimizer"])
    assert ours["param_schedulers"][0]["last_step"] == theirs["param_schedulers"][0]["last_step"]
    losses = theirs["message_hub"]["log_scalars"]["train/loss"].data[0]
    kept = ours["message_hub"]["log_scalars"]["train/loss"]
    assert kept["__type__"].endswith("HistoryBuffer")
    assert torch.equal(kept["state"]["_log_history"], torch.from_numpy(losses))


def test_the_index_rebuilds_to_the_same_state_dict(written):
    theirs = torch.load(io.BytesIO(written), weights_only=False)
    assert_same(rebuilt(digested(written), written)["state_dict"], theirs["state_dict"])
