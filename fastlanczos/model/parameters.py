"""Which parameters of a model an operator acts on, and how their values lie in one flat vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from fnmatch import fnmatchcase
from typing import Any

import torch

from fastlanczos.arrays.cpu import Float64
from fastlanczos.model.sharded import whole

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
        self.devices = list(dict.fromkeys(p.device for p in parameters.values()))
        self.device = self.devices[0]  # where flat vectors are
        dtypes = [p.dtype for p in parameters.values()]
        self.dtype = max(set(dtypes), key=lambda dtype: torch.finfo(dtype).eps)

    def pieces(self, sizes: dict[str, int]) -> ParameterSpace:
        """Return the space of flat pieces of the parameters, with so many entries each."""
        space = copy(self)
        space.sizes = {name: sizes[name] for name in self.names}
        space.shapes = {name: torch.Size([size]) for name, size in space.sizes.items()}
        space.dim = sum(space.sizes.values())
        return space

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the model's own parameters, as they are now."""
        named = dict(self._model.named_parameters())
        return {name: named[name] for name in self.names}

    def flat(self) -> torch.Tensor:
        """Return their values as one flat vector, float64; of DTensors all entries, for which all ranks must ask."""
        return torch.cat([whole(p).detach().to(self.device).double().flatten() for p in self.tensors().values()])

    def split(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Return the parts of a flat vector, shaped as the parameters; of vectors (k, n), stacked in front."""
        parts = flat.split(list(self.sizes.values()), dim=-1)
        return [part.reshape(*flat.shape[:-1], *shape) for part, shape in zip(parts, self.shapes.values(), strict=True)]

    def layers(self) -> dict[str, list[str]]:
        """Return {layer: its parameters' names}, a layer being a module that has parameters of its own."""
        layers: dict[str, list[str]] = {}
        for name in self.names:
            layers.setdefault(name.rpartition(".")[0], []).append(name)
        return layers

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
        if not asked:
            raise ValueError("params= is empty: name at least one parameter, or leave it out for all")
        found = {pattern: _matching(model, pattern) for pattern in asked}
        unknown = [pattern for pattern, names in found.items() if not names]
        if unknown:
            raise ValueError(
                f"params= names {unknown}, which the model does not have (no parameter, layer or pattern of names); it "
                f"has {_listing(named)}"
            )
        wanted = {name for names in found.values() for name in names}
        chosen = [name for name in named if name in wanted]
    wrong = [name for name in chosen if not named[name].dtype.is_floating_point]
    if wrong:
        raise TypeError(f"the parameters {wrong} are not real floating-point numbers")
    return chosen


def _matching(model: torch.nn.Module, pattern: str) -> list[str]:
    """The parameters that a name ("2.weight"), a layer's name ("2") or a pattern ("*.bias") stands for.

    A tied parameter goes by each of its names.
    """
    first = {id(p): name for name, p in model.named_parameters()}
    names = {name: first[id(p)] for name, p in model.named_parameters(remove_duplicate=False)}
    return [
        canonical
        for name, canonical in names.items()
        if name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)
    ]


def _listing(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:12]) + (f", ... ({len(listed)} in all)" if len(listed) > 12 else "")
