"""Dropout without a seed: every product would belong to another matrix."""

from __future__ import annotations

import torch

__all__ = ["refuse_dropout"]


def refuse_dropout(model: torch.nn.Module) -> None:
    """Raise ValueError, naming the modules, if the model draws masks."""
    active = [
        name or type(module).__name__
        for name, module in model.named_modules()
        if module.training and _dropout_probability(module) > 0
    ]
    if active:
        raise ValueError(
            f"dropout is on ({', '.join(active[:4])}), so each product would belong to a different matrix. Call "
            "model.eval(), or pass seed= to use the same masks in every product"
        )


def _dropout_probability(module: torch.nn.Module) -> float:
    # Dropout layers call it p; attention and recurrent layers call it dropout.
    name = "p" if isinstance(module, torch.nn.modules.dropout._DropoutNd) else "dropout"
    value = getattr(module, name, 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0
