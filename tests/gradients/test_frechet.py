"""The adjoint of A -> x' f(A) b: against the Frechet derivative of scipy."""

import numpy as np
import scipy.linalg

from fastlanczos.gradients.derivatives import derivative_of, function_of
from fastlanczos.gradients.frechet import adjoint
from fastlanczos.operators.operator import as_operator

N = 70


def test_it_is_the_frechet_derivative_of_the_exponential():
    rng = np.random.default_rng(0)
    A, E = (rng.standard_normal((N, N)) for _ in range(2))
    A, E = (A + A.T) / 10, E + E.T
    x, b = rng.standard_normal(N), rng.standard_normal(N)
    found = adjoint(as_operator(A), function_of("exp"), derivative_of("exp"), x, b, 1e-10, 1000)
    true = x @ scipy.linalg.expm_frechet(A, E, compute_expm=False) @ b
    assert abs(np.sum(found.left * (E @ found.right)) - true) < 1e-9 * abs(true)
    assert np.allclose(found.product, scipy.linalg.expm(A) @ x, rtol=1e-9)
    assert found.left.shape[1] < 20  # of 70: its rank is low


def test_the_inverse_has_rank_one():
    d = np.linspace(1.0, 30.0, N)
    x, b = np.random.default_rng(1).standard_normal((2, N))
    found = adjoint(as_operator(np.diag(d)), function_of("inv"), derivative_of("inv"), x, b, 1e-10, 1000)
    assert found.left.shape == (N, 1)
    assert np.allclose(found.left @ found.right.T, -np.outer(x / d, b / d), rtol=1e-8, atol=1e-10)


def test_nothing_comes_of_zeros():
    f, d = function_of("exp"), derivative_of("exp")
    A = as_operator(np.diag(np.arange(1.0, 5.0)))
    assert adjoint(A, f, d, np.zeros(4), np.ones(4), 1e-10, 10).left.shape == (4, 0)
    found = adjoint(A, f, d, np.ones(4), np.zeros(4), 1e-10, 10)
    assert found.left.shape == (4, 0)
    assert np.allclose(found.product, np.exp(np.arange(1.0, 5.0)))
