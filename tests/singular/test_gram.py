"""fastlanczos.singular.gram: native and other products with B^H B, and what has been found out of the way."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastlanczos.operators.cost import rows_of_product
from fastlanczos.operators.native import gram_matvec
from fastlanczos.operators.operator import as_operator
from fastlanczos.singular.gram import Gram, LargestEnd
from fastlanczos.singular.rectangular import as_rectangular

RNG = np.random.default_rng(0)
NONE = np.empty((40, 0))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(700, 40), (40, 40), (41, 40), (3000, 1)])
@pytest.mark.parametrize("make", ["dense", "rows apart", "csr", "csr 64"])
@pytest.mark.parametrize("centred", [False, True])
def test_native_products(dtype, shape, make, centred):
    A = (RNG.standard_normal(shape) * (RNG.random(shape) < 0.5)).astype(dtype)
    B = A
    if make == "rows apart":
        B = np.zeros((shape[0], shape[1] + 3), dtype)[:, : shape[1]]
        B[:] = A
    elif make.startswith("csr"):
        B = sp.csr_array(A)
        if make == "csr 64":
            B = sp.csr_array((B.data, B.indices.astype("int64"), B.indptr.astype("int64")), shape=shape)
    c, d = (RNG.standard_normal(shape[0]), RNG.standard_normal(shape[1])) if centred else (None, None)
    dense = A.astype(float) - (np.outer(c, d) if centred else 0.0)
    x, y = RNG.standard_normal((5, shape[1])), np.full((5, shape[1]), np.nan)
    native = gram_matvec(B, c, d)
    native.multiply(x, y)
    wanted = x @ dense.T @ dense
    assert np.abs(y - wanted).max() < 1e-13 * np.abs(wanted).max()
    assert native.nbytes > 0


def test_matrices_that_are_damaged_are_refused():
    S = sp.csr_array(np.eye(5, 3))
    S.indices[2] = 7
    with pytest.raises(ValueError, match="beyond its side"):
        gram_matvec(S)
    with pytest.raises(ValueError, match="c, of as many entries as rows"):
        gram_matvec(np.eye(5, 3), np.ones(3), np.ones(3))


def test_what_has_been_found_comes_last():
    A = RNG.standard_normal((90, 40))
    _, s, Vh = np.linalg.svd(A, full_matrices=False)
    B = as_rectangular(A)
    end = LargestEnd(B)
    end.size(s)
    gram = end.operator(Vh[:3].T, s[3])
    assert gram.native is None
    values = np.linalg.eigvalsh(np.column_stack([gram.matvec(e) for e in np.eye(40)]))
    assert np.abs(values - np.r_[[-(s[3] ** 2)] * 3, s[3:][::-1] ** 2]).max() < 1e-10
    assert 0.0 < gram.noises[0] < 1e-13


def test_what_a_product_costs():
    dense, sparse = np.ones((300, 40)), sp.random_array((300, 40), density=0.1, rng=0, format="csr")
    assert rows_of_product(as_operator(Gram(as_rectangular(dense), NONE))) == 300.0
    assert rows_of_product(as_operator(Gram(as_rectangular(sparse), NONE))) == 2.0 * sparse.nnz / 40
    assert rows_of_product(as_operator(Gram(as_rectangular(dense * 1j), NONE).matvec, 40)) == np.inf
