"""A space of single vectors: chains in the complement of all rows."""

import numpy as np
import pytest
from spectra import laplacian
from tqdm import tqdm

from fastlanczos.eigenpairs.engine_space import EngineSpace
from fastlanczos.eigenpairs.multiplier import Multiplier
from fastlanczos.eigenpairs.wanted import Wanted
from fastlanczos.engine.host_run import HostRun
from fastlanczos.operators.operator import as_operator

A = laplacian((20, 20))[0].tocsr()
N = 400


@pytest.fixture(params=["native", "callable"])
def space(request):
    operator = as_operator(A) if request.param == "native" else as_operator(A.__matmul__, N)
    return EngineSpace(HostRun(N, 120, "float64"), Multiplier(operator), tqdm(disable=True))


def rows_of(space):
    return np.array(space._run.rows(space.steps))


def test_a_chain_is_a_krylov_space_of_what_the_rows_before_leave(space):
    rng = np.random.default_rng(0)
    space.start([rng.standard_normal(N)])
    space.expand(30)
    space.start([rng.standard_normal(N)])
    assert (space.first, space.num_aside) == (31, 1)
    space.expand(40)
    V = rows_of(space)
    assert np.abs(V @ V.T - np.eye(71)).max() < 1e-13
    H = V @ (A @ V.T)
    assert np.abs(H[31:, :30]).max() < 1e-13  # coupled to what is set aside only
    assert space.asymmetry < 1e-13
    ritz = space.ritz(Wanted("LA", 3))
    w = np.linalg.eigvalsh(H[31:, 31:])
    np.testing.assert_allclose(ritz.values[-3:], w[-3:], atol=1e-12)
    X = ritz.vectors.T @ V[31:]
    residuals = np.linalg.norm(A @ X.T - X.T * ritz.values, axis=0)
    np.testing.assert_allclose(ritz.residuals, residuals, atol=1e-12)
    np.testing.assert_allclose(ritz.beside, np.abs(V[30] @ (A @ X.T)), atol=1e-12)


def test_restarted_and_condensed_it_still_tells_its_residuals(space):
    rng = np.random.default_rng(1)
    space.start([rng.standard_normal(N)])
    space.expand(30)
    found = space.ritz(Wanted("LA", 2))
    keep = np.zeros((2, 30))
    keep[:] = found.vectors[:, -2:].T
    space.start([rng.standard_normal(N)])
    space.expand(40)
    wide = np.zeros((2, 31))
    wide[:, :30] = keep
    ritz = space.ritz(Wanted("LA", 10))
    space.condense(wide, found.values[-2:], ritz.vectors[:, -10:], ritz.values[-10:])
    assert (space.first, space.steps, space.num_aside) == (3, 13, 1)
    space.expand(20)
    ritz = space.ritz(Wanted("LA", 3))
    V = rows_of(space)
    assert np.abs(V @ V.T - np.eye(len(V))).max() < 1e-13
    X = ritz.vectors.T @ V[3:]
    np.testing.assert_allclose(ritz.residuals, np.linalg.norm(A @ X.T - X.T * ritz.values, axis=0), atol=1e-9)


def test_the_bound_on_what_is_hidden_survives_a_restart(space):
    rng = np.random.default_rng(2)
    start = rng.standard_normal(N)
    space.start([start])
    space.expand(40)
    top = np.linalg.eigvalsh(A.toarray())[-1] + 0.2
    unrestarted = space.log_hidden(top)
    ritz = space.ritz(Wanted("LA", 15))
    space.restart(ritz.vectors[:, -15:], ritz.values[-15:])
    space.expand(5)
    assert space.log_hidden(top) < unrestarted + 3.0
    space.expand(20)
    assert space.log_hidden(top) < unrestarted - 3.0
