"""Whether pairs hold: a product with a random combination, or the residuals with A and M."""

import numpy as np
import pytest

from fastlanczos.eigenpairs.judges import PencilJudge, ProductJudge
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.operators.operator import as_operator

D = np.linspace(1.0, 2.0, 50)


def product_judge(asymmetry=0.0, **arguments):
    products = [0]

    def multiply(v):
        products[0] += 1
        return D * v

    given = {"tol": 1e-10, "noisy": False, "invariant": False, "generator": np.random.default_rng(0), **arguments}
    most = 1e-3 if given["noisy"] else 0.0
    multiplier = Multiplier(as_operator(np.diag(D)), inexact=most)
    judge = ProductJudge(multiplier, multiply, lambda: asymmetry, **given)
    return judge, products


def test_one_product_confirms_all_and_one_for_each_tells_which_fail():
    judge, products = product_judge()
    judge.noise(2.0)
    rows, values, estimates = np.eye(50)[[0, 20, 49]], D[[0, 20, 49]], np.full(3, 1e-12)
    residuals, good = judge.judge(rows, values, estimates)
    assert products == [1]
    assert good.all()
    np.testing.assert_array_equal(residuals, estimates)
    values = values + np.array([0, 1e-4, 0])
    residuals, good = judge.judge(rows, values, estimates)
    assert products == [1 + 1 + 3]
    np.testing.assert_array_equal(good, [True, False, True])
    np.testing.assert_allclose(residuals, [0, 1e-4, 0], atol=1e-14)
    assert judge.improve(rows, values, np.array([1])) is None


def test_asymmetry_is_an_error_unless_products_may_be_noisy():
    with pytest.raises(ValueError, match="not symmetric"):
        product_judge(asymmetry=1e-4)[0].noise(1.0)
    judge, _ = product_judge(asymmetry=1e-4, noisy=True)
    assert judge.noise(2.0) == pytest.approx(1e-4)
    assert judge.asymmetry == pytest.approx(5e-5)
    with pytest.raises(ValueError, match="not symmetric"):
        product_judge(asymmetry=1e-2, noisy=True)[0].noise(1.0)


def test_a_pair_beside_a_shift_is_judged_by_a_and_improved_by_a_solve():
    pencil = Pencil(np.diag(D), None, None, sigma=1.5, mode="normal", Minv=None, OPinv=None, v0=None)
    judge = PencilJudge(pencil, lambda: 1.0, tol=1e-14, invariant=False)
    assert judge.noise(1.0) == 1e-9  # at most
    near = np.argsort(np.abs(D - 1.5))[:2]
    rows = np.eye(50)[near] + 1e-6 * np.eye(50)[[0, 49]]
    values = 1.0 / (D[near] - 1.5)
    residuals, good = judge.judge(rows, values, np.zeros(2))
    assert not good.any()
    rows, values = judge.improve(rows, values, np.array([0, 1]))
    better, _ = judge.judge(rows, values, np.zeros(2))
    assert np.all(better < 0.1 * residuals)  # the shift is 50 times nearer to these than to 1 and 2
    np.testing.assert_allclose(rows @ rows.T, np.eye(2), atol=1e-15)
