"""fastlanczos.singular.inverse: (B^H B)^-1 by a factorization that does not square B."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastlanczos.singular.inverse import SmallestEnd, can_be_factored
from fastlanczos.singular.rectangular import as_rectangular


def graded(decades, n=60, zeros=0):
    rng = np.random.default_rng(0)
    columns = 10.0 ** -np.linspace(0, decades, n)
    columns[n - zeros :] = 0.0
    mixed = sp.vstack([sp.eye_array(n) + 0.2 * sp.random_array((n, n), density=0.05, rng=rng), sp.eye_array(9, n)])
    return (mixed @ sp.diags_array(columns)).tocsr()


@pytest.mark.parametrize("decades", [1, 6, 11])
def test_the_largest_eigenvalue_is_that_of_the_smallest_value(decades):
    A = graded(decades)
    s = np.linalg.svd(A.toarray())[1]
    B = as_rectangular(A)
    end = SmallestEnd(B, float(s[0]))
    inverse = end.operator(np.empty((60, 0)), 0.0)
    x = np.linalg.svd(A.toarray())[2][-1]
    for _ in range(3):
        x = inverse.matvec(x)
        x /= np.linalg.norm(x)
    assert abs(np.linalg.norm(A @ x) - s[-1]) < 1e-15 * s[0]
    assert abs(inverse.matvec(x) @ x / float(end.size(s[-1])) ** 2 - 1.0) < 1e-3


def test_least_squares_and_shortest_solutions():
    A = graded(3)
    end = SmallestEnd(as_rectangular(A), 1.0)
    end.operator(np.empty((60, 0)), 0.0)
    rng = np.random.default_rng(1)
    r, q = rng.standard_normal(69), rng.standard_normal(60)
    assert np.abs(end.solve(r, None)[1] - np.linalg.lstsq(A.toarray(), r)[0]).max() < 1e-9
    x = end.solve(None, q)[0]
    assert np.abs(x - np.linalg.lstsq(A.toarray().T, q)[0]).max() < 1e-9 * np.abs(x).max()


def test_zeros_that_have_been_found_do_not_hide_the_others():
    A = graded(4, zeros=3)
    _, s, Vh = np.linalg.svd(A.toarray())
    end = SmallestEnd(as_rectangular(A), float(s[0]))
    inverse = end.operator(Vh[-3:].T, s[-4])
    x = inverse.matvec(Vh[-4])
    assert np.abs(np.abs(x / np.linalg.norm(x) @ Vh[-4]) - 1.0) < 1e-12


def test_what_can_be_factored():
    assert can_be_factored(as_rectangular(graded(1)))
    assert not can_be_factored(as_rectangular(graded(1).toarray()))
    B = as_rectangular(graded(1))
    B.subtract(B.mean())
    assert not can_be_factored(B)
