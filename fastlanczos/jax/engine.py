"""The engine's step and quadrature as foreign functions of XLA, in its buffers: `csrc/bindings/xla.hpp`, and
`flat_device.hpp` for GPUs."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from fastlanczos import _core
from fastlanczos.engine.cuda import cuda
from fastlanczos.engine.flat import NUMBERS, flat_sizes

__all__ = ["begin", "nodes_and_weights", "read", "step"]

_CALLS = ("start", "step", "read", "quadrature")
_ALIASES = {i: i for i in range(4)}


def _ready() -> None:
    if not jax.config.jax_enable_x64:
        raise TypeError('float64 is switched off in JAX: call jax.config.update("jax_enable_x64", True) first')
    _register("cpu", _core.__file__, "fastlanczos_xla")
    if _on_gpu():
        _register("CUDA", cuda().__file__, "fastlanczos_xla_cuda")


def _on_gpu() -> bool:
    return bool(jax.default_backend() == "gpu")


@cache
def _register(platform: str, library: str, prefix: str) -> None:
    calls = ctypes.CDLL(library)
    for name in _CALLS:
        target = jax.ffi.pycapsule(getattr(calls, f"{prefix}_{name}"))
        jax.ffi.register_ffi_target(f"fastlanczos_{name}", target, platform=platform)


def _shapes(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays)


def _advance(name: str, run: tuple[Any, ...], taken: Any) -> tuple[Any, ...]:
    call = jax.ffi.ffi_call(name, _shapes(run), vmap_method="broadcast_all", input_output_aliases=_ALIASES)
    return tuple(call(*run, taken.astype("float64")))


def begin(v0: Any, max_steps: int, rows: str | None) -> tuple[Any, ...]:
    """Return a run that is begun from v0 (n,): basis, candidate, recent rows, state; `rows` is the basis' dtype.

    Every caller carries the four on, and XLA keeps them where they are.
    """
    _ready()
    n, m = v0.shape[0], max_steps
    sizes = flat_sizes(n, m, rows, jax.devices()[0].local_hardware_id if _on_gpu() else None)
    run = (
        jnp.zeros((sizes.rows, sizes.stride), rows or "float64"),
        jnp.zeros(n, "float64"),
        jnp.zeros(sizes.recent, "float64"),
        jnp.zeros((m, sizes.width), "float64"),
    )
    return _advance("fastlanczos_start", run, v0)


def step(run: tuple[Any, ...], product: Any) -> tuple[Any, ...]:
    """Take a step with the product of A and the candidate, unless the run is finished."""
    return _advance("fastlanczos_step", run, product)


def read(run: tuple[Any, ...]) -> Any:
    """Return a run's numbers, (NUMBERS + 3 m,): see fastlanczos/engine/flat.py."""
    numbers = jax.ShapeDtypeStruct((NUMBERS + 3 * run[3].shape[-2],), jnp.float64)
    return jax.ffi.ffi_call("fastlanczos_read", numbers, vmap_method="broadcast_all")(*run)


def nodes_and_weights(alpha: Any, beta: Any) -> tuple[Any, Any]:
    """Return eigenvalues and squared first components of eigenvectors, (..., m) each; NaN for what is not finite."""
    _ready()
    shape = jax.ShapeDtypeStruct(alpha.shape, jnp.float64)
    room = jax.ShapeDtypeStruct((*alpha.shape[:-1], 3 * alpha.shape[-1]), jnp.float64)
    marks = jax.ShapeDtypeStruct(alpha.shape[:-1], jnp.int32)
    call = jax.ffi.ffi_call("fastlanczos_quadrature", (shape, shape, room, marks), vmap_method="broadcast_all")
    nodes, weights, _, failed = call(alpha.astype("float64"), beta.astype("float64"))
    bad = failed[..., None] != 0
    return jnp.where(bad, jnp.nan, nodes), jnp.where(bad, jnp.nan, weights)
