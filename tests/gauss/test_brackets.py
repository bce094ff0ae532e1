"""Rules that hold an integral between them."""

import numpy as np
import pytest
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlanczos as fl
from fastlanczos.gauss.brackets import Bounds, Signs, radau
from fastlanczos.sums.functions import as_function

FUNCTIONS = ["log", "exp", "sqrt", "inv", "inv_sqrt", ("power", 0.3), ("power", 1.7), ("power", -2), ("power", -0.4)]


def test_the_rule_has_the_node_and_is_exact_for_one_degree_more():
    x = np.sort(np.random.default_rng(0).uniform(1, 2, 40))
    run = fl.lanczos(np.diag(x), num_steps=5, v0=np.ones(40))
    for node in (0.9, 2.2):
        nodes, weights = fl.quadrature(*radau(run.alpha, np.append(run.beta, run.residual_norm), node))
        assert np.abs(nodes - node).min() < 1e-13
        for degree in range(11):  # 2 m, where Gauss has 2 m - 1
            assert weights @ nodes**degree == pytest.approx(np.mean(x**degree), rel=1e-12)
    assert radau(run.alpha, np.append(run.beta, run.residual_norm), 1.5) is None


@st.composite
def problems(draw):
    """(eigenvalues, bounds, steps, f by name)."""
    n = draw(st.integers(20, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["uniform", "geometric", "clusters", "one far out"]))
    low = 10.0 ** draw(st.integers(-6, 2))
    if kind == "uniform":
        d = rng.uniform(1, 50, n)
    elif kind == "geometric":
        d = np.geomspace(1, 1e6, n)
    elif kind == "clusters":
        d = rng.choice(rng.uniform(1, 100, 5), n) + 1e-9 * rng.random(n)
    else:
        d = np.r_[rng.uniform(1, 2, n - 1), 1e4]
    f = draw(st.sampled_from(FUNCTIONS))
    if f == "exp":
        d, low = d / d.max(), min(low, 10.0)
    d = low * d
    bounds = (d.min() * draw(st.sampled_from([1.0, 0.9, 0.01])), d.max() * draw(st.sampled_from([1.0, 1.1, 10.0])))
    return d, bounds, draw(st.integers(1, 40)), f


@settings(deadline=None, max_examples=examples(1000), derandomize=True)
@given(problems(), st.sampled_from(["float64", "float32"]))
def test_a_probe_s_value_lies_in_its_bracket(problem, dtype):
    d, bounds, num_steps, f = problem
    if dtype == "float32":  # of the matrix that is multiplied with
        d = d.astype(np.float32)
        bounds = (bounds[0] * (1 - 1e-6), bounds[1] * (1 + 1e-6))
    e = fl.trace(
        lambda v: d * v.astype(dtype), f, d.size, num_probes=1, num_steps=num_steps, bounds=bounds, seed=0,
        method="hutchinson",
    )  # fmt: skip
    from fastlanczos.probes.draw import probe, seed_sequence

    v = probe(d.size, seed_sequence(0), 0)
    x = d.astype(float)
    exact = float(v**2 @ as_function(f).call(x))
    assert e.info["quadrature"] == "bracket"
    slack = 1e-13 * float(v**2 @ np.abs(as_function(f).call(x)))
    assert abs(e.value - exact) <= e.quadrature_error + slack


def test_what_is_given_as_bounds():
    assert Bounds.given(None) == Bounds()
    assert Bounds.given((1, None)) == Bounds(1.0, None)
    assert Bounds.given((-np.inf, 2.0)) == Bounds(None, 2.0)
    for wrong in (1.0, (1, 2, 3), (2, 1), ("a", [1])):
        with pytest.raises(ValueError, match="bounds must"):
            Bounds.given(wrong)
    assert Bounds(1.0, 2.0).completing(Signs(-1, 1, 1), 5) == 1.0
    assert Bounds(1.0, 2.0).completing(Signs(1, 1), 5) == 2.0
    assert Bounds(1.0, 2.0).completing(Signs(1, -1, 8), 3) is None


def test_bounds_that_do_not_hold_the_spectrum_are_told():
    A = np.diag(np.linspace(1, 2, 100))
    for bounds, side in (((1.5, None), "below"), ((None, 1.5), "above")):
        with pytest.raises(ValueError, match=rf"do not hold the spectrum: an eigenvalue lies at .* or {side} it"):
            fl.trace(A, "log", bounds=bounds, seed=0)
    fl.trace(A, "log", bounds=(1.0, 2.0), seed=0)  # eigenvalues, to rounding


def test_a_bound_at_which_f_overflows_gives_no_bracket():
    e = fl.trace(np.diag(np.linspace(1, 2, 100)), "exp", bounds=(None, 1e4), num_steps=20, seed=0, method="hutchinson")
    assert e.info["quadrature"] == "estimate"
