"""fastlanczos/sums/trace.py: against exact sums, and what its intervals promise."""

import numpy as np
import pytest
from cases.sums import kernel, with_eigenvalues

import fastlanczos as fl

FLAT = with_eigenvalues(np.linspace(1.0, 3.0, 200))
FUNCTIONS = {"log": np.log, "exp": np.exp, "sqrt": np.sqrt, "inv": lambda x: 1 / x, "inv_sqrt": lambda x: x**-0.5}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", ["auto", "hutchinson", "deflated"])
@pytest.mark.parametrize("make", [lambda: FLAT, kernel])
def test_sums_are_within_their_errors(name, method, make):
    A = make()
    exact = FUNCTIONS[name](np.linalg.eigvalsh(A)).sum()
    e = fl.trace(A, name, method=method, seed=0)
    low, high = e.interval(0.999)
    assert low <= exact <= high
    assert e.num_matvecs <= 22 * 50  # 20 probes, the trial and the deflation


@pytest.mark.parametrize("fun", [None, "log"])
@pytest.mark.parametrize("probes", [5, 10])
@pytest.mark.parametrize("make", [lambda: FLAT, kernel])
def test_95_percent_intervals_cover(fun, probes, make):
    A = make()
    values = np.linalg.eigvalsh(A)
    exact = (values if fun is None else np.log(values)).sum()
    held = [
        low <= exact <= high
        for low, high in (fl.trace(A, fun, num_probes=probes, seed=s).interval() for s in range(100))
    ]
    assert np.mean(held) >= 0.88  # 95% less three standard deviations of 100 trials


def test_a_fast_decaying_spectrum_takes_few_products():
    K = kernel(noise=0.0)
    e = fl.trace(K, rtol=1e-4, seed=0)
    plain = fl.trace(K, rtol=1e-2, method="hutchinson", seed=0)
    assert abs(e.value / 300 - 1) <= 1e-4
    assert e.half_width() <= 1e-4 * e.value
    assert 5 * e.num_matvecs < plain.num_matvecs  # which has two digits less


@pytest.mark.parametrize("make", [lambda: FLAT, lambda: kernel(noise=0.0)])
def test_xtrace(make):
    A = make()
    e = fl.trace(A, method="xtrace", num_probes=15, seed=0)
    low, high = e.interval(0.999)
    assert low <= np.trace(A) <= high
    assert e.num_matvecs == 30
    assert fl.trace(A, method="xtrace", rtol=0.01, seed=0).half_width() <= 0.01 * np.trace(A)


def test_xtrace_is_exact_for_low_rank_and_unbiased():
    X = np.random.default_rng(0).standard_normal((100, 4))
    A = X @ X.T + 1e-9 * np.eye(100)
    assert fl.trace(A, method="xtrace", num_probes=8, seed=0).value == pytest.approx(np.trace(A), rel=1e-8)
    values = [fl.trace(FLAT, method="xtrace", num_probes=4, seed=s).value for s in range(200)]
    assert abs(np.mean(values) - np.trace(FLAT)) < 4 * np.std(values) / np.sqrt(200)


def test_probes_are_drawn_until_the_interval_is_narrow_enough():
    multiply = FLAT.__matmul__
    e = fl.trace(multiply, "log", 200, rtol=1e-2, seed=0)
    assert e.half_width() <= 1e-2 * abs(e.value)
    again = fl.trace(multiply, "log", 200, num_probes=e.num_probes, seed=0)
    assert again.value == e.value  # those drawn first are kept
    assert fl.trace(multiply, "log", 200, atol=5.0, seed=0).half_width() <= 5.0


