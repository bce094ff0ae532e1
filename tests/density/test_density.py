import numpy as np
import pytest
import scipy.stats
from scipy.stats import norm

import fastlanczos as fl

RNG = np.random.default_rng(0)
DENSITY = fl.SpectralDensity(np.sort(RNG.normal(size=(4, 6))), RNG.dirichlet(np.ones(6), 4), 100, {"seed": 3})


def test_value_is_the_mean_over_probes_of_the_blurred_nodes():
    t = np.linspace(-2, 2, 7).reshape(1, 7)
    expected = np.mean(
        [[w @ norm.pdf(s, x, 0.3) for s in t[0]] for x, w in zip(DENSITY.nodes, DENSITY.weights, strict=True)],
        axis=0,
    )
    np.testing.assert_allclose(DENSITY(t, sigma=0.3), expected[None], rtol=1e-13)
    assert DENSITY(0.5).shape == ()


def test_cdf_is_the_integral_of_the_density():
    t = np.linspace(-5, 5, 20_001)
    integral = np.r_[0, np.cumsum((DENSITY(t, 0.1)[1:] + DENSITY(t, 0.1)[:-1]) / 2 * np.diff(t))]
    np.testing.assert_allclose(DENSITY.cdf(t, 0.1), integral, atol=1e-6)


def test_cdf_without_blur_is_a_step_function():
    d = fl.SpectralDensity.from_eigenvalues([1.0, 2.0, 2.0, 4.0])
    assert d.cdf([0.9, 1.0, 1.5, 2.0, 3.0, 4.0], sigma=0).tolist() == [0, 0.25, 0.25, 0.75, 0.75, 1]


def test_default_bandwidth_is_the_papers():
    wide = fl.SpectralDensity([[-10.0, 30.0]], [[0.5, 0.5]], 2)
    narrow = fl.SpectralDensity([[0.1, 0.2]], [[0.5, 0.5]], 2)
    assert wide.sigma == pytest.approx(np.sqrt(1e-5 * 40))
    assert narrow.sigma == pytest.approx(np.sqrt(1e-5))
    assert wide(3.0) == wide(3.0, sigma=wide.sigma)


def test_nodes_of_weight_zero_do_not_count_as_the_spectrums_end():
    d = fl.SpectralDensity([[1.0, 2.0, 1e6]], [[0.5, 0.5, 0.0]], 3)
    assert d.extremes == (1.0, 2.0)


def test_grid_covers_the_blurred_density():
    t = DENSITY.grid()
    assert t.shape == (10_000,)
    assert DENSITY.cdf(t[0]) < 1e-6
    assert DENSITY.cdf(t[-1]) > 1 - 1e-6
    assert DENSITY.grid(num=5, sigma=2.0)[0] == DENSITY.nodes.min() - 10


def test_moments():
    assert DENSITY.moment(0) == pytest.approx(1)
    assert DENSITY.moment(3) == pytest.approx(np.mean((DENSITY.weights * DENSITY.nodes**3).sum(1)))
    assert DENSITY.mean == DENSITY.moment(1)
    for p in (-1, 1.5, True):
        with pytest.raises(ValueError, match="p must be an integer"):
            DENSITY.moment(p)


def test_negative_share_is_of_the_sum_of_magnitudes():
    d = fl.SpectralDensity.from_eigenvalues([-1.0, 2.0, 5.0])
    assert d.negative_share == pytest.approx(1 / 8)
    assert fl.SpectralDensity.from_eigenvalues([0.0]).negative_share == 0


@pytest.mark.parametrize("cumulative", [False, True])
def test_band_is_students_interval_over_the_probes(cumulative):
    t = np.array([0.0, 0.7])
    low, high = DENSITY.band(t, level=0.9, sigma=0.2, cumulative=cumulative)
    singles = [fl.SpectralDensity(x[None], w[None], 100) for x, w in zip(DENSITY.nodes, DENSITY.weights, strict=True)]
    samples = np.array([s.cdf(t, 0.2) if cumulative else s(t, 0.2) for s in singles])
    half = 2.353363 * samples.std(axis=0, ddof=1) / 2  # Student's t with 3 degrees of freedom, 95% one-sided
    error = DENSITY.quadrature_error(t, 0.2, cumulative=cumulative)
    below, above = samples.mean(axis=0) - low - error, high - samples.mean(axis=0) - error
    np.testing.assert_allclose(np.minimum(below, above), half, rtol=1e-6)
    skewness = ((samples - samples.mean(axis=0)) ** 3).sum(axis=0)
    assert np.array_equal(above > below, skewness > 0)  # longer on the side that the probes are skewed to


def test_more_probes_of_other_seeds_are_put_together():
    A = np.diag(np.linspace(-1.0, 2.0, 300))
    a, b = (fl.spectral_density(A, num_probes=k, num_steps=m, seed=s) for k, m, s in ((2, 20, 0), (3, 15, 1)))
    both = a + b
    assert both.num_probes == 5
    assert both.mean == pytest.approx((2 * a.mean + 3 * b.mean) / 5, rel=1e-14)
    assert both.info["num_matvecs"] == 2 * 20 + 3 * 15
    assert "5 x 20 nodes" in repr(both)
    with pytest.raises(ValueError, match="both densities used seed 0"):
        a + a
    with pytest.raises(ValueError, match="dimension 300 and 1"):
        a + fl.SpectralDensity.from_eigenvalues([1.0])


