"""A space of blocks: chains in the complement of all rows, real and complex, in any inner product."""

import numpy as np
import pytest
from cases.eigenpairs import matrix

from fastlanczos.eigenpairs.block_space import BlockSpace
from fastlanczos.eigenpairs.wanted import Wanted

N = 120
RNG = np.random.default_rng(0)


def space_of(A, M=None, rows=100):
    dtype = "complex128" if np.iscomplexobj(A) else "float64"
    metric = None if M is None else (lambda Z: (M @ Z.T).T)
    operator = A if M is None else np.linalg.solve(M, A)
    return BlockSpace(np.empty((rows, N), dtype), dtype, lambda Z: (operator @ Z.T).T, metric)


def block(p, dtype):
    B = RNG.standard_normal((p, N))
    return B + 1j * RNG.standard_normal((p, N)) if np.dtype(dtype).kind == "c" else B


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("with_metric", [False, True])
@pytest.mark.parametrize("p", [1, 3])
def test_chains_of_blocks(dtype, with_metric, p):
    A = matrix(np.linspace(-1, 3, N), dtype=dtype)
    M = np.diag(np.linspace(1, 2, N)) if with_metric else np.eye(N)
    space = space_of(A, M if with_metric else None)
    space.start(block(p, dtype))
    space.expand(6)
    space.start(block(p, dtype))
    assert (space.first, space.num_aside) == (7 * p, p)
    space.expand(5)
    V = space._rows[: space.steps]
    assert np.abs(V.conj() @ M @ V.T - np.eye(len(V))).max() < 1e-13
    ritz = space.ritz(Wanted("LA", 2))
    X = ritz.vectors.T @ V[space.first :]
    rest = np.linalg.solve(M, A @ X.T) - X.T * ritz.values
    norms = np.sqrt(np.abs(np.einsum("ij,ij->j", rest.conj(), M @ rest)))
    np.testing.assert_allclose(ritz.residuals, norms, atol=1e-12)


def test_a_block_in_an_invariant_space_breaks_down_and_drops_what_is_dependent():
    A = matrix(np.repeat([1.0, 2.0, 5.0], N // 3))
    space = space_of(A)
    B = block(3, float)
    B[2] = B[0] + B[1]
    space.start(B)
    assert space.block == 2
    space.expand(10)
    assert space.breakdown
    assert space.steps == 6
    np.testing.assert_allclose(space.ritz(Wanted("SM", 6)).values, [1, 1, 2, 2, 5, 5], atol=1e-13)


def test_giants_are_sharpened_by_their_products_and_ghosts_of_them_dropped():
    d = np.r_[np.linspace(1, 2, N - 2), 1e12, 1.1e12]
    A = matrix(d)
    vectors = np.linalg.eigh(A)[1].T
    exact, locked = vectors[-2:], vectors[:1]
    space = space_of(A)
    rough = exact + 1e-6 * block(2, float)
    space.start(np.vstack([locked, rough, block(1, float)]))
    space.expand(1)
    space.forget(np.eye(space.steps)[:4], np.zeros(4))
    space._rows[3] = np.sqrt(0.5) * (space._rows[1] + space._rows[2])
    left = space.sharpen(1)
    np.testing.assert_array_equal(left, [True, True, False])
    assert space.steps == space.first == 3
    V = space._rows[1:3]
    np.testing.assert_allclose(V @ exact.T @ exact, V, atol=1e-14)
    np.testing.assert_allclose(space._rows[:3] @ space._rows[:3].T, np.eye(3), atol=1e-14)


def test_an_indefinite_inner_product_is_told():
    M = np.eye(N)
    M[0, 0] = -50.0
    space = space_of(np.eye(N), None)
    space._metric = lambda Z: (M @ Z.T).T
    with pytest.raises(ValueError, match="not positive definite"):
        space.start(np.eye(N)[:1])
