"""Residuals of nodes: those of Ritz vectors."""

import numpy as np
import pytest

import fastlanczos as fl
from fastlanczos.gauss.residuals import converged, lowest_residual, residuals_of

D = np.r_[np.geomspace(1e-4, 1, 60), 5.0]


@pytest.mark.parametrize("steps", [2, 8, 20])
def test_they_are_those_of_the_ritz_vectors(steps):
    r = fl.lanczos(np.diag(D), num_steps=steps, seed=0)
    theta, Y = r.eigh()
    expected = np.linalg.norm(D[:, None] * Y - theta * Y, axis=0)
    beta = np.append(r.beta, r.residual_norm)
    (found,) = residuals_of([(r.alpha, beta)])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-13)
    nodes, weights = r.quadrature()
    assert lowest_residual(beta, nodes, weights) == pytest.approx(expected[0], rel=1e-6)


def test_converged_nodes_are_those_that_are_nearer_to_themselves_than_to_others_and_the_ends():
    nodes = np.array([0.0, 1.0, 1.5, 4.0, 9.0])
    assert converged(nodes, np.array([9.0, 0.2, 0.3, 1.0, 9.0])).tolist() == [0, 1, 3, 4]
    assert converged(np.array([1.0]), np.array([5.0])).tolist() == [0]
