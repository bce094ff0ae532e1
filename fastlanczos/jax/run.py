"""A Lanczos run as one compiled program, with the caller's product inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastlanczos.engine.flat import BREAKDOWN, NOT_FINITE, NUMBERS, STEPS
from fastlanczos.jax import engine

__all__ = ["LanczosArrays", "lanczos", "quadrature"]


class LanczosArrays(NamedTuple):
    """What a run gives, as arrays whose shapes do not depend on how it went.

    Attributes
    ----------
    alpha, beta : (m,), (m - 1,) float64
        The tridiagonal matrix T. After a breakdown the rest of it is zero.
    basis : (m, n) float64 or float32, or None
        Orthonormal rows; zero after a breakdown.
    residual_norm : () float64
        Norm of what A leaves outside of the Krylov space.
    num_steps : () int
        Finished steps: fewer than m after a breakdown, at which the space is invariant, or after a product that is not
        finite.
    is_finite : () bool
        Whether v0 and all products were finite, and v0 not zero.
    """

    alpha: Any
    beta: Any
    basis: Any
    residual_norm: Any
    num_steps: Any
    is_finite: Any


def lanczos(
    matvec: Callable[[Any], Any],
    v0: Any,
    num_steps: int,
    *,
    reorthogonalize: str = "full",
    basis_dtype: str = "float64",
) -> LanczosArrays:
    """Run Lanczos with full reorthogonalization inside a JAX program: traceable under jit and vmap.

    The loop is `jax.lax.scan` over steps of the compiled engine, in XLA's own buffers. It is not differentiable: see
    `quadratic_form` and `trace`. Results have the bits of `fastlanczos.lanczos` with the same products.

    Parameters
    ----------
    matvec : callable
        v -> A v for a symmetric A, on arrays (n,) of v0's dtype. It may close over traced arrays.
    v0 : array, shape (n,), float64 or float32
        Start vector.
    num_steps : int
        Number of steps, at most n of which are made.
    reorthogonalize, basis_dtype
        As in `fastlanczos.lanczos`; "none" keeps no basis.

    Returns
    -------
    LanczosArrays

    Raises
    ------
    TypeError
        If JAX's 64-bit numbers are switched off, or v0 is not of floats.

    References
    ----------
    `csrc/include/fastlanczos/step.hpp`; Bielich et al., arXiv 2104.01253.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> jax.config.update("jax_enable_x64", True)
    >>> import fastlanczos.jax as flj
    >>> d = jnp.linspace(1.0, 2.0, 1000)
    >>> r = jax.jit(lambda d, v: flj.lanczos(lambda x: d * x, v, 30))(d, jnp.ones(1000))
    >>> r.alpha.shape, r.basis.shape, bool(abs(r.basis @ r.basis.T - jnp.eye(30)).max() < 1e-13)
    ((30,), (30, 1000), True)
    """
    v0 = jnp.asarray(v0)
    if v0.ndim != 1 or not jnp.issubdtype(v0.dtype, jnp.floating):
        raise TypeError(f"v0 must be a vector of floats, got shape {v0.shape} and dtype {v0.dtype}")
    if reorthogonalize not in ("full", "none") or basis_dtype not in ("float64", "float32"):
        raise ValueError(
            'reorthogonalize must be "full" or "none" and basis_dtype "float64" or "float32", got '
            f"{reorthogonalize!r} and {basis_dtype!r}"
        )
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    m = min(int(num_steps), v0.shape[0])
    run = engine.begin(v0, m, basis_dtype if reorthogonalize == "full" else None)

    def advance(run: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], None]:
        return engine.step(run, matvec(run[1].astype(v0.dtype))), None

    run, _ = jax.lax.scan(advance, run, None, length=m)
    numbers = engine.read(run)
    steps = numbers[STEPS].astype(int)
    places = jnp.arange(m)
    alpha, beta, h = numbers[NUMBERS:].reshape(3, m)
    alpha = jnp.where(places < steps, alpha, 0.0)
    beta = jnp.where(places < steps, beta, 0.0)
    overlap = 0.0 if reorthogonalize == "none" else jnp.where(places < steps, h * h, 0.0).sum()
    ended = numbers[BREAKDOWN] > 0.0
    left = beta[jnp.maximum(steps - 1, 0)] * jnp.sqrt(1.0 - jnp.where(ended, 0.0, overlap))
    return LanczosArrays(
        alpha,
        jnp.where(places < steps - 1, beta, 0.0)[: m - 1],
        run[0][:, : v0.shape[0]] if reorthogonalize == "full" else None,
        jnp.where(steps > 0, left, 0.0),
        steps,
        numbers[NOT_FINITE] == 0.0,
    )


def quadrature(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Return the Gauss rule of tridiagonal matrices: nodes, ascending, and weights, (..., m) each; traceable.

    Parameters
    ----------
    alpha, beta : arrays, shapes (..., m) and (..., m - 1)
        Diagonals and off-diagonals.

    Returns
    -------
    nodes, weights : arrays, shape (..., m), float64
        Eigenvalues, and the squares of the first components of eigenvectors; NaN where an entry is not finite.

    References
    ----------
    Golub and Welsch, "Calculation of Gauss quadrature rules", Math. Comp. 23 (1969).

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> jax.config.update("jax_enable_x64", True)
    >>> import fastlanczos.jax as flj
    >>> nodes, weights = flj.quadrature(jnp.array([0.0, 0.0]), jnp.array([1.0]))
    >>> nodes.round(12).tolist(), weights.round(12).tolist()
    ([-1.0, 1.0], [0.5, 0.5])
    """
    alpha, beta = jnp.asarray(alpha), jnp.asarray(beta)
    if alpha.ndim < 1 or beta.shape != (*alpha.shape[:-1], alpha.shape[-1] - 1):
        raise ValueError(f"want alpha (..., m) and beta (..., m - 1), got shapes {alpha.shape} and {beta.shape}")
    return engine.nodes_and_weights(alpha, beta)
