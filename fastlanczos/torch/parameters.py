"""Which parameters of a model an operator acts on, and how their values lie in one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from fastlanczos.arrays import Float64

__all__ = ["ParameterSelection", "ParameterSpace"]

ParameterSelection = Iterable[str] | Callable[[str], bool] | None


class ParameterSpace:
    """The chosen parameters of a model, by name, in the model's order; shared (tied) ones count once."""

    def __init__(self, model: torch.nn.Module, selection: ParameterSelection) -> None:
        self._model = model
        self.names = _select(model, selection)
        parameters = self.tensors()
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = {name: p.numel() for name, p in parameters.items()}
        self.dim = sum(self.sizes.values())
        devices = {p.device for p in parameters.values()}
        if len(devices) > 1:
            raise ValueError(
                f"the parameters are on several devices ({', '.join(sorted(map(str, devices)))}); move the model to "
                "one, or choose parameters of one with params="
            )
        self.device = devices.pop()
        dtypes = [p.dtype for p in parameters.values()]
        self.dtype = max(set(dtypes), key=lambda dtype: torch.finfo(dtype).eps)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the model's own parameters, as they are now."""
        named = dict(self._model.named_parameters())
        return {name: named[name] for name in self.names}

    def split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the parts of a flat vector, shaped as the parameters."""
        parts = flat.split(list(self.sizes.values()))
        return [part.view(shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]

    def unflatten(self, flat: torch.Tensor | Float64) -> dict[str, torch.Tensor]:
        """Return {name: tensor of the parameter's shape} for a flat vector of `dim` entries."""
        vector = flat if isinstance(flat, torch.Tensor) else torch.as_tensor(flat)
        if tuple(vector.shape) != (self.dim,):
            raise ValueError(f"a flat vector must have shape ({self.dim},), got {tuple(vector.shape)}")
        return dict(zip(self.names, self.split(vector), strict=True))


def _select(model: torch.nn.Module, selection: ParameterSelection) -> list[str]:
    named: dict[str, Any] = dict(model.named_parameters())
    if not named:
        raise ValueError(f"the model ({type(model).__name__}) has no parameters")
    if selection is None:
        chosen = [name for name, p in named.items() if p.requires_grad]
        if not chosen:
            raise ValueError("no parameter of the model requires a gradient: name the ones to use with params=")
    elif callable(selection):
        chosen = [name for name in named if selection(name)]
        if not chosen:
            raise ValueError(f"params= selects no parameter; the model has {_listing(named)}")
    else:
        asked = [selection] if isinstance(selection, str) else list(selection)
        unknown = [name for name in asked if name not in named]
        if unknown:
            raise ValueError(f"params= names {unknown}, which the model does not have; it has {_listing(named)}")
        if not asked:
            raise ValueError("params= is empty: name at least one parameter, or leave it out for all")
        chosen = [name for name in named if name in set(asked)]
    wrong = [name for name in chosen if not named[name].dtype.is_floating_point]
    if wrong:
        raise TypeError(f"the parameters {wrong} are not real floating-point numbers")
    return chosen


def _listing(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:12]) + (f", ... ({len(listed)} in all)" if len(listed) > 12 else "")
