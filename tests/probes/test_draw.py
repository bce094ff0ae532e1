import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.probes.draw import DISTRIBUTIONS, probe, seed_sequence


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_covariance_is_the_identity(distribution):
    seeds = seed_sequence(0)
    V = np.array([probe(5, seeds, i, distribution) for i in range(20_000)])
    np.testing.assert_allclose(V.T @ V / len(V), np.eye(5), atol=0.05)
    np.testing.assert_allclose(V.mean(axis=0), 0, atol=0.05)


def test_probes_differ_by_index_and_seed_and_by_nothing_else():
    assert np.array_equal(probe(9, seed_sequence(3), 4), probe(9, seed_sequence(3), 4))
    assert not np.array_equal(probe(9, seed_sequence(3), 4), probe(9, seed_sequence(3), 5))
    assert not np.array_equal(probe(9, seed_sequence(3), 4), probe(9, seed_sequence(4), 4))


def test_streams_are_numpys_spawned_seeds():
    children = np.random.SeedSequence(42).spawn(3)
    expected = np.random.default_rng(children[2]).standard_normal(8)
    assert np.array_equal(probe(8, seed_sequence(42), 2, "gaussian"), expected)


def test_shapes_of_the_distributions():
    assert set(np.abs(probe(100, seed_sequence(0), 0, "rademacher"))) == {1.0}
    assert abs(np.linalg.norm(probe(100, seed_sequence(0), 0, "sphere")) - 10) < 1e-14


def test_the_start_vector_of_lanczos_is_the_first_probe():
    d = np.linspace(0, 1, 300)
    r = fl.lanczos(lambda v: d * v, 300, 20, seed=11)
    density = fl.spectral_density(lambda v: d * v, 300, num_probes=1, num_steps=20, seed=11)
    assert np.array_equal(density.nodes[0], r.quadrature()[0])


def test_seeds_of_every_kind():
    assert seed_sequence(5).entropy == 5
    assert seed_sequence(seed_sequence(5)).entropy == 5
    assert seed_sequence(None).entropy != seed_sequence(None).entropy
    assert seed_sequence(np.random.default_rng(1)).entropy == seed_sequence(np.random.default_rng(1)).entropy
    assert seed_sequence(np.int64(3)).entropy == 3
    with pytest.raises(TypeError, match="seed must be an integer"):
        seed_sequence(1.5)
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        seed_sequence(-1)


def test_an_unknown_distribution_is_told():
    with pytest.raises(ValueError, match="sphere, gaussian, rademacher; got 'normal'"):
        probe(3, seed_sequence(0), 0, "normal")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_long_probe_has_the_same_bits_by_any_number_of_threads_and_in_any_memory(distribution):
    n = 2**20 + 100
    threads = fl.get_num_threads()
    fl.set_num_threads(1)
    try:
        one = probe(n, seed_sequence(1), 2, distribution)
    finally:
        fl.set_num_threads(threads)
    memory = np.empty(n)
    again = probe(n, seed_sequence(1), 2, distribution, out=memory)
    assert again is memory
    assert np.array_equal(one, memory)
    assert abs(float(np.mean(memory))) < 5 / np.sqrt(n)
    assert abs(float(np.mean(memory**2)) - 1.0) < 0.01
    assert not np.array_equal(memory[:100], memory[2**20 :])
