"""Callbacks for Lightning and Hugging Face, writers for TensorBoard and Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.tracker import SpectrumTracker

__all__ = ["lightning_callback", "tensorboard_writer", "trainer_callback", "wandb_writer"]


def lightning_callback(tracker: SpectrumTracker) -> Any:
    """Return a callback for `lightning.Trainer(callbacks=[...])` that calls `tracker.step()`.

    A tracker without an optimizer reads the learning rate from the trainer's first one. Raises ImportError where
    Lightning is missing.
    """
    try:
        import lightning
    except ImportError:
        raise ImportError("lightning_callback needs Lightning: pip install lightning") from None

    class Callback(lightning.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if tracker.optimizer is None and trainer.optimizers:
                tracker.optimizer = trainer.optimizers[0]
            if trainer.global_step > tracker.count:  # not between gradients that are accumulated
                loss = outputs["loss"] if isinstance(outputs, dict) else outputs
                tracker.step(None if loss is None else float(loss), step=trainer.global_step)

    return Callback()


def trainer_callback(tracker: SpectrumTracker) -> Any:
    """Return a callback for Hugging Face's `Trainer(callbacks=[...])` that calls `tracker.step()`.

    A tracker without an optimizer reads the learning rate from the trainer's. Raises ImportError if transformers is
    missing.
    """
    try:
        import transformers
    except ImportError:
        raise ImportError("trainer_callback needs transformers: pip install transformers") from None

    class Callback(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if tracker.optimizer is None:
                tracker.optimizer = kwargs.get("optimizer")
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            tracker.step(losses[-1] if losses else None, step=state.global_step)

    return Callback()


def tensorboard_writer(writer: Any) -> Callable[[Measurement], None]:
    """Return a writer for a tracker that adds each number to a `torch.utils.tensorboard.SummaryWriter`."""

    def write(measurement: Measurement) -> None:
        for name, value in measurement.summary().items():
            writer.add_scalar(f"spectrum/{name}", value, measurement.step)

    return write


def wandb_writer(run: Any) -> Callable[[Measurement], None]:
    """Return a writer for a tracker that logs each number to a Weights & Biases run (`wandb.init()`)."""

    def write(measurement: Measurement) -> None:
        run.log({f"spectrum/{name}": value for name, value in measurement.summary().items()}, step=measurement.step)

    return write
