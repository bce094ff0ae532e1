"""Gradient descent from one point: what the quadratic model predicts of it, and with outliers added or removed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fastlanczos.torch import CurvatureOperator, gradient_concentration, predict_loss

__all__ = ["descend", "experiments"]

ADDED = 10.0  # what the top eigenvalues are multiplied by where outliers are added
Operator = Callable[[torch.nn.Module], CurvatureOperator]


def descend(
    operator: Operator,
    model: torch.nn.Module,
    learning_rate: float,
    num_steps: int,
    precondition: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> list[float]:
    """Return the losses of full-data gradient descent on a copy of `model`, the first before any step.

    `precondition(g)` is what is stepped along in the place of the gradient.
    """
    moving = copy.deepcopy(model)
    H = operator(moving)
    named = dict(moving.named_parameters())
    losses = [H.loss()]
    for _ in range(num_steps):
        gradient = H.gradient()
        step = gradient if precondition is None else precondition(gradient)
        with torch.no_grad():
            for name, part in H.unflatten(step).items():
                named[name].sub_(learning_rate * part.to(named[name].dtype))
        losses.append(H.loss())
    return losses


def experiments(operator: Operator, model: torch.nn.Module, *, k: int, num_steps: int, seed: int) -> dict[str, Any]:
    """Run gradient descent from the model's parameters, and beside it what the quadratic model says.

    "plain" has the step length 1 / lambda_1. "removed" multiplies the gradient's part in the top k eigenvectors by
    lambda_k / lambda_i, which makes lambda_k the largest eigenvalue of what is descended on, and steps as far as that
    allows; "added" multiplies it by `ADDED`, which makes outliers ten times as large, and has to step as much shorter.
    """
    H = operator(model)
    H.reproducible()
    found = gradient_concentration(H, k, num_steps=2 * num_steps, tol=1e-3, seed=seed)
    values = torch.from_numpy(found.eigenvalues.copy())
    vectors = torch.from_numpy(np.ascontiguousarray(found.eigenvectors))

    def scaled(factors: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda g: g + vectors @ ((factors - 1) * (vectors.T @ g))

    largest, edge = float(values[0]), float(values[-1])
    plain = descend(operator, model, 1 / largest, num_steps)
    predicted = predict_loss(plain[0], found.gradient_norm, found.nodes, found.weights, 1 / largest, num_steps)
    return {
        "largest": largest,
        "edge": edge,
        "concentration": found.fraction,
        "plain": plain,
        "predicted": predicted.tolist(),
        "removed": descend(operator, model, 1 / edge, num_steps, scaled(edge / values)),
        "added": descend(operator, model, 1 / (ADDED * largest), num_steps, scaled(torch.full_like(values, ADDED))),
    }
