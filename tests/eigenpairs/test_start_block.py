"""fastlanczos.eigenpairs.start_block: several start vectors cost or save time, and never change the answer."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastlanczos as fl
from fastlanczos.eigenpairs.start_block import StartBlock


def grid(n):
    T = sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])
    return (sp.kron(T, sp.eye_array(n)) + sp.kron(sp.eye_array(n), T)).tocsr()


def problems():
    rng = np.random.default_rng(0)
    R = rng.standard_normal((700, 700))
    three = sp.kron(sp.eye_array(3), grid(20)).tocsr()
    hermitian = grid(18) + 1j * sp.diags_array([np.ones(323), -np.ones(323)], offsets=[1, -1])
    yield "native", grid(40), 8, "SA"
    yield "callable", lambda v, A=R + R.T: A @ v, 6, "LM"
    yield "copies", lambda v: three @ v, 9, "LA"
    yield "complex", sp.csr_array(hermitian), 6, "SA"


SIZES = {"native": 1600, "callable": 700, "copies": 1200, "complex": 324}


@pytest.mark.parametrize(("name", "A", "k", "which"), list(problems()), ids=lambda x: x if isinstance(x, str) else "")
def test_a_start_changes_the_cost_and_not_the_answer(name, A, k, which):
    n, rng = SIZES[name], np.random.default_rng(1)
    w, V, cold = fl.eigsh(A, k, which=which, dim=n, return_info=True, ncv=None if callable(A) else 60)
    norm = np.abs(w).max()
    for error in (0.0, 1e-12, 1e-6, 1.0):
        start = V + error * rng.standard_normal(V.shape) / np.sqrt(n)
        again, vectors, info = fl.eigsh(
            A, k, which=which, dim=n, return_info=True, v0=start, ncv=None if callable(A) else 60
        )
        assert np.abs(again - w).max() < 1e-11 * norm
        assert np.abs(vectors.conj().T @ vectors - np.eye(k)).max() < 1e-12
        if error == 0.0:
            assert info.num_matvecs < 0.6 * cold.num_matvecs
    for bad in (np.ones((n, 1)), np.eye(n, 30), V[:, :2], np.hstack([V, V])):
        assert np.abs(fl.eigsh(A, k, which=which, dim=n, v0=bad)[0] - w).max() < 1e-11 * norm


def test_copies_that_rounding_has_left_in_dropped_rows_are_found():
    # A start of eigenvectors with small errors: copies come up by rounding, and restarts drop parts of them.
    A = sp.kron(sp.eye_array(3), grid(30)).tocsr()
    e = 2 - 2 * np.cos(np.arange(1, 31) * np.pi / 31)
    values = np.sort(np.tile((e[:, None] + e).ravel(), 3))[-9:]
    V = fl.eigsh(lambda v: A @ v, 9, which="LA", dim=2700)[1]
    rng = np.random.default_rng(2)
    for error in (1e-13, 1e-12, 1e-10):
        start = V + error * rng.standard_normal(V.shape) / np.sqrt(2700)
        for v0 in (start, start.sum(axis=1)):
            assert np.abs(fl.eigsh(lambda v: A @ v, 9, which="LA", dim=2700, v0=v0)[0] - values).max() < 1e-12


def test_what_is_settled_and_what_is_left():
    A = np.diag(np.arange(50.0))
    e = np.eye(50)
    block = StartBlock(np.column_stack([e[3], e[7] + 0.1 * e[9], e[9]]), np.asarray)  # two of them are mixed
    settled = block.settle(lambda x: A @ x, 1e-12)
    assert settled.values.round(12).tolist() == [3.0, 7.0, 9.0]
    assert settled.products == 5
    assert 10.0 < settled.norm <= 49.0
    assert block.left([e[3], e[7], e[9]]) is None
    rest = block.left([e[3], e[9]])
    assert np.abs(rest[[3, 7, 9]]).round(12).tolist() == [0.0, 1.0, 0.0]
    none = StartBlock(np.ones((50, 1)), np.asarray).settle(lambda x: A @ x, 1e-12)
    assert (none.values.size, none.products) == (0, 2)


@pytest.mark.parametrize(
    ("v0", "error", "words"),
    [
        (np.ones((7, 2)), ValueError, r"want|must have shape"),
        (np.zeros((60, 2)), ValueError, "column of v0 is zero"),
        (np.full((60, 2), np.nan), ValueError, "NaN"),
        (np.ones((60, 2), dtype=object), TypeError, "dtype object"),
    ],
)
def test_wrong_blocks_are_told(v0, error, words):
    with pytest.raises(error, match=words):
        fl.eigsh(np.diag(np.arange(60.0)), 3, v0=v0)
