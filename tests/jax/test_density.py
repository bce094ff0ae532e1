"""fastlanczos.jax: the density of a known spectrum."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp  # noqa: E402

import fastlanczos.jax as flj  # noqa: E402


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
def test_a_compiled_density(reorthogonalize):
    d = np.r_[np.linspace(0.0, 1.0, 900), np.full(100, 3.0)]

    @jax.jit
    def program(d):
        measure = flj.spectral_density(
            lambda x: d * x, 1000, key=jax.random.key(0), num_probes=20, num_steps=40, reorthogonalize=reorthogonalize
        )
        return measure, measure.density(jnp.array([0.5, 2.0, 3.0]), 0.05)

    measure, density = program(d)
    assert measure.nodes.shape == measure.weights.shape == (20, 40)
    assert np.allclose(measure.weights.sum(axis=1), 1.0)
    peak = 0.1 / (0.05 * np.sqrt(2 * np.pi))
    assert np.allclose(density, [0.9, 0.0, peak], atol=0.1)
