"""Modules that write an activation out in several operations, of which autograd keeps some ten arrays, as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from fastlanczos.closed_forms.activation import activation
from fastlanczos.closed_forms.replacements import plain
from fastlanczos.model.interception import Interception

__all__ = ["activations"]

# Of Hugging Face transformers; GPT-2's is the first. Each acts on every entry alone.
_WRITTEN_OUT = {"NewGELUActivation", "FastGELUActivation", "QuickGELUActivation", "AccurateGELUActivation"}


@contextmanager
def activations(interception: Interception) -> Iterator[None]:
    """Replace what such modules return inside; the modules themselves are not touched."""

    def replace(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        kind = type(module)
        known = kind.__name__ in _WRITTEN_OUT and kind.__module__.startswith("transformers.")
        if not known or not interception.closing or len(inputs) != 1 or not plain(inputs[0]):
            return None  # what the module has returned
        return activation(inputs[0], module.forward, interception.vectors)

    handle = register_module_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
