"""fastlanczos/sums/samples.py: runs that are taken further, or begin again."""

import numpy as np
import pytest
from cases.sums import with_eigenvalues

import fastlanczos as fl


@pytest.mark.parametrize("as_callable", [False, True])
def test_steps_grow_until_their_error_is_small_and_no_product_is_lost(as_callable):
    values = np.geomspace(1e-6, 1, 200)
    A = with_eigenvalues(values)
    exact = np.log(values).sum()
    operator, dim = (lambda v: A @ v, 200) if as_callable else (A, None)
    e = fl.trace(operator, "log", dim, num_steps=4, rtol=3e-2, seed=0, method="hutchinson")
    assert e.half_width() <= 3e-2 * abs(e.value)
    assert abs(e.value - exact) <= e.half_width()
    m = e.info["num_steps"]
    assert 4 < m <= 200
    assert e.num_matvecs == m * e.num_probes
    whole = fl.trace(operator, "log", dim, num_steps=m, num_probes=e.num_probes, seed=0, method="hutchinson")
    assert whole.value == pytest.approx(e.value, rel=1e-14)
    # Runs that do not fit begin again, and give the same.
    small = fl.trace(operator, "log", dim, num_steps=4, rtol=3e-2, seed=0, method="hutchinson", max_memory=10 * 200 * 8)
    assert small.value == pytest.approx(e.value, rel=1e-14)
    assert small.num_matvecs > e.num_matvecs
