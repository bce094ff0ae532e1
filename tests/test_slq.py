import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.probes import DISTRIBUTIONS

RNG = np.random.default_rng(0)
EIGENVALUES = np.r_[RNG.normal(0, 0.3, 1990), np.linspace(2, 20, 10)]
EXACT = fl.SpectralDensity.from_eigenvalues(EIGENVALUES)


def matvec(v):
    return EIGENVALUES * v


@pytest.mark.parametrize("probes", DISTRIBUTIONS)
def test_blurred_cdf_is_the_exact_one_within_the_probes_spread(probes):
    d = fl.spectral_density(matvec, 2000, num_probes=20, num_steps=60, seed=0, probes=probes)
    t = EXACT.grid(2000)
    gap = np.abs(d.cdf(t, EXACT.sigma) - EXACT.cdf(t, EXACT.sigma)).max()
    # 20 probes of dimension 2000: a cdf's standard deviation is at most sqrt(2 / (20 * 2000)) / 2.
    assert gap < 5 * np.sqrt(2 / (20 * 2000)) / 2
    assert abs(d.mean - EIGENVALUES.mean()) < 5 * np.sqrt(2 * np.mean(EIGENVALUES**2) / (20 * 2000))


def test_probe_i_is_the_same_whatever_the_number_of_probes():
    few = fl.spectral_density(matvec, 2000, num_probes=2, num_steps=30, seed=9)
    more = fl.spectral_density(matvec, 2000, num_probes=5, num_steps=30, seed=9)
    assert np.array_equal(few.nodes, more.nodes[:2])
    assert np.array_equal(few.weights, more.weights[:2])


def test_the_seed_of_a_result_repeats_it():
    first = fl.spectral_density(matvec, 2000, num_probes=2, num_steps=20)
    again = fl.spectral_density(matvec, 2000, num_probes=2, num_steps=20, seed=first.info["seed"])
    assert np.array_equal(first.nodes, again.nodes)


def test_weights_of_a_row_sum_to_the_probes_squared_norm():
    for probes in ("sphere", "rademacher"):
        d = fl.spectral_density(matvec, 2000, num_probes=3, num_steps=20, seed=0, probes=probes)
        np.testing.assert_allclose(d.weights.sum(axis=1), 1, atol=1e-14)
    gaussian = fl.spectral_density(matvec, 2000, num_probes=3, num_steps=20, seed=0, probes="gaussian")
    assert 1e-4 < np.abs(gaussian.weights.sum(axis=1) - 1).max() < 0.2


def test_runs_that_end_early_are_filled_up_at_weight_zero():
    d = fl.spectral_density(np.diag(np.r_[np.zeros(50), np.ones(50)]), num_probes=3, num_steps=30, seed=0)
    assert d.nodes.shape[1] <= 4
    assert d.info["num_matvecs"] <= 12
    assert d.cdf(0.5) == pytest.approx(0.5, abs=0.2)


def test_auto_keeps_the_basis_while_it_fits_and_says_which():
    full = fl.spectral_density(matvec, 2000, num_probes=2, num_steps=30, seed=0)
    none = fl.spectral_density(matvec, 2000, num_probes=2, num_steps=30, seed=0, max_memory=100_000)
    assert full.info["reorthogonalize"] == "full"
    assert none.info["reorthogonalize"] == "none"
    assert "fully reorthogonalized" in repr(full)
    assert "not reorthogonalized" in repr(none)
    # Thirty nodes do not resolve the default bandwidth; blurred by what they do resolve, both are the same.
    t = EXACT.grid(500)
    assert np.abs(full.cdf(t, 0.3) - none.cdf(t, 0.3)).max() < 1e-6


def test_full_that_does_not_fit_is_told_with_what_would():
    with pytest.raises(MemoryError, match=r"basis of 30 vectors.*float32.*num_steps=6 fit.*\"none\""):
        fl.spectral_density(matvec, 2000, num_steps=30, reorthogonalize="full", max_memory=100_000)


def test_finished_probes_ride_on_the_exception():
    calls = 0

    def failing(v):
        nonlocal calls
        calls += 1
        if calls == 75:
            raise KeyboardInterrupt
        return matvec(v)

    with pytest.raises(KeyboardInterrupt) as caught:
        fl.spectral_density(failing, 2000, num_probes=5, num_steps=30, seed=0)
    assert caught.value.finished_probes.num_probes == 2
    assert caught.value.partial.num_steps == 14
    whole = fl.spectral_density(matvec, 2000, num_probes=2, num_steps=30, seed=0)
    assert np.array_equal(caught.value.finished_probes.nodes, whole.nodes)


def test_a_spectrum_narrower_than_the_bandwidth_is_warned_of():
    d = np.linspace(0, 1e-4, 300)
    with pytest.warns(UserWarning, match="narrower than the default bandwidth"):
        fl.spectral_density(lambda v: d * v, 300, num_probes=1, num_steps=20, seed=0)


def test_asymmetry_is_warned_of_once():
    A = np.diag(EIGENVALUES[-200:])
    A[0, 1] = 1.0
    with pytest.warns(fl.AsymmetryWarning) as caught:
        fl.spectral_density(A, num_probes=3, num_steps=20, seed=0)
    assert len([w for w in caught if w.category is fl.AsymmetryWarning]) == 1


def test_progress_shows_every_product(capsys):
    fl.spectral_density(matvec, 2000, num_probes=2, num_steps=5, seed=0, progress=True)
    assert "10/10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_probes": 0}, ValueError, "num_probes must be at least 1"),
        ({"num_steps": 1.5}, TypeError, "num_steps must be an integer"),
        ({"probes": "normal"}, ValueError, "probes must be one of"),
        ({"reorthogonalize": "yes"}, ValueError, '"auto", "full" or "none"'),
        ({"basis_dtype": "int8"}, ValueError, '"float64" or "float32"'),
        ({"max_memory": -5}, ValueError, "max_memory must be at least 1"),
    ],
)
def test_bad_arguments_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.spectral_density(matvec, 2000, **arguments)
