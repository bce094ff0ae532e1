"""Which search, and in how many rows."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.eigenpairs.plan import make_plan


def pencil(A, dim=None, **arguments):
    given = {"sigma": None, "mode": "normal", "Minv": None, "OPinv": None, "v0": None, **arguments}
    return Pencil(A, None, dim, **given)


def plan(A, k=6, ncv=None, max_memory=None, which="LA", dim=None):
    return make_plan(pencil(A, dim), k, ncv, max_memory, which)


def banded(n):
    return sp.diags_array([np.ones(n - 1), np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()


def test_cheap_products_take_the_usual_rows_and_dear_ones_as_many_as_pay():
    cheap = plan(banded(4000))
    assert (cheap.rows, cheap.grows) == (32, False)
    dear = plan(lambda v: v, dim=4000)
    assert (dear.rows, dear.grows, dear.blocks) == (300, True, False)
    assert plan(lambda v: v, k=50, dim=4000).rows == 750
    dense = plan(np.eye(100))  # a product costs 100 rows
    assert (dense.rows, dense.cost) == (108, 100)  # 1.5 times as many, and not more than there are
    assert plan(np.eye(140), k=2).rows == 148


def test_ncv_and_sm_are_for_the_usual_search():
    assert not plan(lambda v: v, ncv=50, dim=4000).grows
    assert not plan(lambda v: v, which="SM", dim=4000).grows


def test_complex_and_shifted_problems_are_for_blocks():
    assert plan(banded(4000).astype(complex)).blocks
    assert make_plan(pencil(banded(4000).tocsc(), sigma=0.5), 6, None, None, "LM").blocks


def test_max_memory_limits_the_rows():
    n = 4000
    assert plan(lambda v: v, dim=n, max_memory=8 * n * 126).rows == 120
    few = plan(lambda v: v, dim=n, max_memory=8 * n * 30)
    assert (few.rows, few.grows) == (24, False)
    with pytest.raises(MemoryError, match="hold 2 vectors of 4000 entries beside the working ones, and 9 are needed"):
        plan(lambda v: v, dim=n, max_memory=8 * n * 8)
