"""The eigenvalue density of an operator: weighted nodes from several probes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.special
import scipy.stats

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64
from fastlanczos.density.file import read, write
from fastlanczos.density.picture import draw
from fastlanczos.gauss.truncation import series_remainder, shorter_rules
from fastlanczos.probes.intervals import short_tail, standard_error, widths

__all__ = ["Distances", "SpectralDensity", "padded"]

_BLOCK = 2_000_000  # kernel values held at a time while a density is evaluated
_MOST_POINTS = 20_000  # of the grid on which the quadrature's error is looked for


@dataclass(frozen=True)
class Distances:
    """How far two spectral measures are apart.

    Attributes
    ----------
    wasserstein : float
        Wasserstein-1 distance, the integral of the gap between the cumulative distributions, in eigenvalues' units.
    kolmogorov : float
        The largest gap between the cumulative distributions.
    """

    wasserstein: float
    kolmogorov: float


@dataclass(frozen=True, eq=False, repr=False)
class SpectralDensity:
    """The spectral measure of an operator, (1/n) sum_i delta(t - lambda_i), estimated from probes.

    Each probe's row of nodes and weights is the Gauss quadrature rule of its Lanczos run; the estimate is the mean over
    the rows. Calling it gives the density blurred by a Gaussian, phi_sigma(t) = mean over probes of
    sum_i weights_i N(t; nodes_i, sigma^2).

    Attributes
    ----------
    nodes, weights : ndarray, shape (probes, m), float64
        Ascending nodes, and nonnegative weights. Rows of runs that ended early are padded with their last node at
        weight zero.
    dim : int
        n, the operator's dimension.
    info : dict
        How it was computed: seed, probes, num_steps, reorthogonalize, basis_dtype, asymmetry, num_matvecs.

    Raises
    ------
    ValueError
        If nodes and weights have different shapes, entries that are not finite, or negative weights; where `dim` is
        below 1.

    References
    ----------
    Ghorbani, Krishnan and Xiao, "An Investigation into Neural Net Optimization via Hessian Eigenvalue Density", ICML
    2019 (arXiv 1901.10159), section 2.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> d = fl.spectral_density(np.diag(np.linspace(-1.0, 3.0, 400)), seed=0)
    >>> t = d.grid(num=5)
    >>> [round(float(c), 1) for c in d.cdf([-2.0, 1.0, 4.0])]
    [0.0, 0.5, 1.0]
    """

    nodes: Float64
    weights: Float64
    dim: int
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("nodes", "weights"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 2 or values.size == 0:
                raise ValueError(f"{name} must have shape (probes, m), got {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has entries that are NaN or infinite")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if self.nodes.shape != self.weights.shape:
            raise ValueError(f"nodes have shape {self.nodes.shape}, but weights {self.weights.shape}")
        if (self.weights < 0).any():
            raise ValueError("weights must not be negative")
        object.__setattr__(self, "dim", as_dimension(self.dim, "dim"))

    @classmethod
    def from_eigenvalues(cls, eigenvalues: Any) -> SpectralDensity:
        """Return the exact density of an operator whose eigenvalues, shape (n,), are all known."""
        values = np.sort(np.asarray(eigenvalues, dtype=np.float64).ravel())
        n = values.size
        return cls(values[None], np.full((1, n), 1.0 / max(n, 1)), n, {"exact": True})

    @property
    def num_probes(self) -> int:
        """Number of probes p."""
        return int(self.nodes.shape[0])

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest node of positive weight: estimates of the ends of the spectrum."""
        seen = self.nodes[self.weights > 0]
        return float(seen.min()), float(seen.max())

    @property
    def sigma(self) -> float:
        """The default bandwidth, which is the paper's: sigma^2 = 1e-5 max(1, range of the nodes).

        It is an absolute width for Hessians with eigenvalues around 1. Pass `sigma` for other scales."""
        low, high = self.extremes
        return float(np.sqrt(1e-5 * max(1.0, high - low)))

    @property
    def mean(self) -> float:
        """Estimate of tr(A) / n."""
        return self.moment(1)

    @property
    def negative_share(self) -> float:
        """Share of sum_i |lambda_i| that lies below zero."""
        magnitude = self.weights * np.abs(self.nodes)
        total = magnitude.sum()
        return float(magnitude[self.nodes < 0].sum() / total) if total > 0 else 0.0

    def moment(self, p: int) -> float:
        """Return the estimate of tr(A^p) / n, for an integer p >= 0 (exact in its quadrature to p = 2m - 1)."""
        if isinstance(p, bool) or not isinstance(p, (int, np.integer)) or p < 0:
            raise ValueError(f"p must be an integer of at least 0, got {p!r}")
        return float(np.mean(np.sum(self.weights * self.nodes ** int(p), axis=1)))

    def __call__(self, t: Any, sigma: float | None = None) -> Float64:
        """Return the density at `t` (any shape), blurred by a Gaussian of standard deviation `sigma`.

        `sigma` has the unit of the eigenvalues; None is the paper's bandwidth, see the property `sigma`."""
        return np.asarray(self._over_probes(t, _gaussian, self.bandwidth(sigma)).mean(axis=0))

    def cdf(self, t: Any, sigma: float | None = None) -> Float64:
        """Return the cumulative distribution at `t` (any shape), blurred in the same way; with sigma=0 a step
        function."""
        width = 0.0 if sigma == 0 else self.bandwidth(sigma)
        return np.asarray(self._over_probes(t, _cumulative, width).mean(axis=0))

    def band(
        self, t: Any, level: float = 0.95, sigma: float | None = None, *, cumulative: bool = False
    ) -> tuple[Float64, Float64]:
        """Return (low, high), a confidence band for the blurred density at `t`, or for its cdf.

        It covers the total error: at each point Student's interval over the probes, stretched on the side that they are
        skewed to, plus the `quadrature_error` on both sides. The lower end may be negative; it is not clipped. Raises
        ValueError for a single probe, which has no spread."""
        if self.num_probes < 2:
            raise ValueError("a band needs at least two probes: one probe has no spread")
        samples = self._over_probes(t, _cumulative if cumulative else _gaussian, self.bandwidth(sigma))
        center = samples.mean(axis=0)
        below, above = widths(level, standard_error(samples), short_tail(samples), self.num_probes)
        error = self.quadrature_error(t, sigma, cumulative=cumulative)
        return center - below - error, center + above + error

    def quadrature_error(self, t: Any, sigma: float | None = None, *, cumulative: bool = False) -> Float64:
        """Return an estimate of the error of the blurred density (or cdf) at `t` that the finite number of Lanczos
        steps causes.

        It compares the rules of half, three quarters and all of the steps near `t` (within three bandwidths, or the
        distance of nodes if that is more), and adds the rest of a geometric series. It is zero for an exact density.
        """
        points = np.asarray(t, dtype=np.float64)
        shorter = self._shorter
        if not shorter:
            return np.zeros(points.shape)
        width = self.bandwidth(sigma)
        low, high = self.extremes
        # On a grid, since the change at a single point may be zero by chance.
        step = max(width / 2, (high - low) / _MOST_POINTS)
        grid = np.arange(low - 6 * width, high + 6 * width + step, step)
        kernel = _cumulative if cumulative else _gaussian
        half, most, whole = (d._over_probes(grid, kernel, width).mean(axis=0) for d in (*shorter, self))
        near = max(3 * width, (high - low) / self.nodes.shape[1])
        around = 2 * int(np.ceil(near / step)) + 1
        before, after = (
            scipy.ndimage.maximum_filter1d(np.abs(change), around, mode="nearest")
            for change in (most - half, whole - most)
        )
        return np.interp(points, grid, series_remainder(before, after), left=0.0, right=0.0)

    @functools.cached_property
    def _shorter(self) -> list[SpectralDensity]:
        """The density by half and by three quarters of the steps; empty where all rules are exact."""
        counts = (self.weights > 0).sum(axis=1)
        # Of an invariant subspace the rule is the measure.
        complete = (counts < self.info.get("num_steps", 0)) | (counts >= self.dim)
        if self.info.get("exact") or complete.all():
            return []
        rows: list[list[tuple[Float64, Float64]]] = [
            [(x, w)] * 2 if exact else shorter_rules(x, w)
            for x, w, exact in zip(self.nodes, self.weights, complete, strict=True)
        ]
        return [SpectralDensity(*padded([row[i] for row in rows]), self.dim, {"exact": True}) for i in range(2)]

    def quadrature_bound(self, sigma: float | None = None) -> float:
        """Return a bound on the error of the blurred density, at any point, that the finite number m of Lanczos steps
        causes.

        It is rigorous, where `quadrature_error` is an estimate. The Gaussian is analytic: with M its largest modulus on
        the ellipse of parameter rho around the spectrum, a rule of m nodes is off by at most
        4 M rho^(1 - 2m) / (rho - 1), here with the best rho. It falls geometrically in m once m is some multiple of
        range / sigma; before that it is the trivial bound, the Gaussian's height.
        """
        width = self.bandwidth(sigma)
        low, high = self.extremes
        m = int((self.weights > 0).sum(axis=1).min())
        height = 1.0 / (width * np.sqrt(2.0 * np.pi))
        rho = 1.0 + np.logspace(-6, 3, 2000)
        rise = 0.5 * (0.25 * (high - low) * (rho - 1.0 / rho) / width) ** 2
        exponent = np.log(4.0) + rise + (1 - 2 * m) * np.log(rho) - np.log(rho - 1.0)
        return float(height * max(np.exp(min(0.0, float(exponent.min()))), np.finfo(np.float64).eps))

    def compare(self, other: SpectralDensity) -> Distances:
        """Return the distances of two densities, as measures without blurring."""
        (x, below_x), (y, below_y) = _steps(self), _steps(other)
        points = np.sort(np.concatenate([x, y]))
        gaps = np.abs(below_x[np.searchsorted(x, points, "right")] - below_y[np.searchsorted(y, points, "right")])
        return Distances(float(gaps[:-1] @ np.diff(points)), float(gaps.max()))

    def __add__(self, other: SpectralDensity) -> SpectralDensity:
        """Return the density of the probes of both.

        Raises ValueError if the dimensions differ, or if both used the same seed, since their probes are then the same.
        """
        if not isinstance(other, SpectralDensity):
            return NotImplemented
        if self.dim != other.dim:
            raise ValueError(f"the densities are of operators of dimension {self.dim} and {other.dim}")
        seeds = self.info.get("seed"), other.info.get("seed")
        if seeds[0] is not None and seeds[0] == seeds[1]:
            raise ValueError(f"both densities used seed {seeds[0]}, so their probes are the same: use different seeds")
        rules = [rule for d in (self, other) for rule in zip(d.nodes, d.weights, strict=True)]
        info = {key: value for key, value in self.info.items() if other.info.get(key) == value}
        if "num_matvecs" in self.info and "num_matvecs" in other.info:
            info["num_matvecs"] = self.info["num_matvecs"] + other.info["num_matvecs"]
        if "asymmetry" in self.info and "asymmetry" in other.info:
            info["asymmetry"] = max(self.info["asymmetry"], other.info["asymmetry"])
        return SpectralDensity(*padded(rules), self.dim, info)

    def grid(self, num: int = 10_000, sigma: float | None = None) -> Float64:
        """Return `num` equidistant points that cover the blurred density: the nodes' range and 5 sigma beyond."""
        if isinstance(num, bool) or not isinstance(num, (int, np.integer)) or num < 2:
            raise ValueError(f"num must be an integer of at least 2, got {num!r}")
        width = self.bandwidth(sigma)
        low, high = self.extremes
        return np.linspace(low - 5 * width, high + 5 * width, int(num))

    def plot(self, ax: Any = None, *, sigma: float | None = None, level: float | None = 0.95, **line: Any) -> Any:
        """Draw the blurred density on a log scale, with its band over the probes; return the matplotlib axes.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; by default a new figure.
        sigma : float, optional
            Bandwidth, see the property `sigma`.
        level : float or None
            Confidence level of the band; None draws none.
        **line
            Passed on to matplotlib's `plot`: color, label, linestyle.

        Raises
        ------
        ImportError
            If matplotlib is missing; names the extra.
        """
        return draw(self, ax, sigma, level, **line)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to `path` as an npz file of a versioned format; the file is whole or not there."""
        write(path, self.nodes, self.weights, self.dim, self.info)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SpectralDensity:
        """Read what `save` wrote.

        Raises ValueError, naming the file, if it is damaged, of another kind, or of a newer format; OSError if it
        cannot be opened."""
        return read(path, cls)

    def bandwidth(self, sigma: float | None) -> float:
        """Return `sigma`, or the default one for None; raise ValueError where it is not positive."""
        if sigma is None:
            return self.sigma
        if not (np.isfinite(sigma) and sigma > 0):
            raise ValueError(f"sigma must be a positive number, got {sigma!r}")
        return float(sigma)

    def _over_probes(self, t: Any, kernel: Callable[[Float64, float], Float64], sigma: float) -> Float64:
        """Return sum_i weights_i kernel(t - nodes_i) for each probe, shape (probes, *t.shape)."""
        points = np.asarray(t, dtype=np.float64)
        flat = points.ravel()
        values = np.empty((self.num_probes, flat.size))
        block = max(1, _BLOCK // self.nodes.shape[1])
        for nodes, weights, row in zip(self.nodes, self.weights, values, strict=True):
            for first in range(0, flat.size, block):
                part = slice(first, first + block)
                row[part] = kernel(flat[part, None] - nodes, sigma) @ weights
        return values.reshape(self.num_probes, *points.shape)

    def __repr__(self) -> str:
        low, high = self.extremes
        how = ""
        if "reorthogonalize" in self.info:
            kept = {"full": "fully reorthogonalized", "none": "not reorthogonalized"}[self.info["reorthogonalize"]]
            how = f", {kept}, asymmetry={self.info['asymmetry']:.1e}"
        return (
            f"SpectralDensity(n={self.dim}, {self.num_probes} x {self.nodes.shape[1]} nodes in "
            f"[{low:.6g}, {high:.6g}], mean={self.mean:.6g}{how})"
        )


def padded(rules: list[tuple[Float64, Float64]]) -> tuple[Float64, Float64]:
    """Return nodes and weights (probes, m) of rules of up to m nodes, filled up with the last node at weight zero."""
    width = max(len(nodes) for nodes, _ in rules)
    return (
        np.array([np.pad(x, (0, width - len(x)), mode="edge") for x, _ in rules]),
        np.array([np.pad(w, (0, width - len(w))) for _, w in rules]),
    )


def _steps(density: SpectralDensity) -> tuple[Float64, Float64]:
    """Nodes of all probes, ascending, and the cumulative distribution before the first and after each of them."""
    order = np.argsort(density.nodes, axis=None)
    below = np.concatenate([[0.0], np.cumsum(density.weights.ravel()[order])])
    return density.nodes.ravel()[order], below / below[-1]


def _gaussian(distance: Float64, sigma: float) -> Float64:
    scaled = distance / sigma
    return np.asarray(np.exp(-0.5 * scaled * scaled) / (sigma * np.sqrt(2 * np.pi)))


def _cumulative(distance: Float64, sigma: float) -> Float64:
    if sigma == 0:
        return (distance >= 0).astype(np.float64)
    return scipy.special.ndtr(distance / sigma)  # type: ignore[no-any-return]
