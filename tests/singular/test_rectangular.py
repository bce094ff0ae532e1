"""fastlanczos.singular.rectangular: every form of A multiplies as its dense matrix does."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from fastlanczos.errors import NonFiniteError
from fastlanczos.singular.rectangular import as_rectangular

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((9, 5))
MATRICES = {
    "tall": REAL,
    "wide": REAL.T,
    "float32": REAL.astype("float32"),
    "complex": REAL + 1j * RNG.standard_normal((9, 5)),
    "complex wide": (REAL + 1j * RNG.standard_normal((9, 5))).T,
    "integers": RNG.integers(0, 5, (9, 5)),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, sp.coo_array, aslinearoperator], ids=lambda f: f.__name__)
@pytest.mark.parametrize("center", [False, True])
def test_products_are_those_of_the_dense_matrix(name, make, center):
    A = MATRICES[name]
    B = as_rectangular(make(A))
    dense = A.astype(B.dtype)
    if center:
        mean = B.mean()
        assert np.abs(mean - dense.mean(axis=0)).max() < 1e-6
        B.subtract(mean)
        dense = dense - mean
    dense = dense.conj().T if A.shape[0] < A.shape[1] else dense
    assert B.shape == dense.shape
    tol = 1e-5 if name == "float32" and make is aslinearoperator else 1e-12
    before, (m, n) = B.count, B.shape
    X, Y = RNG.standard_normal((n, 3)).astype(B.dtype), RNG.standard_normal((m, 2)).astype(B.dtype)
    assert np.abs(B.multiply(X) - dense @ X).max() < tol
    assert np.abs(B.multiply_adjoint(Y) - dense.conj().T @ Y).max() < tol
    assert B.count == before + 5


def test_units_keep_squares_within_range():
    B = as_rectangular(REAL * 1e200)
    B.find_unit(np.ones(5))
    assert 1e199 < B.unit < 1e203
    assert np.abs(B.multiply(np.eye(5)) * (B.unit / 1e200) - REAL).max() < 1e-12
    B = as_rectangular(REAL)
    B.find_unit(np.ones(5))
    assert B.unit == 1.0


def test_rows_of_a_float32_matrix_are_widened_a_part_at_a_time():
    A = RNG.standard_normal((9000, 3)).astype("float32")
    B = as_rectangular(A)
    assert np.abs(B.multiply(np.eye(3)) - A).max() == 0.0
    assert np.abs(B.multiply_adjoint(np.ones((9000, 1)))[:, 0] - A.astype(float).sum(axis=0)).max() < 1e-10


def test_products_that_are_wrong_are_told():
    for product, error in ((None, TypeError), (np.ones((3, 1)), ValueError), (np.full((9, 1), np.inf), NonFiniteError)):
        B = as_rectangular(REAL)
        B._forward = lambda X, product=product: product
        with pytest.raises(error):
            B.multiply(np.ones((5, 1)))
    B = as_rectangular(REAL)
    B._forward = lambda X: np.ones((9, 1)) * 1j
    with pytest.raises(TypeError, match="complex"):
        B.multiply(np.ones((5, 1)))
