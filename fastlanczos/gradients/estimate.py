"""An estimate whose value carries a gradient, and the gradient's own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fastlanczos.sums.estimate import DiagonalEstimate, Estimate

__all__ = ["DifferentiableEstimate", "GradientEstimate"]


@dataclass(frozen=True, eq=False)
class GradientEstimate:
    """A gradient with respect to one tensor, estimated from random probes.

    Attributes
    ----------
    value, std_error : Tensor
        Of the tensor's shape; the standard error is from the choice of probes, and zero where the gradient is exact.
    num_probes : int
        Number of probes.
    """

    value: torch.Tensor
    std_error: torch.Tensor
    num_probes: int


@dataclass(frozen=True, eq=False, repr=False)
class DifferentiableEstimate:
    """A number, or a diagonal, estimated from random probes, with a gradient.

    Attributes
    ----------
    value : Tensor, shape () or (n,), float64
        The estimate. Its gradient is an unbiased estimate of the true value's, from the same probes and Krylov spaces.
    estimate : fastlanczos.Estimate or DiagonalEstimate
        The same without a gradient. Its attributes and methods are found here too: std_error, quadrature_error,
        num_probes, num_matvecs, info, interval(), half_width().
    """

    value: torch.Tensor
    estimate: Estimate | DiagonalEstimate
    _gradients: Callable[[Sequence[torch.Tensor]], list[GradientEstimate]] = field(repr=False)

    def gradient(self, *inputs: torch.Tensor) -> list[GradientEstimate]:
        """Return the gradient of `value` with respect to each input, with the standard error of each entry.

        One backward pass for every probe; `value.backward()` takes one for all.

        Parameters
        ----------
        *inputs : Tensor
            Tensors that A depends on.

        Returns
        -------
        list of GradientEstimate

        Raises
        ------
        ValueError
            If A does not depend on an input.

        Examples
        --------
        >>> import torch
        >>> import fastlanczos.torch as flt
        >>> s = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        >>> A = torch.diag(torch.linspace(1, 2, 300, dtype=torch.float64))
        >>> e = flt.logdet(lambda v: s * (A @ v), 300, num_probes=10, num_steps=20, seed=0)
        >>> [g] = e.gradient(s)
        >>> abs(float(g.value) - 150) < 4 * float(g.std_error) + 1e-8
        True
        """
        return self._gradients(inputs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "estimate":
            raise AttributeError(name)
        return getattr(self.estimate, name)

    def __float__(self) -> float:
        return float(self.value.detach())

    def __repr__(self) -> str:
        return f"{self.estimate!r}, with a gradient" if self.value.requires_grad else repr(self.estimate)
