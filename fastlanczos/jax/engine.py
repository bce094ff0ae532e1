"""The engine's step and quadrature as foreign functions of XLA, in its buffers: `csrc/bindings/xla.hpp`."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from fastlanczos import _core

__all__ = ["BREAKDOWN", "MAX_PROJECTION", "NOT_FINITE", "SCALARS", "STEPS", "begin", "nodes_and_weights", "step"]

# Places in a run's scalars, followed by alpha, beta and h; see xla.hpp.
STEPS, EXPONENT, BREAKDOWN, MAX_PROJECTION, NOT_FINITE, SCALARS = 0, 2, 3, 5, 6, 7
_ALIASES = {i: i for i in range(4)}


def _ready() -> None:
    if not jax.config.jax_enable_x64:
        raise TypeError('float64 is switched off in JAX: call jax.config.update("jax_enable_x64", True) first')
    _register()


@cache
def _register() -> None:
    library = ctypes.CDLL(_core.__file__)
    for name in ("start", "step", "quadrature"):
        target = jax.ffi.pycapsule(getattr(library, f"fastlanczos_xla_{name}"))
        jax.ffi.register_ffi_target(f"fastlanczos_{name}", target, platform="cpu")


def _shapes(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays)


def begin(v0: Any, max_steps: int, rows: str | None) -> tuple[Any, ...]:
    """Return a run that is begun from v0 (n,): basis, candidate, recent rows, scalars; `rows` is the basis' dtype.

    Every caller carries the four on, and XLA keeps them where they are.
    """
    _ready()
    n, m = v0.shape[0], max_steps
    recent = {None: n, "float32": 2 * n, "float64": 0}[rows]
    run = (
        jnp.zeros((0 if rows is None else m, n), rows or "float64"),
        jnp.zeros(n, "float64"),
        jnp.zeros(recent, "float64"),
        jnp.zeros(SCALARS + 3 * m, "float64"),
    )
    call = jax.ffi.ffi_call(
        "fastlanczos_start", _shapes(run), vmap_method="broadcast_all", input_output_aliases=_ALIASES
    )
    return tuple(call(*run, v0.astype("float64")))


def step(run: tuple[Any, ...], product: Any) -> tuple[Any, ...]:
    """Take a step with the product of A and the candidate, unless the run is finished."""
    call = jax.ffi.ffi_call(
        "fastlanczos_step", _shapes(run), vmap_method="broadcast_all", input_output_aliases=_ALIASES
    )
    return tuple(call(*run, product.astype("float64")))


def nodes_and_weights(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Return eigenvalues and squared first components of eigenvectors, (..., m) each."""
    _ready()
    shape = jax.ShapeDtypeStruct(alpha.shape, jnp.float64)
    call = jax.ffi.ffi_call("fastlanczos_quadrature", (shape, shape), vmap_method="broadcast_all")
    nodes, weights = call(alpha.astype("float64"), beta.astype("float64"))
    return nodes, weights
