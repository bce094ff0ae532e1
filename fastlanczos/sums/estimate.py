"""Estimates with their errors: from the choice of probes, and from the finite number of steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64
from fastlanczos.probes.intervals import widths

__all__ = ["DiagonalEstimate", "Estimate"]


@dataclass(frozen=True)
class Estimate:
    """A number estimated from random probes.

    Attributes
    ----------
    value : float
        The estimate.
    std_error : float
        Standard error from the choice of probes; infinite for a single probe.
    quadrature_error : float
        Error from the finite number of steps, estimated from runs of fewer steps, and rounding.
    num_probes, num_matvecs : int
        Number of probes, and of products with A; no probes where the sum is exact.
    tail : float
        Length of the samples' shorter tail, see `probes/intervals.py`.
    info : dict
        method ("exact": no error but rounding), quadrature ("bracket": that part of the error is a bound), num_steps,
        deflated (eigenvectors taken out), seed, asymmetry.
    """

    value: float
    std_error: float
    quadrature_error: float
    num_probes: int
    num_matvecs: int
    tail: float = 0.0
    info: dict[str, Any] = field(default_factory=dict, repr=False)

    def half_width(self, level: float = 0.95) -> float:
        """Return the length of the longer side of the interval."""
        low, high = self.interval(level)
        return max(high - self.value, self.value - low)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return (low, high), a confidence interval: it holds the true value for the share `level` of all choices of
        probes.

        It is Student's interval over the probes, stretched on the side that the samples are skewed to, plus the
        quadrature's error on both sides."""
        below, above = widths(level, self.std_error, self.tail, self.num_probes)
        return self.value - float(below) - self.quadrature_error, self.value + float(above) + self.quadrature_error

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        half = self.half_width()
        if self.info.get("method") == "exact":
            return f"{self.value:.15g} (exact, rounding {half:.1g})"
        if not np.isfinite(half):
            return f"{self.value:.6g} (one probe: no error)"
        if half == 0:
            return f"{self.value:.15g} +- 0 (95%)"
        decimals = int(np.clip(1 - np.floor(np.log10(half)), 0, 17))
        if abs(self.value) >= 1e15 or (abs(self.value) < 1e-4 and half < 1e-4):
            return f"{self.value:.6g} +- {half:.2g} (95%)"
        return f"{self.value:.{decimals}f} +- {half:.{decimals}f} (95%)"


@dataclass(frozen=True, eq=False)
class DiagonalEstimate:
    """The diagonal of a matrix, estimated from random probes, each entry with its own error.

    Attributes
    ----------
    value, std_error : (n,) float64
        Estimates, and their standard errors from the choice of probes.
    quadrature_error : (n,) float64
        What the runs' finite number of steps leaves: how much the last of them still changed.
    tail : (n,) float64
        As in `Estimate`.
    num_probes, num_matvecs : int
        Probes, and products with A.
    """

    value: Float64
    std_error: Float64
    quadrature_error: Float64
    tail: Float64 = field(repr=False)
    num_probes: int
    num_matvecs: int
    info: dict[str, Any] = field(default_factory=dict, repr=False)

    def half_width(self, level: float = 0.95) -> float:
        """Return how far the interval of any entry reaches at most, at its longer side."""
        low, high = self.interval(level)
        return float(max((high - self.value).max(initial=0.0), (self.value - low).max(initial=0.0)))

    def interval(self, level: float = 0.95) -> tuple[Float64, Float64]:
        """Return (low, high), arrays (n,), for each entry by itself."""
        below, above = widths(level, self.std_error, self.tail, self.num_probes)
        return self.value - below - self.quadrature_error, self.value + above + self.quadrature_error

    def __repr__(self) -> str:
        if self.info.get("method") == "exact":
            return f"DiagonalEstimate(n={len(self.value)}, sum={self.value.sum():.6g}, exact)"
        typical = float(np.sqrt(np.mean(self.std_error**2)))
        return (
            f"DiagonalEstimate(n={len(self.value)}, sum={self.value.sum():.6g}, standard error of an entry about "
            f"{typical:.2g}, {self.num_probes} probes)"
        )
