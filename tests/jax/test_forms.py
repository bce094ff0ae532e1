"""fastlanczos.jax: v' f(A) v and tr f(A), and their derivatives."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp  # noqa: E402

import fastlanczos.jax as flj  # noqa: E402

N = 60
_B = np.random.default_rng(3).standard_normal((N, N))
A = jnp.asarray(_B @ _B.T / N + np.eye(N))
v = jnp.asarray(np.random.default_rng(4).standard_normal(N))


def dense(f):
    theta, U = jnp.linalg.eigh(A)
    return (U * f(theta)) @ U.T


@pytest.mark.parametrize(
    ("fun", "f"),
    [("log", jnp.log), ("inv", lambda x: 1 / x), ("exp", jnp.exp), ("sqrt", jnp.sqrt), (jnp.tanh, jnp.tanh)],
    ids=["log", "inv", "exp", "sqrt", "tanh"],
)
def test_values_and_the_gradient_of_the_vector(fun, f):
    value, gradient = jax.jit(jax.value_and_grad(lambda v: flj.quadratic_form(lambda x: A @ x, v, fun, N)))(v)
    F = dense(f)
    assert float(value) == pytest.approx(float(v @ F @ v), rel=1e-12)
    assert abs(gradient - 2 * F @ v).max() < 1e-11 * abs(F @ v).max()
    plain = flj.quadratic_form(lambda x: A @ x, v, fun, N)
    assert float(plain) == pytest.approx(float(value), rel=1e-12)


def test_gradients_of_traces_are_unbiased():
    def gradient(i):
        return jax.grad(lambda A: flj.trace(lambda x: A @ x, N, "log", key=jax.random.key(i), num_probes=20).value)(A)

    found = jnp.stack([gradient(i) for i in range(20)])
    error = found.std(0, ddof=1) / 20**0.5
    off = abs(found.mean(0) - jnp.linalg.inv(A))
    assert float((off < 4.5 * error).mean()) == 1.0
    assert float((off < 2 * error).mean()) > 0.9


def test_scale_is_differentiated_exactly():
    g = jax.jit(jax.grad(lambda s: flj.trace(lambda x: s * (A @ x), N, "log", key=jax.random.key(0)).value))(2.0)
    assert float(g) == pytest.approx(N / 2.0, rel=1e-12)


def test_runs_that_end_early():
    d = jnp.where(jnp.arange(N) < 20, 1.0, 3.0)
    value, g = jax.value_and_grad(lambda s: flj.quadratic_form(lambda x: s * d * x, jnp.ones(N), "log", 12))(1.0)
    assert float(value) == pytest.approx(40 * np.log(3.0), rel=1e-12)
    assert float(g) == pytest.approx(N, rel=1e-12)


def test_an_estimate_and_its_error():
    e = flj.trace(lambda x: A @ x, N, "log", key=jax.random.key(5), num_probes=50)
    exact = float(jnp.linalg.slogdet(A)[1])
    assert abs(float(e.value) - exact) < 4 * float(e.std_error)
    assert np.isnan(float(flj.quadratic_form(lambda x: x * jnp.nan, v, "exp", 5)))
    with pytest.raises(ValueError, match="fun must be"):
        flj.trace(lambda x: x, 3, "logarithm", key=jax.random.key(0))
