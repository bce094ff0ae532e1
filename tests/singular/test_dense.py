"""fastlanczos.singular.dense: LAPACK where it is cheaper, or the last resort."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from cases.singular import check

from fastlanczos.singular.dense import affordable, cheaper, solve_dense
from fastlanczos.singular.rectangular import as_rectangular


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (9000, 130)])
@pytest.mark.parametrize("which", ["LM", "SM"])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=lambda f: f.__name__)
def test_it_is_lapacks_answer(shape, which, make):
    A = np.random.default_rng(0).standard_normal(shape)
    kept = A.copy()
    B = as_rectangular(make(A))
    found = solve_dense(B, which, 4)
    values = scipy.linalg.svdvals(A)
    U, V = (found.V, found.U) if B.wide else (found.U, found.V)
    order = np.argsort(found.values)
    check(A, (U[:, order], found.values[order], V[:, order].T), values[:4] if which == "LM" else values[-4:])
    assert np.array_equal(A, kept)


def test_when_it_is_worth_it():
    dense = as_rectangular(np.ones((3000, 500)))
    assert cheaper(dense, 10)
    assert affordable(dense)
    assert not cheaper(as_rectangular(np.ones((3000, 2000))), 1)
    assert not cheaper(as_rectangular(sp.csr_array(np.ones((30, 20)))), 10)
    assert not affordable(as_rectangular(sp.csr_array((3000, 2500))))
