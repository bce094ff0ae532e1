"""Products without second derivatives: central differences of the gradient.

    H v = (g(theta + s v) - g(theta - s v)) / (2 s) + O(s^2)

The gradient is torch's own, so everything works that can be trained with. Nothing is written into the model: gradients
are taken at copies of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastlanczos.model.function import ModelFunction, Snapshot
from fastlanczos.model.losses import BatchLoss
from fastlanczos.model.parameters import ParameterSpace

__all__ = ["Differences"]

_STEPS = 4.0  # ratio of the steps that are tried for the first product
_TRIED = (-4, -3, -2, -1, 0, 1)  # small ones too: a large step crosses kinks of ReLU

Visit = Callable[[Callable[[Any], BatchLoss]], object]


class Differences:
    """Central differences along vectors, with a step that is chosen for the first one.

    Truncation grows like the step's square, rounding like its inverse. `error` is what two steps make of the same
    product, relative to its norm: about what the better of them is off by.
    """

    def __init__(self, function: ModelFunction, space: ParameterSpace) -> None:
        self._function, self._space = function, space
        self.relative: float | None = None  # |step v| over |theta|
        self.error = float("nan")

    def times(self, snapshot: Snapshot, visit: Visit, v: torch.Tensor, product: torch.Tensor) -> None:
        """Write (Hessian of the summed loss) v into `product`, float64."""
        size = float(torch.linalg.vector_norm(v.double()))
        if size == 0.0:
            visit(lambda piece: self._loss(snapshot, piece))
            product.zero_()
            return
        if self.relative is None:
            self._choose(snapshot, visit, v / size, product)
        self._difference(snapshot, visit, v / size, product)
        product.mul_(size)

    def _choose(self, snapshot: Snapshot, visit: Visit, unit: torch.Tensor, product: torch.Tensor) -> None:
        epsilon = max(torch.finfo(leaf.dtype).eps for leaf in snapshot.leaves)
        best, before = float("inf"), None
        for power in _TRIED:
            relative = epsilon ** (1 / 3) * _STEPS**power
            self.relative = relative
            self._difference(snapshot, visit, unit, product)
            now = product.clone()
            norm = float(torch.linalg.vector_norm(now))
            if before is not None:
                change = float(torch.linalg.vector_norm(now - before))
                if change <= best * max(norm, 1e-300):
                    # The smaller step's truncation is a sixteenth, the larger one's rounding a fourth.
                    best, chosen = change / max(norm, 1e-300), relative / 2.0
            before = now
        self.relative, self.error = (chosen if best < float("inf") else self.relative), best

    def _difference(self, snapshot: Snapshot, visit: Visit, unit: torch.Tensor, product: torch.Tensor) -> None:
        assert self.relative is not None
        theta = torch.sqrt(sum((leaf.detach().double() ** 2).sum().to(unit.device) for leaf in snapshot.leaves))  # type: ignore[arg-type]
        step = self.relative * max(float(theta), 1e-3)
        parts = self._space.split(unit)
        product.zero_()
        places = self._space.split(product)

        def add(piece: Any) -> BatchLoss:
            loss = None
            for sign in (1.0, -1.0):
                leaves = [
                    torch.add(leaf.detach(), part.to(leaf.device, leaf.dtype), alpha=sign * step).requires_grad_()
                    for leaf, part in zip(snapshot.leaves, parts, strict=True)
                ]
                loss = self._function.differentiate(snapshot, piece, leaves)
                for place, leaf in zip(places, leaves, strict=True):
                    if leaf.grad is not None:
                        grad = leaf.grad.to_dense() if leaf.grad.is_sparse else leaf.grad
                        place.add_(grad.to(place.device), alpha=sign)
            assert loss is not None
            return loss

        visit(add)
        product.div_(2.0 * step)

    def _loss(self, snapshot: Snapshot, piece: Any) -> BatchLoss:
        with torch.no_grad():
            return self._function.evaluate(snapshot, piece, closed=False).loss
