"""Errors of estimated densities against the exact one, on a small network, for several numbers of steps and probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastlanczos.density.density import SpectralDensity
from fastlanczos.density.estimate import spectral_density
from fastlanczos.study.demo import exact_eigenvalues, train
from fastlanczos.study.images import Data
from fastlanczos.torch import HessianOperator

__all__ = ["validate"]


def validate(
    data: Data, steps: Sequence[int] = (10, 20, 40, 80), probes: Sequence[int] = (1, 2, 5, 10), *, seed: int = 0
) -> dict[str, Any]:
    """Return the exact density of the demo's network on `data`, the best estimate, and the errors of all estimates.

    An error is the largest gap between the cumulative distributions, both blurred with the paper's bandwidth.
    """
    model = train(data, seed=5)
    H = HessianOperator(model, torch.nn.functional.cross_entropy, data)
    exact = SpectralDensity.from_eigenvalues(exact_eigenvalues(H))
    sigma = exact.sigma
    low, high = exact.extremes
    t = np.linspace(low - 5 * sigma, high + 5 * sigma, 20_000)
    truth = exact.cdf(t, sigma)
    errors = []
    for m in steps:
        estimate = spectral_density(H, num_probes=max(probes), num_steps=m, seed=seed)
        for k in probes:
            some = SpectralDensity(estimate.nodes[:k], estimate.weights[:k], estimate.dim)
            errors.append({"steps": m, "probes": k, "gap": float(np.abs(some.cdf(t, sigma) - truth).max())})
    shown = np.linspace(low - 5 * sigma, high + 5 * sigma, 2_000)
    return {
        "dim": exact.dim,
        "sigma": sigma,
        "errors": errors,
        "t": shown.tolist(),
        "exact": exact(shown, sigma).tolist(),
        "estimate": estimate(shown, sigma).tolist(),
    }
