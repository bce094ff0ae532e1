"""What a product costs, in rows of the basis."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastlanczos.operators.cost import rows_of_product
from fastlanczos.operators.operator import as_operator


def banded(n):
    return sp.diags_array([np.ones(n - 1), np.ones(n), np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()


def scattered(n):
    rng = np.random.default_rng(0)
    A = sp.coo_array((np.ones(4 * n), (rng.integers(0, n, 4 * n), rng.integers(0, n, 4 * n))), shape=(n, n))
    return (A + A.T).tocsr()


def test_entries_count_and_scattered_ones_count_more_once_a_vector_leaves_the_cache():
    small, large = 1000, 300_000
    assert rows_of_product(as_operator(banded(small))) == pytest.approx(4.5, rel=0.01)
    assert rows_of_product(as_operator(banded(large))) == pytest.approx(4.5, rel=0.01)
    assert rows_of_product(as_operator(scattered(small))) == pytest.approx(12, rel=0.01)
    assert 70 < rows_of_product(as_operator(scattered(large))) < 80


def test_a_dense_matrix_costs_its_rows_and_a_callable_any_price():
    assert rows_of_product(as_operator(np.eye(70))) == 70
    assert rows_of_product(as_operator(lambda v: v, 70)) == np.inf
