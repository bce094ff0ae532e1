"""The number of eigenvalues in an interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays import Float64
from fastlanczos.intervals import short_tail, standard_error
from fastlanczos.slq import spectral_density
from fastlanczos.sums.estimate import Estimate

__all__ = ["eigencount"]


def eigencount(
    A: Any,
    low: float,
    high: float,
    dim: int | None = None,
    *,
    num_probes: int = 20,
    num_steps: int = 100,
    seed: Any = None,
    like: Any = None,
    progress: bool = False,
) -> Estimate:
    """Estimate how many eigenvalues lie in [low, high].

    Parameters
    ----------
    A, dim, num_probes, num_steps, seed, like, progress
        As in `spectral_density`.
    low, high : float
        Ends of the interval; may be infinite.

    Returns
    -------
    Estimate
        Its quadrature error is a bound, by the inequalities of Chebyshev, Markov and Stieltjes: a probe's measure below
        a point lies between the rule's weights with and without the nodes next to it.

    References
    ----------
    Lin, Saad and Yang, "Approximating spectral densities of large matrices", SIAM Review 58 (2016).

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> e = fl.eigencount(np.diag(np.r_[np.zeros(300), np.linspace(1, 2, 100)]), 0.5, 3.0, seed=0)
    >>> bool(abs(e.value - 100) < e.half_width())
    True
    """
    if not low <= high:
        raise ValueError(f"low must not be above high, got [{low}, {high}]")
    density = spectral_density(
        A,
        dim,
        num_probes=num_probes,
        num_steps=num_steps,
        seed=seed,
        reorthogonalize="none",
        like=like,
        progress=progress,
    )
    n = density.dim
    counts, bounds = [], []
    for nodes, weights in zip(density.nodes, density.weights, strict=True):
        used = weights > 0
        x, w = nodes[used], weights[used]
        exact = len(x) < num_steps  # an invariant subspace: the rule is the measure
        inside = (x >= low) & (x <= high)
        counts.append(n * float(w[inside].sum()))
        bounds.append(0.0 if exact else n * (_uncertain(x, w, low) + _uncertain(x, w, high)))
    values = np.array(counts)
    error = float(standard_error(values))
    info = {"method": "hutchinson", "num_steps": num_steps, "deflated": 0, "seed": density.info["seed"]}
    info["asymmetry"] = density.info["asymmetry"]
    quadrature_error = float(np.mean(bounds))
    return Estimate(
        float(values.mean()),
        error,
        quadrature_error,
        len(values),
        density.info["num_matvecs"],
        float(short_tail(values)),
        info,
    )


def _uncertain(x: Float64, w: Float64, t: float) -> float:
    """How much of the measure may lie on the other side of t than the rule says: the node on either side of it."""
    if t < x[0] or t > x[-1]:
        return 0.0
    right = int(np.searchsorted(x, t))
    left = max(0, right - 1)
    return float(max(w[left], w[min(right, len(w) - 1)]))
