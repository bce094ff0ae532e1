"""Which Ritz pairs of a chain are looked at."""

import numpy as np
import pytest

from fastlanczos.eigenpairs.chain import _candidates, _ends_of
from fastlanczos.eigenpairs.wanted import WHICH, Wanted


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("m", [1, 5, 60])
def test_the_ends_of_a_tridiagonal_hold_the_wanted(which, m):
    rng = np.random.default_rng(m)
    alpha, beta = rng.standard_normal(m), rng.uniform(0.5, 1, m - 1)
    T = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
    wanted = Wanted(which, 3)
    values, vectors = _ends_of(alpha, beta, wanted)
    exact = np.linalg.eigvalsh(T)
    chosen = values[_candidates(wanted, values)]
    mine, right = (x[wanted.order(x)[:3]] for x in (chosen, exact))
    np.testing.assert_allclose(np.sort(mine), np.sort(right), atol=1e-12)
    np.testing.assert_allclose([values[0], values[-1]], [exact[0], exact[-1]], atol=1e-12)
    np.testing.assert_allclose(T @ vectors, vectors * values, atol=1e-12)
