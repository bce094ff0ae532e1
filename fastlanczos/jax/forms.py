"""v' f(A) v and tr f(A), with derivatives with respect to whatever the product closes over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastlanczos.jax.run import lanczos, quadrature

__all__ = ["TraceEstimate", "quadratic_form", "trace"]

_NAMED: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "log": jnp.log,
    "exp": jnp.exp,
    "sqrt": jnp.sqrt,
    "inv": lambda x: 1.0 / x,
    "inv_sqrt": lambda x: x**-0.5,
    "sign": jnp.sign,
}


class TraceEstimate(NamedTuple):
    """An estimate of a trace: its value, and its standard error from the choice of probes, () float64 each."""

    value: Any
    std_error: Any


def _function(fun: Any) -> Callable[[Any], Any]:
    found: Callable[[Any], Any] | None = fun if callable(fun) else _NAMED.get(fun) if isinstance(fun, str) else None
    if found is not None:
        return found
    raise ValueError(f"fun must be a JAX function of an array or one of {', '.join(_NAMED)}; got {fun!r}")


def quadratic_form(matvec: Callable[[Any], Any], v: Any, fun: Any, num_steps: int) -> Any:
    """Return v' f(A) v from the Gauss rule of a Lanczos run; differentiable, under jit and vmap.

    The gradient with respect to v is 2 f(A) v. That with respect to what `matvec` closes over is the one of
    u' A v with u = f'(A) v from the same Krylov space: in the mean over random v that of tr f(A), for one product.

    Parameters
    ----------
    matvec : callable
        v -> A v for a symmetric A.
    v : array, shape (n,)
        Not normalized.
    fun : callable or str
        f: a JAX function of an array, or a name as in `fastlanczos.trace`.
    num_steps : int
        Lanczos steps, with full reorthogonalization.

    Returns
    -------
    array, shape (), float64

    References
    ----------
    Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38 (2017); Dong et al., NeurIPS 2017, section 3.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> jax.config.update("jax_enable_x64", True)
    >>> import fastlanczos.jax as flj
    >>> d = jnp.linspace(1.0, 2.0, 50)
    >>> g = jax.grad(lambda s: flj.quadratic_form(lambda x: s * d * x, jnp.ones(50), "inv", 20))(1.0)
    >>> bool(abs(g + (1 / d).sum()) < 1e-10)
    True
    """
    v = jnp.asarray(v)
    converted, constants = jax.closure_convert(matvec, v)
    return _form(converted, _function(fun), int(num_steps), v, *constants)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _form(matvec: Any, f: Any, num_steps: int, v: Any, *constants: Any) -> Any:
    r = lanczos(lambda x: matvec(x, *constants), v, num_steps, reorthogonalize="none")
    nodes, weights = quadrature(r.alpha, r.beta)
    return jnp.vdot(v, v) * _integral(f, r, nodes, weights)


def _integral(f: Any, r: Any, nodes: Any, weights: Any) -> Any:
    """Sum of weights times f; a run that ended early has zeros below, of no weight."""
    used = weights > 0.0
    total = jnp.where(used, weights * f(jnp.where(used, nodes, 1.0)), 0.0).sum()
    return jnp.where(r.is_finite, total, jnp.nan)


def _forward(matvec: Any, f: Any, num_steps: int, v: Any, *constants: Any) -> tuple[Any, Any]:
    r = lanczos(lambda x: matvec(x, *constants), v, num_steps)
    m = r.alpha.shape[0]
    T = jnp.diag(r.alpha) + jnp.diag(r.beta, 1) + jnp.diag(r.beta, -1)
    # Rows after an early end stand apart, where f is harmless: at the first diagonal entry.
    ended = jnp.arange(m) >= r.num_steps
    theta, S = jnp.linalg.eigh(T + jnp.diag(jnp.where(ended, r.alpha[0], 0.0)))
    first = S[0]
    size = jnp.sqrt(jnp.vdot(v, v))
    slopes = jax.vmap(jax.grad(f))(theta)
    value = size**2 * jnp.vdot(first, f(theta) * first)
    u, fv = (size * (S @ (g * first)) @ r.basis for g in (slopes, f(theta)))
    value = jnp.where(r.is_finite, value, jnp.nan)
    return value, (v, u.astype(v.dtype), fv.astype(v.dtype), constants)


def _backward(matvec: Any, f: Any, num_steps: int, saved: Any, cotangent: Any) -> tuple[Any, ...]:
    v, u, fv, constants = saved
    _, pull = jax.vjp(lambda *constants: matvec(v, *constants), *constants)
    return (2.0 * cotangent * fv).astype(v.dtype), *pull((cotangent * u).astype(v.dtype))


_form.defvjp(_forward, _backward)


def trace(
    matvec: Callable[[Any], Any],
    dim: int,
    fun: Any = "identity",
    *,
    key: Any,
    num_probes: int = 10,
    num_steps: int = 50,
    dtype: str = "float64",
) -> TraceEstimate:
    """Estimate tr f(A) by stochastic Lanczos quadrature inside a JAX program; differentiable.

    Parameters
    ----------
    matvec, fun, num_steps
        As in `quadratic_form`.
    dim : int
        Side n of A.
    key : array
        A JAX random key: probes are uniform on the sphere of radius sqrt(n).
    num_probes : int
        Number of probes, which run together under vmap.
    dtype : str
        That of `matvec`'s vectors.

    Returns
    -------
    TraceEstimate

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> jax.config.update("jax_enable_x64", True)
    >>> import fastlanczos.jax as flj
    >>> d = jnp.linspace(1.0, 2.0, 200)
    >>> e = flj.trace(lambda x: d * x, 200, "log", key=jax.random.key(0))
    >>> bool(abs(e.value - jnp.log(d).sum()) < 4 * e.std_error)
    True
    """
    probes = draw(key, num_probes, dim, dtype)
    samples = jax.vmap(lambda v: quadratic_form(matvec, v, fun, num_steps))(probes)
    spread = jnp.std(samples, ddof=1) if num_probes > 1 else jnp.inf
    return TraceEstimate(samples.mean(), spread / num_probes**0.5)


def draw(key: Any, num_probes: int, dim: int, dtype: str) -> Any:
    """Return probes (p, n) on the sphere of radius sqrt(n)."""
    z = jax.random.normal(key, (num_probes, dim), dtype)
    return z * (dim**0.5 / jnp.linalg.norm(z, axis=1, keepdims=True))
