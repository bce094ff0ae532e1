"""Products without second derivatives: central differences of the gradient, or of the outputs.

    H v = (g(theta + s v) - g(theta - s v)) / (2 s) + O(s^2)
    J v = (z(theta + s v) - z(theta - s v)) / (2 s) + O(s^2), then J' B (J v) by first derivatives

First derivatives are torch's own, so everything works that can be trained with. Nothing is written into the model: they
are taken at copies of the parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastlanczos.model.function import ModelFunction, Snapshot
from fastlanczos.model.losses import BatchLoss
from fastlanczos.model.parameters import ParameterSpace

__all__ = ["Differences", "GradientDifferences", "JacobianDifferences"]

_STEPS = 4.0  # ratio of the steps that are tried for the first product
_TRIED = (-4, -3, -2, -1, 0, 1)  # small ones too: a large step crosses kinks of ReLU

Visit = Callable[[Callable[[Any], BatchLoss]], object]


class Differences(ABC):
    """Central differences along vectors, with a step that is chosen for the first one.

    Truncation grows like the step's square, rounding like its inverse. `error` is what two steps make of the same
    product, relative to its norm: about what the better of them is off by. `reached` are the places of the parameters
    that got a derivative from any batch.
    """

    def __init__(self, function: ModelFunction, space: ParameterSpace) -> None:
        self._function, self._space = function, space
        self.relative: float | None = None  # |step v| over |theta|
        self.error = float("nan")
        self.reached: set[int] = set()

    def times(self, snapshot: Snapshot, visit: Visit, v: torch.Tensor, product: torch.Tensor) -> None:
        """Write (curvature of the summed loss) v into `product`, float64."""
        size = float(torch.linalg.vector_norm(v.double()))
        if size == 0.0:
            visit(lambda piece: self._loss(snapshot, piece))
            product.zero_()
            return
        if self.relative is None:
            self._choose(snapshot, visit, v / size, product)
        self._difference(snapshot, visit, v / size, product)
        product.mul_(size)

    def look(self, snapshot: Snapshot, piece: Any) -> None:
        """Do once what a product does with a piece, to see what memory it needs."""
        parts = [torch.zeros_like(leaf) for leaf in snapshot.leaves]
        self._add(snapshot, piece, parts, 1.0, [torch.zeros_like(part, dtype=torch.float64) for part in parts])

    def _choose(self, snapshot: Snapshot, visit: Visit, unit: torch.Tensor, product: torch.Tensor) -> None:
        epsilon = max(torch.finfo(leaf.dtype).eps for leaf in snapshot.leaves)
        best, before, chosen = float("inf"), None, epsilon ** (1 / 3)
        try:
            for power in _TRIED:
                relative = epsilon ** (1 / 3) * _STEPS**power
                self.relative = relative
                self._difference(snapshot, visit, unit, product)
                now = product.clone()
                norm = max(float(torch.linalg.vector_norm(now)), 1e-300)
                if before is not None:
                    change = float(torch.linalg.vector_norm(now - before))
                    if change <= best * norm:
                        # The smaller step's truncation is a sixteenth, the larger one's rounding a fourth.
                        best, chosen = change / norm, relative / 2.0
                before = now
        except BaseException:
            self.relative = None  # the next product chooses
            raise
        self.relative, self.error = chosen, best

    def _difference(self, snapshot: Snapshot, visit: Visit, unit: torch.Tensor, product: torch.Tensor) -> None:
        assert self.relative is not None
        theta = torch.sqrt(sum((leaf.detach().double() ** 2).sum().to(unit.device) for leaf in snapshot.leaves))  # type: ignore[arg-type]
        step = self.relative * max(float(theta), 1e-3)
        parts = self._space.split(unit)
        product.zero_()
        places = self._space.split(product)
        visit(lambda piece: self._add(snapshot, piece, parts, step, places))
        product.div_(2.0 * step)

    @abstractmethod
    def _add(
        self,
        snapshot: Snapshot,
        piece: Any,
        parts: Sequence[torch.Tensor],
        step: float,
        places: Sequence[torch.Tensor],
    ) -> BatchLoss:
        """Add 2 `step` times a piece's product to `places`."""

    def _moved(self, snapshot: Snapshot, parts: Sequence[torch.Tensor], step: float) -> list[torch.Tensor]:
        return [
            torch.add(leaf.detach(), part.to(leaf.device, leaf.dtype), alpha=step).requires_grad_()
            for leaf, part in zip(snapshot.leaves, parts, strict=True)
        ]

    def _collect(self, leaves: Sequence[torch.Tensor], places: Sequence[torch.Tensor], sign: float) -> None:
        for i, (place, leaf) in enumerate(zip(places, leaves, strict=True)):
            if leaf.grad is not None:
                self.reached.add(i)
                grad = leaf.grad.to_dense() if leaf.grad.is_sparse else leaf.grad
                place.add_(grad.to(place.device), alpha=sign)

    def _loss(self, snapshot: Snapshot, piece: Any) -> BatchLoss:
        with torch.no_grad():
            return self._function.evaluate(snapshot, piece, closed=False).loss


class GradientDifferences(Differences):
    """Of the Hessian: two gradients a product."""

    def _add(
        self,
        snapshot: Snapshot,
        piece: Any,
        parts: Sequence[torch.Tensor],
        step: float,
        places: Sequence[torch.Tensor],
    ) -> BatchLoss:
        for sign in (1.0, -1.0):
            leaves = self._moved(snapshot, parts, sign * step)
            loss = self._function.differentiate(snapshot, piece, leaves)
            self._collect(leaves, places, sign)
        return loss


class JacobianDifferences(Differences):
    """Of J' B J: two forward passes and a gradient a product, and B by the loss's own second derivative.

    `outputs(loss)` are the tensors of which J is the Jacobian, `inner(loss, outputs)` is u -> B u between them.
    """

    def __init__(
        self,
        function: ModelFunction,
        space: ParameterSpace,
        outputs: Callable[[BatchLoss], list[torch.Tensor]],
        inner: Callable[[BatchLoss, list[torch.Tensor]], Callable[..., Sequence[torch.Tensor]]],
    ) -> None:
        super().__init__(function, space)
        self._outputs, self._inner = outputs, inner

    def _add(
        self,
        snapshot: Snapshot,
        piece: Any,
        parts: Sequence[torch.Tensor],
        step: float,
        places: Sequence[torch.Tensor],
    ) -> BatchLoss:
        pushed: list[torch.Tensor] = []

        def push(loss: BatchLoss) -> None:
            outputs = [z.detach() for z in self._outputs(loss)]
            pushed[:] = [u - z for u, z in zip(pushed, outputs, strict=True)] if pushed else outputs

        for sign in (1.0, -1.0):
            self._function.differentiate(snapshot, piece, self._moved(snapshot, parts, sign * step), push)

        def pull(loss: BatchLoss) -> None:
            outputs = self._outputs(loss)
            torch.autograd.backward(outputs, list(self._inner(loss, outputs)(tuple(pushed))))

        leaves = [leaf.detach().clone().requires_grad_() for leaf in snapshot.leaves]
        loss = self._function.differentiate(snapshot, piece, leaves, pull)
        self._collect(leaves, places, 1.0)
        return loss
