"""fastlanczos/tracking/callbacks.py: in the loops of Lightning and Hugging Face, and in dashboards."""

import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cases.networks import batches, mlp  # noqa: E402

import fastlanczos.torch as flt  # noqa: E402

F = torch.nn.functional


def tracker_of(model, every=2):
    H = flt.HessianOperator(model, F.cross_entropy, batches(dtype=torch.float32))
    return flt.SpectrumTracker(H, every, k=2, num_probes=1, num_steps=5)


def test_writers_pass_all_numbers_on():
    class Writer:
        def __init__(self):
            self.seen = {}

        def add_scalar(self, name, value, step):
            self.seen[name, step] = value

        def log(self, values, step):
            self.seen |= {(name, step): value for name, value in values.items()}

    (m,) = (tracker_of(mlp(torch.float32)).measure() for _ in range(1))
    for make in (flt.tensorboard_writer, flt.wandb_writer):
        writer = Writer()
        make(writer)(m)
        assert writer.seen["spectrum/largest", 0] == m.largest
        assert writer.seen["spectrum/ratio", 0] == m.ratio
        assert len(writer.seen) == len(m.summary())


def test_in_lightnings_loop(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = mlp(torch.float32)

        def training_step(self, batch, index):
            return F.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    tracker = tracker_of(module.model)
    trainer = lightning.Trainer(
        max_steps=6,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[flt.lightning_callback(tracker)],
    )
    trainer.fit(module, torch.utils.data.DataLoader(batches((7, 7, 3), torch.float32), batch_size=None))
    assert [(m.step, m.learning_rate) for m in tracker.measurements] == [(2, 0.1), (4, 0.1), (6, 0.1)]


def test_in_hugging_faces_loop(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = mlp(torch.float32)

        def forward(self, x, labels=None):
            logits = self.model(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    ((x, y),) = batches((16,), torch.float32)
    data = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    model = Model()
    tracker = tracker_of(model.model)
    arguments = transformers.TrainingArguments(
        tmp_path, max_steps=5, per_device_train_batch_size=4, report_to=[], save_strategy="no", use_cpu=True
    )
    transformers.Trainer(model, arguments, train_dataset=data, callbacks=[flt.trainer_callback(tracker)]).train()
    assert [m.step for m in tracker.measurements] == [2, 4]
    # Linear decay from 5e-5 over 5 steps; the scheduler has stepped when a step ends.
    np.testing.assert_allclose([m.learning_rate for m in tracker.measurements], [3e-5, 1e-5])


@pytest.mark.parametrize("given", [False, True])
def test_the_trainers_optimizer_is_read_where_the_tracker_has_none(monkeypatch, given):
    stand_in = types.ModuleType("transformers")
    stand_in.TrainerCallback = object
    monkeypatch.setitem(sys.modules, "transformers", stand_in)
    model = mlp(torch.float32)
    own, trainers = (torch.optim.SGD(model.parameters(), lr=lr) for lr in (0.5, 0.25))
    tracker = tracker_of(model, every=1)
    tracker.optimizer = own if given else None
    state = types.SimpleNamespace(log_history=[], global_step=1)
    flt.trainer_callback(tracker).on_step_end(None, state, None, optimizer=trainers)
    assert [m.learning_rate for m in tracker.measurements] == [0.5 if given else 0.25]


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_a_missing_package_is_named(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    make = {"lightning": flt.lightning_callback, "transformers": flt.trainer_callback}[name]
    with pytest.raises(ImportError, match=f"pip install {name}"):
        make(tracker_of(mlp(torch.float32)))
