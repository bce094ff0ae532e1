"""Activation checkpointing inside an evaluation.

What a checkpoint drops it computes again when a derivative asks for it, which is after the evaluation: the parameters
must then be those of the evaluation once more, and torch's functions be intercepted in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint as checkpoint

from fastlanczos.model.interception import Interception

__all__ = ["checkpoints"]

# torch's own: what brackets a checkpointed region. From torch 2.14 on, what it was called forwards to the other.
_GENERATOR = "_checkpoint_without_reentrant_generator"
_GENERATOR += "_impl" if hasattr(checkpoint, _GENERATOR + "_impl") else ""


@contextmanager
def checkpoints(interception: Interception, as_evaluated: Callable[[Callable[[], Any]], Any]) -> Iterator[None]:
    """Make checkpointed regions inside recompute under the interception, by `as_evaluated(work)`.

    Reentrant checkpoints are refused: torch gives no second derivative of them, and zeros for the parameters of those
    whose inputs need no gradient.
    """
    original = getattr(checkpoint, _GENERATOR)
    reentrant = checkpoint.CheckpointFunction

    def generator(function: Any, *args: Any, **kwargs: Any) -> Iterator[None]:
        with interception.checkpointed() as interception_again:

            def again(*inputs: Any, **options: Any) -> Any:
                with interception_again():
                    return as_evaluated(lambda: function(*inputs, **options))

            yield from original(again, *args, **kwargs)

    setattr(checkpoint, _GENERATOR, generator)
    checkpoint.CheckpointFunction = _Refused  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        setattr(checkpoint, _GENERATOR, original)
        checkpoint.CheckpointFunction = reentrant  # type: ignore[misc]


class _Refused:
    @staticmethod
    def apply(*args: Any) -> Any:
        if not torch.is_grad_enabled():
            return args[0](*args[2:])
        raise ValueError(
            "the model checkpoints activations with use_reentrant=True, which torch does not differentiate twice. "
            "Pass use_reentrant=False to torch.utils.checkpoint.checkpoint (Hugging Face: "
            'gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})), or '
            'products="finite-difference" to the operator'
        )
