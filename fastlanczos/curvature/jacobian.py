"""Operators of the form J' B J, with the Jacobian J of a model's outputs: Gauss-Newton and Fisher."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastlanczos.curvature.differences import Differences, JacobianDifferences
from fastlanczos.curvature.graphs import Graph, JacobianGraph
from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.model.function import Evaluation, ModelFunction
from fastlanczos.model.losses import BatchLoss

__all__ = ["Inner", "JacobianOperator"]

Inner = Callable[[tuple[torch.Tensor, ...]], Sequence[torch.Tensor]]  # u -> B u


class JacobianOperator(CurvatureOperator):
    """The sum of J' B J over the pieces of the data, J the Jacobian of the tensors `_outputs`, and B their `_inner`."""

    @abstractmethod
    def _outputs(self, loss: BatchLoss) -> list[torch.Tensor]:
        """Return the tensors whose Jacobian is meant."""

    @abstractmethod
    def _inner(self, loss: BatchLoss, outputs: list[torch.Tensor]) -> Inner:
        """Return u -> B u between the outputs."""

    def _graph(self, piece: Any, evaluation: Evaluation) -> Graph:
        outputs = self._outputs(evaluation.loss)
        return JacobianGraph(evaluation, outputs, self._inner(evaluation.loss, outputs))

    def _differences(self, function: ModelFunction) -> Differences:
        return JacobianDifferences(function, self._space, self._outputs, self._inner)
