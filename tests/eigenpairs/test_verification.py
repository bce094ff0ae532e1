"""fastlanczos/eigenpairs/verification.py: a pair that A does not confirm is not returned as one."""

import numpy as np

from fastlanczos.eigenpairs.clusters import Clusters
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.rows import Rows
from fastlanczos.eigenpairs.verification import Verification
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.host_run import HostRun
from fastlanczos.operators.operator import as_operator

N = 200
D = np.r_[np.linspace(-1, 1, N - 3), 5.0, 6.0, 7.0]


def locked(steps, width=0.0):
    """The three largest pairs of so many steps, locked whether they have converged or not."""
    run = HostRun(N, steps, "float64")
    run.start(np.random.default_rng(0).standard_normal(N))
    while not run.finished:
        run.advance(D * run.vector)
    rows = Rows(run, Wanted("LA", 3), 1e-14)
    ritz = rows.ritz()
    rows.lock(ritz, np.arange(0), np.argsort(ritz.values)[-3:])
    clusters = Clusters(rows, width, mixtures=True)
    multiplier = Multiplier(as_operator(lambda v: D * v, N))
    return rows, Verification(rows, clusters, multiplier, None, None), multiplier


def test_pairs_that_hold_pass_with_a_product_each():
    _, verification, multiplier = locked(60)
    residuals, good = verification.verify()
    assert good.all()
    assert residuals.max() < 1e-12
    assert multiplier.count == 3
    np.testing.assert_allclose(verification.values, [5.0, 6.0, 7.0], atol=1e-13)


def test_pairs_that_do_not_hold_are_named():
    _, verification, _ = locked(8)
    residuals, good = verification.verify()
    assert not good.all()
    text = verification.why_not(residuals, good)
    assert f"{np.count_nonzero(~good)} pairs failed verification" in text
    assert f"{residuals[~good].max():.1e}" in text


def test_mixtures_are_told_apart_by_the_operator():
    rows, verification, _ = locked(60, width=1e-8)
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    rows.run.rows(3)[:] = turned @ rows.run.rows(3)
    residuals, good = verification.verify()
    assert good.all()
    assert residuals.max() < 1e-12
    np.testing.assert_allclose(rows.locked, [5.0, 6.0, 7.0], atol=1e-13)
