"""The JAX functions with the handlers for a GPU, on the emulated one: a program of its own, since XLA knows only one
handler for a name. `python jax_on_emulation.py LIBRARY` prints "passed"."""

import ctypes
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import fastlanczos as fl
import fastlanczos.jax as flj
from fastlanczos.engine import flat
from fastlanczos.jax import engine
from fastlanczos.jax.forms import draw

sys.path.insert(0, str(Path(__file__).parents[1] / "csrc" / "cuda_emulation"))
import fake_gpu

jax.config.update("jax_enable_x64", True)
LIBRARY = sys.argv[1]
GPU = fake_gpu.FakeGpu(LIBRARY)


@cache
def register(*_):
    """Register the emulated handlers, for the CPU."""
    calls = ctypes.CDLL(LIBRARY)
    for name in ("start", "step", "read", "quadrature"):
        target = jax.ffi.pycapsule(getattr(calls, f"emulation_xla_{name}"))
        jax.ffi.register_ffi_target(f"fastlanczos_{name}", target, platform="cpu")


engine._register, engine._on_gpu = register, lambda: True
engine.cuda = flat.cuda = lambda: GPU.module

rng = np.random.default_rng(0)
for n, options in ((203, {}), (202, {"basis_dtype": "float32"}), (97, {"reorthogonalize": "none"}), (1, {})):
    d, v = rng.normal(size=n), rng.normal(size=n) * 1e200
    m = min(n, 12)
    waits = GPU.synchronizations
    r = jax.jit(lambda d, v, m=m, o=options: flj.lanczos(lambda x: d * x, v, m, **o))(d, v)
    assert GPU.synchronizations == waits, "a handler waits for the device"
    e = fl.lanczos(lambda x, d=d: d * x, n, m, v0=v, **options)
    tolerance = 1e-13 if not options else 1e-10
    np.testing.assert_allclose(r.alpha[:8], e.alpha[:8], atol=tolerance)
    np.testing.assert_allclose(r.beta[:8], e.beta[:8], atol=tolerance)
    np.testing.assert_allclose(float(r.residual_norm), e.residual_norm, atol=1e-9)
    assert int(r.num_steps) == m
    assert bool(r.is_finite)
    if "reorthogonalize" not in options:
        assert r.basis.shape == (m, n)
        np.testing.assert_allclose(r.basis @ r.basis.T, np.eye(m), atol=1e-13 if not options else 1e-6)

n = 64
d, starts = jnp.asarray(rng.normal(size=n)), jnp.asarray(rng.normal(size=(18, n)))  # more than one launch takes
launches = GPU.launches
many = jax.vmap(lambda v: flj.lanczos(lambda x: d * x, v, 8))(starts)
assert GPU.launches - launches == 18 * 3 + 2 * 8 + 18
for i in (0, 15, 16, 17):
    one = flj.lanczos(lambda x: d * x, starts[i], 8)
    np.testing.assert_array_equal(one.alpha, many.alpha[i])
    np.testing.assert_array_equal(one.basis, many.basis[i])
nodes, weights = flj.quadrature(many.alpha, many.beta)
for i in (0, 17):
    expected = fl.quadrature(np.asarray(many.alpha[i]), np.asarray(many.beta[i]))
    np.testing.assert_allclose(nodes[i], expected[0], atol=1e-14)
    np.testing.assert_allclose(weights[i], expected[1], atol=1e-14)
assert np.isnan(flj.quadrature(jnp.array([1.0, jnp.nan]), jnp.array([1.0]))[0]).all()

ended = flj.lanczos(lambda x: jnp.where(jnp.arange(n) < 2, 1.0, 3.0) * x, starts[0], 8)  # two values
assert int(ended.num_steps) == 2
assert bool(ended.is_finite)
assert float(abs(ended.alpha[2:]).max()) == 0.0
bad = flj.lanczos(lambda x: jnp.where(x > 0.3, jnp.nan, x), starts[0], 8)
assert not bool(bad.is_finite)
for v0 in (jnp.zeros(n), starts[0].at[3].set(jnp.inf)):
    none = flj.lanczos(lambda x: d * x, v0, 8)
    assert int(none.num_steps) == 0
    assert not bool(none.is_finite)


def total(scale):
    """Return an estimate of tr exp(scale d)."""
    key = jax.random.key(0)
    return flj.trace(lambda x: scale * d * x, n, "exp", key=key, num_probes=4, num_steps=12).value


value, slope = jax.value_and_grad(total)(0.5)
squares = (draw(jax.random.key(0), 4, n, "float64") ** 2).mean(0)
np.testing.assert_allclose(value, squares @ np.exp(0.5 * d), rtol=1e-10)
np.testing.assert_allclose(slope, squares @ (d * np.exp(0.5 * d)), rtol=1e-8)
print("passed")