def test_distances_are_scipys_and_vanish_for_the_same_measure():
    generator = np.random.default_rng(0)
    one, two = (fl.SpectralDensity.from_eigenvalues(generator.standard_normal(50) + shift) for shift in (0, 0.5))
    found = one.compare(two)
    assert found.wasserstein == pytest.approx(scipy.stats.wasserstein_distance(one.nodes[0], two.nodes[0]), rel=1e-12)
    assert found.kolmogorov == pytest.approx(scipy.stats.ks_2samp(one.nodes[0], two.nodes[0]).statistic, rel=1e-12)
    assert one.compare(one) == fl.Distances(0.0, 0.0)


@pytest.mark.parametrize("sigma", [0.3, 0.4, 0.5])
def test_the_quadratures_bound_holds_and_falls_with_the_nodes(sigma):
    d = np.linspace(-2.0, 2.0, 400)
    A, v0 = np.diag(d), np.ones(400)
    exact = fl.SpectralDensity.from_eigenvalues(d)
    bounds = []
    for m in (6, 10, 14):
        nodes, weights = fl.lanczos(A, num_steps=m, v0=v0).quadrature()
        rule = fl.SpectralDensity(nodes[None], weights[None], 400)
        t = exact.grid(300, sigma)
        bounds.append(rule.quadrature_bound(sigma))
        assert np.abs(rule(t, sigma) - exact(t, sigma)).max() <= bounds[-1] + 1e-14
    assert bounds[0] > bounds[1] > bounds[2]
    assert bounds[2] < exact(0.0, sigma)


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("sigma", [0.02, 0.2])
@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
def test_the_quadratures_error_is_estimated_from_rules_of_fewer_steps(cumulative, sigma, reorthogonalize):
    values = np.r_[np.random.default_rng(0).normal(size=390), np.linspace(5, 9, 10)]
    A = np.diag(values)
    options = {"num_probes": 4, "seed": 1, "reorthogonalize": reorthogonalize}
    whole = fl.spectral_density(A, num_steps=400, **{**options, "reorthogonalize": "full"})  # of the same probes
    t = whole.grid(2000, sigma)
    exact = whole.cdf(t, sigma) if cumulative else whole(t, sigma)
    assert not whole.quadrature_error(t, sigma).any()
    for m in (20, 40, 80, 160):
        d = fl.spectral_density(A, num_steps=m, **options)
        off = np.abs((d.cdf(t, sigma) if cumulative else d(t, sigma)) - exact)
        stated = d.quadrature_error(t, sigma, cumulative=cumulative)
        assert np.mean(off <= stated + 1e-12) >= (0.999 if reorthogonalize == "full" else 0.975)
        assert stated.max() <= 100 * off.max() + 1e-10
    far = d.quadrature_error([-100.0, 100.0], sigma, cumulative=cumulative)
    assert (far == 0).all()


def test_an_exact_density_has_no_quadrature_error():
    exact = fl.SpectralDensity.from_eigenvalues(np.linspace(0, 1, 50))
    assert not exact.quadrature_error(np.linspace(0, 1, 7), 0.01).any()
    few = fl.spectral_density(np.diag(np.repeat([1.0, 2.0, 3.0], 30)), num_probes=3, num_steps=20, seed=0)
    assert not few.quadrature_error(np.linspace(0, 4, 7), 0.01).any()  # three eigenvalues: the runs end early


def test_one_probe_has_no_band():
    with pytest.raises(ValueError, match="at least two probes"):
        fl.SpectralDensity([[1.0]], [[1.0]], 1).band(0.0)
    with pytest.raises(ValueError, match="level must be between"):
        DENSITY.band(0.0, level=95)


@pytest.mark.parametrize("sigma", [0, -1.0, np.nan, np.inf])
def test_a_bandwidth_must_be_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be a positive number"):
        DENSITY(0.0, sigma=sigma)


@pytest.mark.parametrize(
    ("nodes", "weights", "message"),
    [
        ([1.0], [1.0], r"nodes must have shape \(probes, m\), got \(1,\)"),
        ([[1.0, 2.0]], [[1.0]], r"nodes have shape \(1, 2\), but weights \(1, 1\)"),
        ([[np.nan]], [[1.0]], "nodes has entries that are NaN"),
        ([[1.0]], [[-1.0]], "weights must not be negative"),
    ],
)
def test_bad_nodes_and_weights_are_told(nodes, weights, message):
    with pytest.raises(ValueError, match=message):
        fl.SpectralDensity(nodes, weights, 1)


def test_densities_do_not_change():
    with pytest.raises(ValueError, match="read-only"):
        DENSITY.nodes[0, 0] = 1


def test_repr_is_short():
    assert repr(DENSITY).startswith("SpectralDensity(n=100, 4 x 6 nodes in [")
