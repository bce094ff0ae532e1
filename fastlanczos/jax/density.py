"""The eigenvalue density inside a JAX program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastlanczos.jax.forms import draw
from fastlanczos.jax.run import lanczos, quadrature

__all__ = ["SpectralMeasure", "spectral_density"]


class SpectralMeasure(NamedTuple):
    """Gauss rules of some probes, whose mean is the density of eigenvalues.

    Attributes
    ----------
    nodes, weights : (p, m) float64
        Of each probe; its weights sum to one.
    """

    nodes: Any
    weights: Any

    def density(self, x: Any, sigma: Any) -> Any:
        """Return the density at points x, each node widened to a Gaussian of standard deviation sigma."""
        distance = (jnp.asarray(x)[..., None, None] - self.nodes) / sigma
        bumps = jnp.exp(-0.5 * distance**2) / (sigma * (2.0 * jnp.pi) ** 0.5)
        return (self.weights * bumps).sum(axis=(-2, -1)) / self.nodes.shape[0]


def spectral_density(
    matvec: Callable[[Any], Any],
    dim: int,
    *,
    key: Any,
    num_probes: int = 10,
    num_steps: int = 80,
    reorthogonalize: str = "full",
    dtype: str = "float64",
) -> SpectralMeasure:
    """Estimate the density of A's eigenvalues by stochastic Lanczos quadrature inside a JAX program.

    Parameters
    ----------
    matvec, dim, key, num_probes, dtype
        As in `trace`.
    num_steps : int
        Lanczos steps for each probe.
    reorthogonalize : {"full", "none"}
        "none" keeps no basis, and shows converged eigenvalues several times.

    Returns
    -------
    SpectralMeasure

    References
    ----------
    Ghorbani, Krishnan and Xiao, "An investigation into neural net optimization via Hessian eigenvalue density", ICML
    2019, algorithm 1.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> jax.config.update("jax_enable_x64", True)
    >>> import fastlanczos.jax as flj
    >>> d = jnp.linspace(0.0, 1.0, 400)
    >>> measure = jax.jit(lambda d: flj.spectral_density(lambda x: d * x, 400, key=jax.random.key(0)))(d)
    >>> bool(abs(measure.density(0.5, 0.05) - 1.0) < 0.2)
    True
    """

    def rule(v: Any) -> tuple[Any, Any]:
        r = lanczos(matvec, v, num_steps, reorthogonalize=reorthogonalize)
        return quadrature(r.alpha, r.beta)

    return SpectralMeasure(*jax.vmap(rule)(draw(key, num_probes, dim, dtype)))
