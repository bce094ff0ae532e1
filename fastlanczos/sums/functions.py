"""Functions of a matrix: by name or callable, with where they are defined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.gauss.brackets import Signs

__all__ = ["MatrixFunction", "as_function"]


@dataclass(frozen=True)
class MatrixFunction:
    """f for f(A); `needs` is "" where f is defined everywhere, "positive", "nonnegative" or "nonzero" otherwise.

    `signs` are those of its derivatives, above 0 if `needs` says anything; None if they are not known to keep them.
    `may_be_complex` says whether values may be complex numbers.
    """

    name: str
    call: Callable[[Float64], Any]
    needs: str = ""
    signs: Signs | None = None
    may_be_complex: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether f(A) is A."""
        return self.name == "identity"

    def at(self, nodes: Float64, weights: Float64, dim: int) -> NDArray[Any]:
        """Return f at the nodes of a Gauss rule; where a weight is zero, 0.

        Raises ValueError if f is not defined at a node, naming it. A node counts as zero within the rounding of the
        operator's norm, dim eps |A|: there the square root takes 0.
        """
        used = weights > 0
        x = nodes[used]
        zero = dim * np.finfo(np.float64).eps * np.abs(x).max(initial=0.0)
        lowest = int(np.argmin(x))
        told = f"the smallest node is {x[lowest]:.6g}, with weight {weights[used][lowest]:.2g}"
        if self.needs in ("positive", "nonzero"):
            close = np.abs(x) <= zero
            if close.any():
                raise ValueError(
                    f"{self.name} is singular at an eigenvalue that is zero to rounding: node {x[close][0]:.3g}, with "
                    f"weight {weights[used][close][0]:.2g}, where the operator's norm is {np.abs(x).max():.3g}. Shift "
                    "the operator (A + s I), or take a function that is finite there"
                )
        if self.needs == "positive" and x[lowest] < 0:
            raise ValueError(f"{self.name} needs a positive definite operator, but {told}")
        if self.needs == "nonnegative":
            if x[lowest] < -zero:
                raise ValueError(f"{self.name} needs an operator without negative eigenvalues, but {told}")
            x = np.where(np.abs(x) <= zero, 0.0, x)
        with np.errstate(all="ignore"):  # what is not finite is told below
            found = np.asarray(self.call(x))
        if found.shape != x.shape:
            raise ValueError(
                f"fun must be vectorized: for points of shape {x.shape} it returned an array of shape {found.shape}"
            )
        if found.dtype.kind not in ("fiubc" if self.may_be_complex else "fiub"):
            numbers = "real or complex numbers" if self.may_be_complex else "real numbers"
            hint = "; funm_multiply takes complex ones" if found.dtype.kind == "c" else ""
            raise TypeError(f"fun must return {numbers}, got dtype {found.dtype}{hint}")
        bad = ~np.isfinite(found)
        if bad.any():
            hint = ", which is zero to rounding" if abs(x[bad][0]) <= zero else ""
            raise ValueError(f"fun returned {found[bad][0]} at the point {x[bad][0]:.9g}{hint}")
        values = np.zeros(nodes.shape, np.complex128 if found.dtype.kind == "c" else np.float64)
        values[used] = found
        return values

    def integrals(self, rules: Sequence[tuple[Float64, Float64]], dim: int) -> list[float]:
        """Return the sum of weights times f for every rule (nodes, weights), in one call of f; raises as `at` does."""
        if not rules:
            return []
        ends = np.cumsum([len(x) for x, _ in rules])[:-1]
        values = self.at(np.concatenate([x for x, _ in rules]), np.concatenate([w for _, w in rules]), dim)
        return [float(w @ f) for (_, w), f in zip(rules, np.split(values, ends), strict=True)]

    def uncertainty(self, nodes: Float64, values: Float64, precision: float) -> Float64:
        """Return what rounding leaves uncertain of f at each node, where it is `values`.

        Nodes are known to the products' `precision` times |A|, and f of them to a few eps.
        """
        eps = float(np.finfo(np.float64).eps)
        shift = 4 * max(precision, eps) * float(np.abs(nodes).max(initial=0.0))
        with np.errstate(all="ignore"):
            moved = np.abs(np.asarray(self.call(nodes + shift), dtype=np.float64) - values)
        return np.where(np.isfinite(moved), moved, 0.0) + 4 * eps * np.abs(values)


_NAMED: dict[str, tuple[Callable[[Float64], Any], str, Signs | None]] = {
    "identity": (lambda x: x, "", None),
    "exp": (np.exp, "", Signs(1, 1)),
    "sign": (np.sign, "", None),
    "log": (np.log, "positive", Signs(-1, 1, 1)),
    "sqrt": (np.sqrt, "nonnegative", Signs(-1, 1, 1)),
    "inv": (lambda x: 1.0 / x, "nonzero", Signs(1, -1)),
    "inv_sqrt": (lambda x: 1.0 / np.sqrt(x), "positive", Signs(1, -1)),
}


def _signs_of_power(p: float) -> Signs:
    """The derivative n of x^p has the sign of p (p - 1) ... (p - n + 1), for x > 0; from n > p on it alternates."""
    first = 0 if p < 0 else int(np.floor(p)) + 1  # the last positive factor is the one before
    even = 1 if first % 2 == 0 else -1
    return Signs(even, -even, first)


def as_function(fun: Any) -> MatrixFunction:
    """Return what None (the identity), a name, ("power", p) or a vectorized callable stands for."""
    if fun is None:
        fun = "identity"
    if isinstance(fun, str) and fun in _NAMED:
        return MatrixFunction(fun, *_NAMED[fun])
    if isinstance(fun, tuple) and len(fun) == 2 and fun[0] == "power" and isinstance(fun[1], (int, float)):
        p = fun[1]
        if float(p).is_integer():
            signs = _signs_of_power(p) if p < 0 else None  # a polynomial is exact from some step on
            return MatrixFunction(
                "identity" if p == 1 else f"power {p}", lambda x: x ** float(p), "nonzero" * (p < 0), signs
            )
        return MatrixFunction(f"power {p}", lambda x: x**p, "nonnegative" if p > 0 else "positive", _signs_of_power(p))
    if callable(fun):
        return MatrixFunction(getattr(fun, "__name__", "fun"), fun)
    raise ValueError(f'fun must be a vectorized callable, one of {", ".join(_NAMED)}, or ("power", p); got {fun!r}')
