import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.probes.draw import DISTRIBUTIONS

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
    with pytest.raises(MemoryError, match=r"basis of 30 vectors.*531 KiB.*342 KiB.*float32.*num_steps=17.*\"none\""):
        fl.spectral_density(matvec, 2000, num_steps=30, reorthogonalize="full", max_memory=350_000)
    d = fl.spectral_density(matvec, 2000, num_probes=1, num_steps=17, reorthogonalize="full", max_memory=350_000)
    assert d.info["reorthogonalize"] == "full"
    narrow = {"basis_dtype": "float32", "reorthogonalize": "full", "max_memory": 350_000}
    assert fl.spectral_density(matvec, 2000, num_probes=1, num_steps=30, **narrow).nodes.shape == (1, 30)


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
        ({"basis_dtype": "int8"}, ValueError, '"float64", "float32" or None'),
        ({"max_memory": -5}, ValueError, "max_memory must be at least 1"),
    ],
)
def test_bad_arguments_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.spectral_density(matvec, 2000, **arguments)


class Counting:
    shape = (2000, 2000)
    dtype = np.dtype(float)

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def matvec(self, v):
        return EIGENVALUES * v

    def matmat(self, X):
        self.calls.append(X.shape[1])
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        return EIGENVALUES[:, None] * X


def test_probes_in_lockstep_take_one_product_a_step_and_give_what_they_give_alone():
    operator = Counting()
    together = fl.spectral_density(operator, num_probes=7, num_steps=30, seed=4)
    assert operator.calls == [7] * 30
    assert together.info["lockstep"] == 7
    assert together.info["num_matvecs"] == 210
    split = Counting()
    groups = fl.spectral_density(split, num_probes=7, num_steps=30, seed=4, max_memory=3 * 2000 * 8 * 35)
    assert split.calls == [3] * 60  # three, three, and the last one as a vector
    assert groups.info["lockstep"] == 3
    alone = fl.spectral_density(matvec, 2000, num_probes=7, num_steps=30, seed=4)
    for other in (together, groups):
        assert np.array_equal(other.nodes, alone.nodes)
        assert np.array_equal(other.weights, alone.weights)


def test_groups_that_were_finished_ride_on_the_exception():
    with pytest.raises(KeyboardInterrupt) as caught:
        fl.spectral_density(Counting(fail_at=45), num_probes=6, num_steps=30, seed=4, max_memory=3 * 2000 * 8 * 35)
    assert caught.value.finished_probes.num_probes == 3
    assert [part.num_steps for part in caught.value.partial] == [14, 14, 14]
    whole = fl.spectral_density(matvec, 2000, num_probes=3, num_steps=30, seed=4)
    assert np.array_equal(caught.value.finished_probes.nodes, whole.nodes)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_dense_matrix_gives_the_same_bits_however_much_memory_there_is(dtype):
    A = np.random.default_rng(1).normal(size=(300, 300)).astype(dtype)
    A = A + A.T
    roomy, tight, none = (
        fl.spectral_density(A, num_probes=6, num_steps=40, seed=2, **options)
        for options in ({}, {"max_memory": 2 * 300 * 8 * 45}, {"reorthogonalize": "none"})
    )
    assert (roomy.info["lockstep"], tight.info["lockstep"], none.info["lockstep"]) == (6, 2, 6)
    assert np.array_equal(roomy.nodes, tight.nodes)
    assert none.info["reorthogonalize"] == "none"


def test_probes_are_drawn_until_the_band_is_as_narrow_as_asked_for():
    A = np.diag(np.linspace(-1.0, 2.0, 300))
    d = fl.spectral_density(A, num_probes=3, num_steps=20, rtol=0.02, seed=0)
    t = d.grid(1000)
    low, high = d.band(t, cumulative=True)
    assert max((high - d.cdf(t)).max(), (d.cdf(t) - low).max()) <= 0.02
    m = d.info["num_steps"]
    assert m in (40, 80, 160, 300)
    assert (d.quadrature_error(t, cumulative=True) <= 0.005).all()
    again = fl.spectral_density(A, num_probes=d.num_probes, num_steps=m, seed=0)
    assert np.array_equal(again.nodes, d.nodes)
    assert d.info["num_matvecs"] > again.info["num_matvecs"]  # the shorter runs were made too
    with pytest.warns(UserWarning, match=r"stopped at 48 steps: .* rtol=1e-07 was not reached"):
        fl.spectral_density(A, num_probes=3, num_steps=3, rtol=1e-7, seed=0)
    with pytest.raises(ValueError, match="rtol must be positive"):
        fl.spectral_density(A, rtol=0.0)
