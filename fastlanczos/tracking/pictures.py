"""A run's measurements drawn with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlanczos.tracking.measurement import Measurement

__all__ = ["draw_densities", "draw_run", "new_figure"]


def draw_run(measurements: Sequence[Measurement]) -> Any:
    """Draw one run: densities at some steps, extreme eigenvalues, and the gradient's concentration; return the figure.

    Raises ValueError if there is no measurement.
    """
    if not measurements:
        raise ValueError("there is no measurement to draw yet")
    figure = new_figure(11, 3.6)
    first, second, third = figure.subplots(1, 3)
    draw_densities(first, measurements)
    steps = [m.step for m in measurements]
    second.plot(steps, [m.largest for m in measurements], "o-", label="largest")
    second.plot(steps, [m.smallest for m in measurements], "o-", label="most negative")
    second.set(xlabel="step", ylabel="eigenvalue", yscale="symlog")
    second.legend(frameon=False)
    k = len(measurements[0].concentration)
    third.plot(steps, [m.concentration[-1] for m in measurements], "o-")
    third.set(xlabel="step", ylabel=f"gradient's energy in the top {k}", ylim=(-0.03, 1.03))
    return figure


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of so many inches; raises ImportError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'fastlanczos[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def draw_densities(ax: Any, measurements: Sequence[Measurement], most: int = 4) -> None:
    """Draw the densities at a few of the steps, evenly chosen, into the axes `ax`."""
    from matplotlib import colormaps

    chosen = sorted({int(i) for i in np.linspace(0, len(measurements) - 1, min(most, len(measurements))).round()})
    for place, i in enumerate(chosen):
        m = measurements[i]
        color = colormaps["viridis"](0.85 * place / max(1, len(chosen) - 1))
        m.density.plot(ax, level=None, color=color, lw=1, label=f"step {m.step}")
    ax.legend(frameon=False, fontsize="small")
