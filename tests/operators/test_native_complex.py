"""Complex matrices of operators/native.py: csrc/include/fastlanczos/complex_matrix.hpp."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastlanczos as fl
from fastlanczos.operators.native import matrix_matvec

RNG = np.random.default_rng(0)


def complex_numbers(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


def multiplied(A, X):
    rows = np.ascontiguousarray(X.T)
    products = np.full_like(rows, np.nan)
    matrix_matvec(A).multiply(rows, products)
    return products.T


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("n", [1, 2, 5, 63, 400])
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_dense_products_are_numpys(n, count, dtype):
    A, X = complex_numbers(n, n).astype(dtype), complex_numbers(n, count)
    np.testing.assert_allclose(multiplied(A, X), A.astype(complex) @ X, atol=1e-13 * n)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_sparse_products_are_scipys(index, count, dtype):
    A = sp.random(3000, 3000, 0.004, format="csr", random_state=1) + 0j
    A.data = complex_numbers(A.nnz).astype(dtype)
    A.indices, A.indptr = A.indices.astype(index), A.indptr.astype(index)
    X = complex_numbers(3000, count)
    np.testing.assert_allclose(multiplied(A, X), A.astype(complex) @ X, atol=1e-12)


def test_rows_that_are_not_contiguous_are_copied():
    A, x = complex_numbers(80, 80), complex_numbers(80, 1)
    for view in (A.T, A[::-1, ::-1], A[::2, ::2], np.asfortranarray(A)):
        n = len(view)
        np.testing.assert_allclose(multiplied(view, x[:n]), view @ x[:n], atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_bits_do_not_depend_on_threads_or_on_company(sparse):
    A = complex_numbers(700, 700)
    A = A + A.conj().T
    if sparse:
        A[np.abs(A) < 2.5] = 0.0
        A = sp.csr_array(A)
    X = complex_numbers(700, 6)
    before = fl.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            fl.set_num_threads(threads)
            found.append(multiplied(A, X))
    finally:
        fl.set_num_threads(before)
    assert all(np.array_equal(found[0], other) for other in found[1:])
    assert np.array_equal(found[0][:, :1], multiplied(A, X[:, :1]))


def test_runs_of_a_matrix_and_of_its_products_agree():
    A = sp.random(2000, 2000, 0.003, format="csr", random_state=1) + 0j
    A.data = complex_numbers(A.nnz)
    A = (A + A.conj().T).tocsr()
    v0 = complex_numbers(2000)
    native, called = fl.lanczos(A, num_steps=40, v0=v0), fl.lanczos(lambda v: A @ v, 2000, 40, v0=v0)
    np.testing.assert_allclose(native.alpha, called.alpha, atol=1e-11)
    np.testing.assert_allclose(native.basis[:20], called.basis[:20], atol=1e-10)


def test_real_vectors_are_refused_by_the_core():
    with pytest.raises(ValueError, match="complex128 array"):
        matrix_matvec(complex_numbers(5, 5)).multiply(np.zeros((1, 5)), np.zeros((1, 5)))


def test_subnormal_entries_count_as_zeros_beside_plain_ones():
    A = complex_numbers(50, 50)
    A[3, 4] = 1e-310 * (1 + 1j)
    zeroed = A.copy()
    zeroed[3, 4] = 0.0
    x = complex_numbers(50, 1)
    assert np.array_equal(multiplied(A, x), multiplied(zeroed, x))
