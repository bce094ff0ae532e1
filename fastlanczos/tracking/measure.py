"""One measurement of a network's curvature: density, extreme eigenvalues, trace, and where the gradient lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastlanczos.curvature.concentration import gradient_concentration
from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.density.estimate import spectral_density
from fastlanczos.tracking.measurement import Measurement
from fastlanczos.tracking.sampling import Sample, sampling_errors

__all__ = ["measure"]

Block = NDArray[np.float64]


def measure(
    H: CurvatureOperator,
    *,
    step: int = 0,
    learning_rate: float = float("nan"),
    k: int = 10,
    num_probes: int = 4,
    num_steps: int = 60,
    seed: int = 0,
    sample: Sample | None = None,
    start: Block | None = None,
    keep: Callable[[Block], object] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Measurement:
    """Measure the curvature H: its density, its k largest eigenvalues, and where the gradient lies among them.

    `sample` is the choice of data that H is over, where it is not over all of them. The same seed gives the same bits
    for an operator that is `reproducible`. `start` (n, p) are vectors to look for eigenvectors from, and `keep` gets
    those that were found. `progress(what)` is told what comes next.
    """
    tell = progress or (lambda _: None)
    k = min(k, H.shape[0] - 1)
    tell("density")
    density = spectral_density(H, num_probes=num_probes, num_steps=num_steps, seed=seed)
    tell("gradient")
    found = gradient_concentration(H, k, num_steps=num_steps, tol=1e-3, seed=seed, v0=start)
    if keep is not None:
        keep(found.eigenvectors)
    traces = density.dim * np.sum(density.weights * density.nodes, axis=1)
    smallest, largest = density.extremes
    errors: dict[str, float] = {}
    if sample is not None:
        tell("sampling error")
        errors = sampling_errors(H, sample, found.eigenvectors[:, 0], seed=seed)
    return Measurement(
        step=step,
        loss=H.loss(),
        learning_rate=float(learning_rate),
        samples=H.num_samples,
        dim=density.dim,
        trace=float(traces.mean()),
        trace_std_error=float(traces.std(ddof=1) / np.sqrt(len(traces))) if len(traces) > 1 else float("nan"),
        negative_mass=density.negative_share,
        smallest=smallest,
        largest=max(largest, float(found.eigenvalues[0])),
        top=found.eigenvalues,
        concentration=found.cumulative,
        gradient_norm=found.gradient_norm,
        gradient_nodes=found.nodes,
        gradient_weights=found.weights,
        nodes=density.nodes,
        weights=density.weights,
        sampling=errors,
    )
