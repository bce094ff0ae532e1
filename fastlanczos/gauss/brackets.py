"""Quadrature rules that hold the integral between them, for functions whose derivatives keep their signs.

For f on a spectrum above `low` the error of a Gauss rule of m nodes has the sign of the derivative 2 m of f, that of
the Gauss-Radau rule with a node at `low` the sign of the derivative 2 m + 1, and with a node at `high` the opposite. So
for the logarithm, whose derivatives alternate, the Gauss rule is too large and Radau's at `low` too small, whatever the
spectrum.

Golub and Meurant, "Matrices, Moments and Quadrature with Applications" (2010), sections 6.2 and 7.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastlanczos.arrays.cpu import Float64

__all__ = ["Bounds", "Signs", "radau"]


@dataclass(frozen=True)
class Signs:
    """Of the derivatives of f from order `least` on: of even orders, and of odd ones (1 or -1)."""

    even: int
    odd: int
    least: int = 0


@dataclass(frozen=True)
class Bounds:
    """Numbers that no eigenvalue lies below or above; None where nothing is known."""

    low: float | None = None
    high: float | None = None

    @classmethod
    def given(cls, bounds: object) -> Bounds:
        """Return what the argument `bounds` of a sum says."""
        if bounds is None:
            return cls()
        pair = tuple(bounds) if isinstance(bounds, (tuple, list, np.ndarray)) else ()
        if len(pair) != 2 or any(x is not None and not np.isscalar(x) for x in pair):
            raise ValueError(f"bounds must be (low, high), numbers or None, got {bounds!r}")
        low, high = (None if x is None or not np.isfinite(x) else float(x) for x in pair)
        if low is not None and high is not None and not low < high:
            raise ValueError(f"bounds must ascend, got {bounds!r}")
        return cls(low, high)

    def check(self, nodes: Float64, slack: float) -> None:
        """Raise ValueError if a Ritz value shows that one is none."""
        for bound, at, name in ((self.low, nodes[0], "below"), (self.high, nodes[-1], "above")):
            if bound is not None and (bound - at if name == "below" else at - bound) > slack:
                raise ValueError(
                    f"bounds = ({self.low}, {self.high}) do not hold the spectrum: an eigenvalue lies at {at:.6g} or "
                    f"{name} it. Pass bounds that do, or None"
                )

    def completing(self, signs: Signs, num_steps: int) -> float | None:
        """Return the node whose Radau rule brackets the integral together with the Gauss rule, or None."""
        if 2 * num_steps < signs.least:
            return None
        return self.low if signs.even != signs.odd else self.high


def radau(alpha: Float64, beta: Float64, node: float) -> tuple[Float64, Float64] | None:
    """Return the tridiagonal matrix (diagonal, beside) of the Gauss-Radau rule with a node beyond the Gauss rule's.

    `alpha` has m entries, `beta` m, the last of which couples to the next step. None if the node is not beyond them.
    """
    pivot = alpha[0] - node
    side = np.sign(pivot)
    for a, b in zip(alpha[1:], beta[:-1], strict=True):
        if not side * pivot > 0.0:
            return None
        pivot = (a - node) - b * b / pivot
    if not side * pivot > 0.0:
        return None
    return np.append(alpha, node + beta[-1] ** 2 / pivot), np.asarray(beta)
