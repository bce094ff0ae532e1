"""The picture of a density: log scale, with its band."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["draw"]


def draw(density: Any, ax: Any, sigma: float | None, level: float | None, **line: Any) -> Any:
    """Draw a SpectralDensity into `ax`, or into a new figure; see its method `plot`."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError("plot needs matplotlib: pip install 'fastlanczos[plot]'") from None
        _, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    width = density.bandwidth(sigma)
    # Points enough to resolve each peak, so that no outlier falls between two of them.
    low, high = density.extremes
    num = int(np.clip(4 * (high - low + 10 * width) / width, 10_000, 200_000))
    t = density.grid(num, width)
    # A hundredth of one eigenvalue's peak: below it there is nothing to see, and a Gaussian's tail of 1e-300 would
    # set the axis.
    floor = 1e-2 / (density.dim * width * np.sqrt(2 * np.pi))
    (drawn,) = ax.plot(t, np.maximum(density(t, width), floor / 10), **line)
    if level is not None and density.num_probes > 1:
        lower, upper = density.band(t, level, width)
        ax.fill_between(
            t,
            np.maximum(lower, floor / 10),
            np.maximum(upper, floor / 10),
            color=drawn.get_color(),
            alpha=0.25,
            linewidth=0,
        )
    ax.set_yscale("log")
    ax.set_ylim(bottom=floor)
    ax.set_xlabel("eigenvalue")
    ax.set_ylabel("density")
    return ax
