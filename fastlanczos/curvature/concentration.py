"""How the gradient is distributed over the spectrum, and its share in the top eigenspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64
from fastlanczos.curvature.operator import CurvatureOperator
from fastlanczos.eigenpairs.eigsh import eigsh
from fastlanczos.krylov.decomposition import lanczos

__all__ = ["GradientConcentration", "gradient_concentration"]


@dataclass(frozen=True)
class GradientConcentration:
    """The full-data gradient g in the eigenbasis of the curvature.

    Attributes
    ----------
    fraction : float
        |P g|^2 / |g|^2 with P the projection onto the top k eigenvectors: 1 where the gradient lies in their span.
    cumulative : (k,) float64
        The same for the top 1, 2, ... k.
    eigenvalues : (k,) float64
        The largest eigenvalues, descending.
    eigenvectors : (n, k) float64
        Theirs, as columns; (H.local_dim, k) on each rank of an operator over ranks.
    nodes, weights : (m,) float64
        The distribution of the gradient's energy over the spectrum: a Gauss rule with weights that sum to 1.
    gradient_norm : float
        |g|.
    dim : int
        n. A direction drawn at random would have the fraction k / n.
    """

    fraction: float
    cumulative: Float64 = field(repr=False)
    eigenvalues: Float64 = field(repr=False)
    eigenvectors: Float64 = field(repr=False)
    nodes: Float64 = field(repr=False)
    weights: Float64 = field(repr=False)
    gradient_norm: float
    dim: int

    def plot(self, ax: Any = None) -> Any:
        """Draw the gradient's energy below each eigenvalue, with the top eigenvalues marked; return the axes."""
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.subplots()[1]
        ax.step(self.nodes, np.cumsum(self.weights), where="post", label="gradient's energy below")
        ax.plot(self.eigenvalues, np.zeros_like(self.eigenvalues), "|", ms=14, label="largest eigenvalues")
        ax.set(xlabel="eigenvalue", ylabel="share of the gradient's energy", ylim=(-0.02, 1.02))
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return (
            f"GradientConcentration({self.fraction:.4f} of |g|^2 in the top {len(self.eigenvalues)} of {self.dim} "
            f"directions, |g|={self.gradient_norm:.3g})"
        )


def gradient_concentration(
    H: CurvatureOperator,
    k: int = 10,
    *,
    num_steps: int = 90,
    tol: float = 0.0,
    seed: int | None = None,
    v0: Any = None,
    progress: bool = False,
) -> GradientConcentration:
    """Compute the share of the gradient in the top eigenspace, and its distribution over the spectrum.

    The share comes from the k largest eigenpairs. The distribution comes from one Lanczos run that starts at the
    gradient: the weights of its quadrature are the gradient's energy at the nodes.

    Parameters
    ----------
    H : HessianOperator, GGNOperator or FisherOperator
        The curvature; its data are those of the gradient.
    k : int
        Dimension of the eigenspace of the largest (most positive) eigenvalues.
    num_steps : int
        Steps of the run from the gradient.
    tol : float
        Accuracy of the eigenpairs, as in `eigsh`.
    seed : int, optional
        For the start vector of the eigenpairs.
    v0 : ndarray, shape (n, p), optional
        Start vectors in its place: `eigenvectors` of a time before, for instance.
    progress : bool
        Show progress bars.

    Returns
    -------
    GradientConcentration

    Raises
    ------
    TypeError
        If H is not a curvature operator.
    ValueError
        If the gradient is zero, or k is not below H's dimension.

    References
    ----------
    Ghorbani, Krishnan and Xiao (arXiv 1901.10159), section 4.

    Examples
    --------
    >>> import torch, fastlanczos.torch as flt
    >>> model = torch.nn.Linear(5, 3, dtype=torch.float64)
    >>> data = [(torch.randn(50, 5, dtype=torch.float64), torch.randint(3, (50,)))]
    >>> c = flt.gradient_concentration(flt.HessianOperator(model, torch.nn.functional.cross_entropy, data), k=6)
    >>> bool(0 <= c.cumulative[0] <= c.fraction <= 1), round(float(c.weights.sum()), 12)
    (True, 1.0)
    """
    if not isinstance(H, CurvatureOperator):
        raise TypeError(f"H must be a curvature operator such as HessianOperator, got {type(H).__name__}")
    k = as_dimension(k, "k")
    if k >= H.shape[0]:
        raise ValueError(f"k must be below the dimension {H.shape[0]}, got {k}")
    gradient = H.gradient().cpu().numpy()
    norm = float(np.linalg.norm(gradient))
    if norm == 0:
        raise ValueError("the gradient is zero, so its distribution over the spectrum is not defined")
    shared = H.shared
    if shared is not None:
        seed = shared.group.share(seed if seed is not None else np.random.SeedSequence().entropy)[0]
    if v0 is not None and shared is not None:
        raise ValueError("v0 is not taken for an operator over ranks: leave it out")
    v0 = np.random.default_rng(seed).standard_normal(H.shape[0]) if v0 is None else np.asarray(v0)
    if shared is not None:
        v0, gradient = shared.part(v0), shared.part(gradient)
    values, vectors = eigsh(H, k, which="LA", v0=v0, tol=tol, progress=progress)
    order = np.argsort(values)[::-1]
    values, vectors = values[order].astype(np.float64), vectors[:, order].astype(np.float64)
    products = vectors.T @ (gradient / norm)
    shares = (products if shared is None else shared.gather(products).sum(axis=0)) ** 2
    run = lanczos(H, num_steps=min(num_steps, H.shape[0]), v0=gradient, return_basis=False, progress=progress)
    nodes, weights = run.quadrature()
    return GradientConcentration(
        fraction=float(shares.sum()),
        cumulative=np.cumsum(shares),
        eigenvalues=values,
        eigenvectors=vectors,
        nodes=nodes,
        weights=weights,
        gradient_norm=norm,
        dim=H.shape[0],
    )
