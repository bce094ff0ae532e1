import numpy as np
import pytest
import scipy.sparse as sp
from tqdm import tqdm

import fastlanczos as fl
from fastlanczos.eigenpairs.chebyshev import Filter
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.operators.operator import as_operator

RNG = np.random.default_rng(0)
N = 60
D = np.linspace(-1, 2, N)
SPARSE = sp.diags_array(D).tocsr()
QUIET = tqdm(disable=True)


def started(A):
    operator = as_operator(A, N)
    run = operator.kind.new_run(N, 12, "float64")
    run.start(np.random.default_rng(1).normal(size=N))
    return Multiplier(operator), run


@pytest.mark.parametrize("A", [SPARSE, lambda v: D * v], ids=["native", "callable"])
@pytest.mark.parametrize("filter_", [None, Filter(5, 0.3, 0.9)])
def test_steps_are_those_with_the_polynomial_of_a_and_products_are_counted(A, filter_):
    multiplier, run = started(A)
    multiplier.fill(run, filter_, 7, QUIET)
    values = D if filter_ is None else filter_(D)
    expected = fl.lanczos(lambda v: values * v, N, 7, v0=np.random.default_rng(1).normal(size=N))
    scale = np.abs(values).max()
    T = run.projected() * 2.0**run.exponent
    np.testing.assert_allclose(T, expected.tridiagonal(), atol=1e-12 * scale)
    assert multiplier.count == 7 * (1 if filter_ is None else 5)


@pytest.mark.parametrize("A", [SPARSE, lambda v: D * v], ids=["native", "callable"])
def test_products_with_rows_leave_them_as_they_are(A):
    multiplier, run = started(A)
    multiplier.fill(run, None, 4, QUIET)
    rows = run.rows(4).copy()
    np.testing.assert_allclose(multiplier.product(run, 2), D * rows[2], atol=1e-15)
    f = Filter(3, 0.0, 1.0)
    np.testing.assert_allclose(multiplier.filtered(run, 1, f), f(D) * rows[1], atol=1e-13)
    value = float(rows[3] @ (D * rows[3]))
    assert multiplier.residual(run, 3, value) == pytest.approx(np.linalg.norm((D - value) * rows[3]), rel=1e-12)
    np.testing.assert_array_equal(run.rows(4), rows)
    assert multiplier.count == 4 + 1 + 3 + 1


@pytest.mark.parametrize("A", [SPARSE, lambda v: D * v], ids=["native", "callable"])
def test_the_ends_are_within_the_spectrum(A):
    multiplier, run = started(A)
    low, high = multiplier.ends(run, RNG.normal(size=N), QUIET)
    assert D[0] <= low + 1e-14
    assert high <= D[-1] + 1e-14
    assert low < -0.8
    assert high > 1.8


def test_a_product_that_is_not_finite_is_told_with_its_number():
    def matvec(v, calls=[]):  # noqa: B006
        calls.append(1)
        return D * v if len(calls) < 4 else np.full(N, np.nan)

    multiplier, run = started(matvec)
    with pytest.raises(fl.NonFiniteError, match="60 of 60 entries that are not finite") as caught:
        multiplier.fill(run, None, 8, QUIET)
    assert caught.value.count == N
    assert run.steps == 3


def test_a_float32_product_makes_the_operator_as_coarse():
    multiplier, run = started(lambda v: (D * v).astype(np.float32))
    assert multiplier.precision == np.finfo(np.float64).eps
    multiplier.fill(run, None, 1, QUIET)
    assert multiplier.precision == np.finfo(np.float32).eps
