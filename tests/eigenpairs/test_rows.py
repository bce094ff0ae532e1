"""fastlanczos/eigenpairs/rows.py: what changes to the rows leave true."""

import numpy as np
import pytest

from fastlanczos.eigenpairs.rows import Rows
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.host_run import HostRun

N, MOST = 200, 40
D = np.sort(np.r_[np.linspace(-1, 1, N - 3), 5.0, 6.0, 7.0])


def rows_after(steps, most=MOST):
    run = HostRun(N, most, "float64")
    run.start(np.random.default_rng(0).standard_normal(N))
    rows = Rows(run, Wanted("LA", 3), 1e-14)
    advance(rows, steps)
    return rows


def advance(rows, steps):
    while rows.run.steps < steps and not rows.run.finished:
        rows.run.advance(D * rows.run.vector)


def vectors(rows):
    return np.array(rows.run.rows(rows.run.steps))


def test_ritz_pairs_and_their_residuals_are_those_of_the_space():
    rows = rows_after(25)
    ritz, V = rows.ritz(), vectors(rows)
    np.testing.assert_allclose(ritz.values, np.linalg.eigvalsh((V * D) @ V.T), atol=1e-13)
    x = ritz.rotation.T @ V
    np.testing.assert_allclose(np.linalg.norm(x * D - ritz.values[:, None] * x, axis=1), ritz.residuals, atol=1e-12)
    assert rows.norm == pytest.approx(7.0, rel=1e-10)
    assert rows.asymmetry < 1e-14


def test_locked_rows_are_the_eigenvectors_and_what_follows_stays_orthogonal_to_them():
    rows = rows_after(MOST)
    ritz = rows.ritz()
    found = rows.converged(ritz, np.arange(ritz.mu.size))[-3:]
    rows.lock(ritz, np.arange(0), found)
    np.testing.assert_allclose(rows.locked, [5.0, 6.0, 7.0], atol=1e-13)
    assert rows.run.renew(np.random.default_rng(1).standard_normal(N))
    advance(rows, 20)
    V = vectors(rows)
    np.testing.assert_allclose(V @ V.T, np.eye(20), atol=1e-13)
    np.testing.assert_allclose(np.abs(V[:3, -3:]), np.eye(3), atol=1e-7)  # by the residual over the gap
    assert rows.ritz().values.max() < 1.01  # the complement does not see them again
    assert rows.limits() == (-np.inf, rows.locked.min())


def test_a_restart_keeps_the_best_ritz_values_and_the_recurrence():
    rows = rows_after(12, most=12)
    ritz = rows.ritz()
    best = Wanted("LA", 3).order(ritz.values)[:5]
    rows.keep(best, ritz)
    assert not rows.fresh
    np.testing.assert_allclose(np.sort(rows.ritz().values), np.sort(ritz.values[best]), atol=1e-13)
    advance(rows, 12)
    V = vectors(rows)
    np.testing.assert_allclose(V @ V.T, np.eye(12), atol=1e-13)
    np.testing.assert_allclose(rows.run.projected() * 2.0**rows.run.exponent, (V * D) @ V.T, atol=1e-13)


def test_unlocked_rows_are_found_again():
    rows = rows_after(MOST)
    ritz = rows.ritz()
    rows.lock(ritz, np.arange(0), np.argsort(ritz.values)[-3:])
    rows.unlock(np.array([0, 2]))
    np.testing.assert_allclose(rows.locked, [6.0], atol=1e-12)
    advance(rows, 10)
    np.testing.assert_allclose(rows.ritz().values[-2:], [5.0, 7.0], atol=1e-10)


def test_room_leaves_a_few_rows_for_the_active_space():
    rows = rows_after(MOST)
    assert rows.room == MOST - 3
    rows.lock(rows.ritz(), np.arange(0), np.arange(30))
    assert rows.room == MOST - 33
