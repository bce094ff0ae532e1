"""Curvature as an adaptive optimizer sees it: P^1/2 H P^1/2, P its diagonal preconditioner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from fastlanczos.curvature.operator import CurvatureOperator

__all__ = ["PreconditionedOperator"]


class PreconditionedOperator:
    """P^1/2 H P^1/2 for a curvature operator H and the diagonal P with which an optimizer multiplies the gradient.

    It has the eigenvalues of P H: its largest, times the learning rate, is what decides the stability of the optimizer.

    Parameters
    ----------
    H : HessianOperator, GGNOperator or FisherOperator
        The curvature.
    P : torch.optim.Optimizer, tensor or array of shape (n,), or {name: tensor}
        An optimizer that has taken a step: Adam, AdamW and their like (exp_avg_sq; max_exp_avg_sq with amsgrad),
        RMSprop or Adagrad; P = 1 / (sqrt(second moment) + eps), with Adam's bias correction, without the learning
        rate. Or P itself, positive, flat or by the parameters' names.

    Attributes
    ----------
    shape, dtype, device
        Those of H.
    diagonal : tensor, shape (n,), float64
        P as it was when the operator was made.

    Raises
    ------
    TypeError, ValueError
        If the optimizer has no second moments, or none of one of H's parameters; if P is not positive.

    References
    ----------
    Cohen et al., "Adaptive gradient methods at the edge of stability", arXiv 2207.14484: Adam with beta1 is stable
    where the largest eigenvalue is below (2 + 2 beta1) / ((1 - beta1) lr).

    Examples
    --------
    >>> import torch, fastlanczos as fl, fastlanczos.torch as flt
    >>> model = torch.nn.Linear(3, 2)
    >>> data = [(torch.randn(8, 3), torch.randint(2, (8,)))]
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> torch.nn.functional.cross_entropy(model(data[0][0]), data[0][1]).backward()
    >>> optimizer.step()
    >>> H = flt.HessianOperator(model, torch.nn.functional.cross_entropy, data)
    >>> flt.PreconditionedOperator(H, optimizer).shape
    (8, 8)
    """

    def __init__(self, H: CurvatureOperator, P: Any) -> None:
        if not isinstance(H, CurvatureOperator):
            raise TypeError(f"H must be a curvature operator, got {type(H).__name__}")
        self._H = H
        if isinstance(P, torch.optim.Optimizer):
            P = _of_optimizer(H, P)
        if isinstance(P, Mapping):
            P = _flat(H, P)
        self.diagonal = torch.as_tensor(P).detach().to(H.device, torch.float64).clone()
        if tuple(self.diagonal.shape) != (H.shape[0],):
            raise ValueError(f"P must have shape ({H.shape[0]},), got {tuple(self.diagonal.shape)}")
        if not bool((self.diagonal > 0).all() & torch.isfinite(self.diagonal).all()):
            raise ValueError("P must be positive and finite")
        self._root = self.diagonal.sqrt()
        self._scaled: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self._H.shape

    @property
    def dtype(self) -> torch.dtype:
        """The precision of a product."""
        return self._H.dtype

    @property
    def precision(self) -> float:
        """What a product is off by, relative to the norm."""
        return self._H.precision

    @property
    def device(self) -> torch.device:
        """Where flat vectors are."""
        return self._H.device

    def __matmul__(self, v: Any) -> Any:
        """Return P^1/2 H P^1/2 v for a flat vector (n,) or a block of columns (n, k), as `H @ v`."""
        root = self._root.to(v.device) if isinstance(v, torch.Tensor) else self._root.cpu().numpy()
        if len(v.shape) == 2:
            root = root[:, None]
        product = root * (self._H @ (root * v))
        return product.to(v.dtype) if isinstance(v, torch.Tensor) else np.asarray(product, dtype=v.dtype)

    def matvec(self, v: Any) -> Any:
        """Return the product with a flat vector (n,)."""
        return self @ v

    def matmat(self, block: Any) -> Any:
        """Return the product with a block of columns (n, k)."""
        return self @ block

    @property
    def blocks_pay(self) -> bool:
        """Whether vectors together may cost less than one by one, as `HessianOperator.blocks_pay`."""
        return self._H.blocks_pay

    def multiply_into(self, vectors: Sequence[Any], products: Sequence[Any]) -> None:
        """Write the product with each of `vectors` into `products`, as `HessianOperator.multiply_into`."""
        if self._scaled is None or len(self._scaled) < len(vectors):
            self._scaled = torch.empty((len(vectors), self.shape[0]), dtype=torch.float64, device=self.device)
        scaled = list(self._scaled[: len(vectors)])
        for row, v in zip(scaled, vectors, strict=True):
            torch.mul(self._root, torch.as_tensor(v), out=row)
        self._H.multiply_into(scaled, products)
        for product in products:
            torch.as_tensor(product).mul_(self._root)

    def unflatten(self, v: Any) -> dict[str, torch.Tensor]:
        """Return {name: tensor of the parameter's shape}; eigenvectors u of this operator are P^1/2 u in parameters."""
        return self._H.unflatten(v)

    def __repr__(self) -> str:
        low, high = float(self.diagonal.min()), float(self.diagonal.max())
        return f"PreconditionedOperator({self._H!r}, P from {low:.3g} to {high:.3g})"


def _flat(H: CurvatureOperator, given: Mapping[str, Any]) -> torch.Tensor:
    names = H.unflatten(torch.zeros(H.shape[0])).keys()
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"P has nothing for the parameters {missing[:6]}")
    return torch.cat([torch.as_tensor(given[name]).detach().double().flatten().to(H.device) for name in names])


def _of_optimizer(H: CurvatureOperator, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    found = {}
    for name, p in H.parameters().items():
        if id(p) not in groups:
            raise ValueError(f"the optimizer does not have the parameter {name!r}, which H has")
        state = optimizer.state.get(p, {})
        if not state:
            raise ValueError(f"the optimizer has no state for {name!r} yet: take a step first")
        found[name] = 1.0 / (_second_moment(optimizer, state, groups[id(p)]).sqrt() + groups[id(p)]["eps"])
    return found


def _second_moment(optimizer: torch.optim.Optimizer, state: Any, group: Any) -> torch.Tensor:
    if "exp_avg_sq" in state:
        moment = state.get("max_exp_avg_sq", state["exp_avg_sq"])
        return moment.double() / (1.0 - group["betas"][1] ** float(state["step"]))  # type: ignore[no-any-return]
    if "square_avg" in state:
        moment = state["square_avg"].double()
        return moment - state["grad_avg"].double() ** 2 if "grad_avg" in state else moment  # type: ignore[no-any-return]
    if "sum" in state:
        return state["sum"].double()  # type: ignore[no-any-return]
    raise TypeError(
        f"{type(optimizer).__name__} keeps no second moments (exp_avg_sq, square_avg or sum): pass P itself, a tensor "
        "or {name: tensor}"
    )
