"""fastlanczos.jax: runs inside jit and vmap have the bits of fastlanczos.lanczos."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp  # noqa: E402

import fastlanczos as fl  # noqa: E402
import fastlanczos.jax as flj  # noqa: E402

N, STEPS = 700, 60
D = np.linspace(1.0, 2.0, N) ** 5
V = np.random.default_rng(0).standard_normal((4, N))


@pytest.mark.parametrize(
    "options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}], ids=["float64", "float32", "none"]
)
def test_a_compiled_run_has_the_engines_bits(options):
    run = jax.jit(lambda d, v: flj.lanczos(lambda x: d * x, v, STEPS, **options))
    found, expected = run(D, V[0]), fl.lanczos(lambda v: D * v, N, num_steps=STEPS, v0=V[0], **options)
    assert np.array_equal(found.alpha, expected.alpha)
    assert np.array_equal(found.beta, expected.beta)
    assert float(found.residual_norm) == pytest.approx(expected.residual_norm, rel=1e-14)
    assert int(found.num_steps) == STEPS
    assert bool(found.is_finite)
    if expected.basis is None:
        assert found.basis is None
    else:
        assert found.basis.dtype == expected.basis.dtype
        assert np.array_equal(found.basis, expected.basis)


def test_vmap_over_probes():
    run = jax.jit(jax.vmap(lambda v: flj.lanczos(lambda x: D * x, v, STEPS)))
    found = run(V)
    for i, v in enumerate(V):
        expected = fl.lanczos(lambda x: D * x, N, num_steps=STEPS, v0=v)
        assert np.array_equal(found.alpha[i], expected.alpha)
        assert np.array_equal(found.basis[i], expected.basis)


def test_scales_far_from_one():
    for scale in (1e-200, 1e200):
        found = jax.jit(lambda v, s=scale: flj.lanczos(lambda x: s * D * x, v, 20))(V[0])
        expected = fl.lanczos(lambda x, s=scale: s * D * x, N, num_steps=20, v0=V[0])
        assert np.array_equal(found.alpha, expected.alpha)


def test_float32_vectors():
    found = flj.lanczos(lambda x: jnp.asarray(D, "float32") * x, V[0].astype("float32"), 20)
    assert found.alpha.dtype == jnp.float64
    assert abs(found.alpha[0] - (V[0] ** 2 @ D) / (V[0] @ V[0])) < 1e-5 * D[-1]


def test_breakdown_and_products_that_are_not_finite():
    r = flj.lanczos(lambda x: jnp.where(jnp.arange(30) < 15, 1.0, 2.0) * x, jnp.ones(30), 10)
    assert int(r.num_steps) == 2
    assert bool(r.is_finite)
    assert np.array_equal(r.alpha[2:], np.zeros(8))
    assert float(r.residual_norm) < 1e-15
    for v, factor in ((jnp.ones(30), jnp.nan), (jnp.zeros(30), 1.0)):
        r = flj.lanczos(lambda x, c=factor: c * x, v, 10)
        assert int(r.num_steps) == 0
        assert not bool(r.is_finite)


def test_the_basis_is_carried_in_place():
    """As much memory as one basis, not one for every step."""
    n, m = 20_000, 50
    compiled = jax.jit(lambda v: flj.lanczos(lambda x: 2.0 * x, v, m)).lower(jnp.ones(n)).compile()
    memory = compiled.memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 2.6 * 8 * n * m


def test_quadrature():
    alpha, beta = np.random.default_rng(1).standard_normal((2, 3, 9))
    beta = np.abs(beta[:, :-1])
    nodes, weights = jax.jit(flj.quadrature)(alpha, beta)
    theta, w = fl.quadrature(alpha, beta)
    assert np.array_equal(nodes, theta)
    assert np.array_equal(weights, w)
    alpha[1, 2] = np.nan
    nodes, _ = flj.quadrature(alpha, beta)
    assert np.isnan(nodes[1]).all()
    assert np.array_equal(nodes[0], theta[0])


def test_wrong_arguments():
    with pytest.raises(TypeError, match="vector of floats"):
        flj.lanczos(lambda x: x, jnp.ones((3, 3)), 2)
    with pytest.raises(TypeError, match="vector of floats"):
        flj.lanczos(lambda x: x, jnp.arange(3), 2)
    with pytest.raises(ValueError, match="reorthogonalize"):
        flj.lanczos(lambda x: x, jnp.ones(3), 2, reorthogonalize="partly")
    with pytest.raises(ValueError, match="at least 1"):
        flj.lanczos(lambda x: x, jnp.ones(3), 0)
    with pytest.raises(ValueError, match="want alpha"):
        flj.quadrature(jnp.ones(3), jnp.ones(3))