def test_out_of_products_is_told():
    with pytest.warns(UserWarning, match=r"stopped after \d+ products at .* the requested accuracy"):
        e = fl.trace(FLAT.__matmul__, "log", 200, rtol=1e-7, max_matvecs=3000, seed=0)
    assert e.num_matvecs <= 3000
    steep = with_eigenvalues(np.geomspace(1e-6, 1, 200))
    with pytest.warns(UserWarning, match=r"it takes more steps than \d+ \(num_steps=\), and more products"):
        fl.trace(steep, "log", num_steps=4, rtol=1e-3, seed=0, method="hutchinson", max_matvecs=100)
    with pytest.warns(UserWarning, match="products that are more accurate: rounding leaves"):
        fl.trace(
            lambda v: FLAT.astype(np.float32) @ v.astype(np.float32),
            "exp",
            200,
            num_steps=200,
            num_probes=2,
            atol=1e-5,
            method="deflated",
            seed=0,
        )


def test_the_quadratures_error_is_seen_from_the_last_steps():
    A = with_eigenvalues(np.geomspace(1e-4, 1, 300))  # whose logarithm converges slowly
    converged = fl.trace(A, "log", num_steps=290, num_probes=20, seed=0, method="hutchinson").value
    for m in (16, 32, 64, 128):
        e = fl.trace(A, "log", num_steps=m, num_probes=20, seed=0, method="hutchinson")
        # The lowest node's residual reaches down to 0: without bounds= the spectrum might too.
        assert abs(e.value - converged) <= e.quadrature_error <= 100 * abs(e.value - converged) + 1e-9
        known = fl.trace(A, "log", num_steps=m, num_probes=20, seed=0, method="hutchinson", bounds=(1e-4, None))
        assert known.quadrature_error < e.quadrature_error


def test_the_same_seed_gives_the_same_bits_and_callables_the_same_sums():
    a, b = (fl.trace(FLAT, "exp", seed=3).value for _ in range(2))
    assert a == b
    c = fl.trace(lambda v: FLAT @ v, "exp", 200, seed=3)
    assert c.value == pytest.approx(a, rel=1e-12)


def test_small_operators_are_summed_exactly():
    e = fl.trace(np.diag([1.0, 2.0, 4.0]), "log", method="deflated", seed=0)
    assert e.value == pytest.approx(np.log(8.0), rel=1e-14)
    assert e.half_width() < 1e-13
    assert fl.logdet(np.array([[2.0]]), seed=0).value == pytest.approx(np.log(2.0), rel=1e-15)


def test_a_tensor_is_an_operator_too():
    torch = pytest.importorskip("torch")
    e = fl.trace(torch.from_numpy(FLAT), "log", seed=0)
    assert e.value == pytest.approx(fl.trace(FLAT, "log", seed=0).value, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method must be one of auto, hutchinson, deflated, xtrace, exact; got 'best'"),
        ({"method": "xtrace", "fun": "log"}, "xtrace"),
        ({"rtol": 0.0}, "rtol must be positive, got 0.0"),
        ({"num_probes": 0}, "num_probes must be at least 1"),
        ({"fun": "logarithm"}, "fun must be a vectorized callable"),
    ],
)
def test_wrong_arguments_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        fl.trace(FLAT, **options)


def test_an_operator_that_is_not_symmetric_is_told():
    with pytest.warns(fl.AsymmetryWarning):
        fl.trace(np.triu(FLAT + 1), np.tanh, seed=0)


def test_products_in_float32_leave_an_error_of_float32():
    A = with_eigenvalues(np.linspace(1.0, 3.0, 40))
    exact = np.exp(np.linspace(1.0, 3.0, 40)).sum()
    e = fl.trace(lambda v: A.astype(np.float32) @ v.astype(np.float32), "exp", 40, method="deflated", seed=0)
    assert 1e-8 * exact < e.half_width() < 1e-4 * exact
    assert abs(e.value - exact) <= e.half_width()


def test_one_probe_has_no_error_and_says_so():
    e = fl.trace(FLAT, "log", num_probes=1, seed=0)
    assert e.std_error == float("inf")
    assert "one probe" in repr(e)
