import numpy as np
import pytest
import scipy.sparse
from tqdm import tqdm

import fastlanczos as fl
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.operators.operator import as_operator

RNG = np.random.default_rng(0)
N = 200
A = RNG.normal(size=(N, N))
A = A + A.T


class Blocks:
    """Multiplies blocks, and notes their shapes."""

    shape = (N, N)
    dtype = np.dtype(float)

    def __init__(self, matrix=A, fail_at=None):
        self.matrix, self.fail_at, self.seen = matrix, fail_at, []

    def matvec(self, v):
        raise AssertionError("a block was wanted")

    def matmat(self, X):
        self.seen.append(X.shape)
        if len(self.seen) == self.fail_at:
            raise RuntimeError("the cluster went away")
        # Column by column, so that the sums take the same order as for one vector.
        return np.stack([self.matrix @ np.ascontiguousarray(x) for x in X.T], axis=1)


def iterations_of(starts, steps, **options):
    return [LanczosIteration(len(v0), steps, v0=v0, **options) for v0 in starts]


@pytest.mark.parametrize("options", [{}, {"basis_dtype": "float32"}, {"reorthogonalize": "none"}])
def test_runs_in_lockstep_are_the_runs_one_by_one(options):
    starts = RNG.normal(size=(5, N))
    operator, native = Blocks(), as_operator(A)
    blocks, natives = iterations_of(starts, 30, **options), iterations_of(starts, 30, **options)
    drive(blocks, as_operator(operator), bar=tqdm(disable=True))
    drive(natives, native, bar=tqdm(disable=True))
    assert operator.seen == [(N, 5)] * 30
    for block, together, v0 in zip(blocks, natives, starts, strict=True):
        alone = fl.lanczos(lambda v: A @ v, num_steps=30, v0=v0, **options)
        alone_native = fl.lanczos(A, num_steps=30, v0=v0, **options)
        for one, two in ((block, alone), (together, alone_native)):
            assert one.alpha.tobytes() == two.alpha.tobytes()
            assert one.beta.tobytes() == two.beta.tobytes()
            assert one.result().basis is None or np.array_equal(one.result().basis, two.basis)


def test_large_runs_in_lockstep_too():
    n = 40_000  # each run is worth several threads
    d = np.linspace(0, 1, n)
    starts = RNG.normal(size=(3, n))
    B = scipy.sparse.diags_array(d).tocsr()
    together = iterations_of(starts, 20)
    drive(together, as_operator(B), bar=tqdm(disable=True))
    for iteration, v0 in zip(together, starts, strict=True):
        assert iteration.alpha.tobytes() == fl.lanczos(B, num_steps=20, v0=v0).alpha.tobytes()


@pytest.mark.parametrize("native", [True, False])
def test_a_run_that_ends_early_leaves_the_others_going(native):
    eigenvalues = np.arange(N) * 1.0
    starts = np.zeros((3, N))
    starts[0, :7] = 1  # an invariant subspace of seven dimensions
    starts[1:] = RNG.normal(size=(2, N))
    operator = Blocks(np.diag(eigenvalues))
    group = iterations_of(starts, 12)
    drive(group, as_operator(np.diag(eigenvalues) if native else operator), bar=tqdm(disable=True))
    assert [it.num_steps for it in group] == [7, 12, 12]
    assert group[0].breakdown
    np.testing.assert_allclose(group[0].result().quadrature()[0], eigenvalues[:7], atol=1e-12)
    if not native:
        assert [shape[1] for shape in operator.seen] == [3] * 7 + [2] * 5


def test_what_is_raised_carries_all_runs():
    group = iterations_of(RNG.normal(size=(3, N)), 12)
    with pytest.raises(RuntimeError, match="the cluster went away") as caught:
        drive(group, as_operator(Blocks(fail_at=6)), bar=tqdm(disable=True))
    assert [part.num_steps for part in caught.value.partial] == [5, 5, 5]
    assert "In Lanczos step 6 of 12" in caught.value.__notes__[0]


def test_a_column_that_is_not_finite_is_told():
    matrix = np.diag(np.r_[np.ones(N - 1), np.inf])
    with pytest.raises(fl.NonFiniteError, match="step 1 has 1 of 200"):
        drive(iterations_of(np.ones((2, N)), 5), as_operator(Blocks(matrix)), bar=tqdm(disable=True))


@pytest.mark.parametrize(
    ("matmat", "message"),
    [
        (lambda X: X[:, :1], r"block of products in Lanczos step 1 has shape \(200, 1\); want \(200, 2\)"),
        (lambda X: X.T, r"has shape \(2, 200\); want \(200, 2\)"),
        (lambda X: X.astype(complex), "for a complex Hermitian operator pass v0"),
        (lambda X: None, "block of products in Lanczos step 1 is None"),
    ],
)
def test_bad_blocks_are_told(matmat, message):
    operator = Blocks()
    operator.matmat = matmat
    with pytest.raises((ValueError, TypeError), match=message):
        drive(iterations_of(np.ones((2, N)), 5), as_operator(operator), bar=tqdm(disable=True))


def test_a_block_may_be_written_into():
    def in_place(X):
        X *= np.arange(N)[:, None]
        return X

    operator = Blocks()
    operator.matmat = in_place
    starts = RNG.normal(size=(2, N))
    group = iterations_of(starts, 20)
    drive(group, as_operator(operator), bar=tqdm(disable=True))
    alone = fl.lanczos(lambda v: np.arange(N) * v, num_steps=20, v0=starts[1])
    assert group[1].alpha.tobytes() == alone.alpha.tobytes()


class Into:
    """Writes products into memory that it is given, and notes which."""

    shape = (N, N)
    dtype = np.dtype(float)

    def __init__(self):
        self.memory = set()

    def matvec(self, v):
        raise AssertionError("multiply_into is there")

    def multiply_into(self, vectors, products):
        assert len(vectors) == len(products)
        for v, product in zip(vectors, products, strict=True):
            assert v.shape == product.shape == (N,)
            product[:] = A @ v
            self.memory.add((v.ctypes.data, product.ctypes.data))


def test_products_are_written_into_memory_that_is_reserved_once():
    operator = Into()
    density = fl.spectral_density(operator, num_probes=3, num_steps=20, seed=0)
    plain = fl.spectral_density(lambda v: A @ v, N, num_probes=3, num_steps=20, seed=0)
    assert density.nodes.tobytes() == plain.nodes.tobytes()
    assert len(operator.memory) == 1  # probes one after the other
    operator = Into()
    group = iterations_of(RNG.normal(size=(3, N)), 20)
    drive(group, as_operator(operator), bar=tqdm(disable=True))
    assert len(operator.memory) == 3
    assert fl.eigsh(Into(), 3, which="LA")[0] == pytest.approx(np.linalg.eigvalsh(A)[-3:], rel=1e-12)
    assert fl.trace(Into(), "exp", num_steps=20, num_probes=3, seed=0, method="hutchinson").num_matvecs == 60


def test_a_product_that_is_not_finite_is_told_and_the_run_is_kept():
    operator = Into()
    multiply, calls = operator.multiply_into, []

    def broken(vectors, products):
        multiply(vectors, products)
        calls.append(1)
        if len(calls) == 5:
            products[0][3] = np.nan

    operator.multiply_into = broken
    with pytest.raises(fl.NonFiniteError, match="step 5 has 1 of 200 entries") as caught:
        fl.lanczos(operator, num_steps=20, seed=0)
    assert caught.value.partial.num_steps == 4
