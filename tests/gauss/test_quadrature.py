"""csrc/include/fastlanczos/tridiagonal.hpp and fastlanczos/gauss/quadrature.py."""

import numpy as np
import pytest
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh_tridiagonal

import fastlanczos as fl


@pytest.mark.soak
@settings(max_examples=examples(100), deadline=None)
@given(m=st.integers(1, 60), exponent=st.integers(-290, 290), seed=st.integers(0, 2**32))
def test_nodes_and_weights_are_lapacks(m, exponent, seed):
    rng = np.random.default_rng(seed)
    alpha, beta = rng.normal(size=m), rng.normal(size=m - 1)
    nodes, weights = fl.quadrature(alpha * 10.0**exponent, beta * 10.0**exponent)
    expected, S = eigh_tridiagonal(alpha, beta, lapack_driver="stev") if m > 1 else (alpha, np.ones((1, 1)))
    norm = np.abs(expected).max()
    assert np.abs(nodes / 10.0**exponent - expected).max() < 1e-14 * norm
    # A rounding error of eps |T| moves weight across a gap by eps |T| / gap (the sin theta theorem): what each of two
    # nodes that nearly coincide has is determined no better, by LAPACK neither; what they have together is.
    gaps = np.diff(expected) / norm
    difference = np.abs(np.cumsum(weights) - np.cumsum(S[0] ** 2))[:-1]
    assert (difference < 1e-13 + 4 * np.finfo(float).eps / np.maximum(gaps, 1e-300)).all()
    assert abs(weights.sum() - 1) < 1e-13


def test_exact_for_polynomials_to_degree_2m_minus_1_and_not_beyond():
    # The m-point Gauss-Legendre rule, from the Legendre polynomials' recurrence.
    m = 12
    k = np.arange(1, m)
    nodes, weights = fl.quadrature(np.zeros(m), k / np.sqrt(4.0 * k**2 - 1))
    for degree in range(2 * m):
        exact = 0.0 if degree % 2 else 1.0 / (degree + 1)
        assert abs(weights @ nodes**degree - exact) < 1e-15
    assert abs(weights @ nodes ** (2 * m) - 1 / (2 * m + 1)) > 1e-10


def test_moments_of_a_lanczos_run_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(80, 80))
    A = (A + A.T) / 18
    v = rng.normal(size=80)
    v /= np.linalg.norm(v)
    m = 9
    nodes, weights = fl.lanczos(A, num_steps=m, v0=v).quadrature()
    power = v.copy()
    for degree in range(2 * m):
        assert abs(weights @ nodes**degree - v @ power) < 1e-13 * max(1.0, np.linalg.norm(power))
        power = A @ power


def test_leading_dimensions_are_a_batch():
    rng = np.random.default_rng(1)
    alpha, beta = rng.normal(size=(3, 4, 7)), rng.normal(size=(3, 4, 6))
    nodes, weights = fl.quadrature(alpha, beta)
    assert nodes.shape == weights.shape == (3, 4, 7)
    for index in np.ndindex(3, 4):
        one = fl.quadrature(alpha[index], beta[index])
        assert np.array_equal(nodes[index], one[0])
        assert np.array_equal(weights[index], one[1])


def test_zero_off_diagonals_split_the_matrix():
    nodes, weights = fl.quadrature([1.0, 3.0, 2.0, 5.0], [0.0, 1.0, 0.0])
    expected = np.sort(np.r_[1.0, np.linalg.eigvalsh([[3.0, 1.0], [1.0, 2.0]]), 5.0])
    np.testing.assert_allclose(nodes, expected, atol=1e-15)
    np.testing.assert_array_equal(weights, np.where(np.isclose(nodes, 1.0), 1.0, 0.0))


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        (np.geomspace(1, 1e-30, 80), np.geomspace(1, 1e-30, 79) / 2),
        (np.geomspace(1e-30, 1, 80), np.geomspace(1e-30, 1, 79) / 2),
        (np.zeros(80), np.ones(79)),
        (np.zeros(80), np.full(79, 1e-300)),
        (np.abs(np.arange(81) - 40.0), np.ones(80)),
        (np.zeros(5), np.zeros(4)),
        (np.full(50, 1e308), np.zeros(49)),
        (np.full(50, 1e-310), np.full(49, 1e-311)),
    ],
    ids=[
        "graded down",
        "graded up",
        "zero diagonal",
        "tiny",
        "Wilkinson",
        "zero",
        "near overflow",
        "subnormal",
    ],
)
def test_hard_matrices(alpha, beta):
    unit = 2.0 ** np.floor(np.log2(max(np.abs(alpha).max(), np.abs(beta).max(), 1e-300)))
    nodes, weights = fl.quadrature(alpha, beta)
    expected, _ = eigh_tridiagonal(alpha / unit, beta / unit, lapack_driver="stev")
    # A subnormal node has fewer digits of its own.
    assert np.abs(nodes / unit - expected).max() <= max(1e-14 * np.abs(expected).max(), 5e-324 / unit)
    assert abs(weights.sum() - 1) < 1e-14


@pytest.mark.parametrize("m", [50, 200, 400])
@pytest.mark.parametrize("decades", [10, 50, 150, 300])
@pytest.mark.parametrize("coupling", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("direction", [1, -1])
def test_strongly_graded_matrices(m, decades, coupling, direction):
    # Their small end takes over a hundred QL sweeps before its first eigenvalue comes off.
    alpha = np.geomspace(10.0**-decades, 1, m)[::direction]
    beta = coupling * alpha[1:]
    nodes, weights = fl.quadrature(alpha, beta)
    expected, _ = eigh_tridiagonal(alpha, beta, lapack_driver="stev")
    assert np.abs(nodes - expected).max() < 1e-14 * np.abs(expected).max()
    assert abs(weights.sum() - 1) < 1e-13


def test_integer_input_is_taken_as_numbers():
    nodes, _ = fl.quadrature([2, 2], [1])
    np.testing.assert_allclose(nodes, [1, 3], atol=1e-15)


@pytest.mark.parametrize(
    ("alpha", "beta", "error", "message"),
    [
        (
            np.ones(3),
            np.ones(3),
            ValueError,
            r"beta must have shape \(2,\) beside alpha of shape \(3,\), got \(3,\)",
        ),
        (np.ones(0), np.ones(0), ValueError, "m >= 1"),
        (1.0, [], ValueError, "m >= 1"),
        ([1.0, np.nan], [1.0], ValueError, "alpha has 1 entries that are NaN or infinite"),
        ([1.0, 2.0], [np.inf], ValueError, "beta has 1 entries"),
        ([1j, 2.0], [1.0], TypeError, "real numbers, got dtype complex128"),
        (["a"], [], TypeError, "real numbers"),
    ],
)
def test_bad_input_is_told(alpha, beta, error, message):
    with pytest.raises(error, match=message):
        fl.quadrature(alpha, beta)
