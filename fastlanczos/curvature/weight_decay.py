"""The diagonal that weight decay adds to a matrix over parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fastlanczos.model.parameters import ParameterSpace

__all__ = ["decay_of"]


def decay_of(model: torch.nn.Module, space: ParameterSpace, given: float | Mapping[str, float]) -> Any:
    """Return a number for all parameters, or a tensor (n,) where `given` has one for each pattern of names."""
    if not isinstance(given, Mapping):
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not given >= 0:
            raise ValueError(f"weight_decay must be a number of at least 0, or {{name: number}}, got {given!r}")
        return float(given)
    values = dict.fromkeys(space.names, 0.0)
    for pattern, number in given.items():
        for name in ParameterSpace(model, pattern).names:
            if name in values:
                values[name] = float(number)
    return torch.cat([torch.full((space.sizes[name],), values[name], dtype=torch.float64) for name in space.names]).to(
        space.device
    )
