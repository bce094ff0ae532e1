"""Log-determinants of kernel matrices, preconditioned."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist

import fastlanczos as fl
from fastlanczos.operators.operator import as_operator
from fastlanczos.sums.preconditioner import _Columns, low_rank_of

X = np.random.default_rng(0).random((600, 2))


def kernel(length, noise):
    return np.exp(-(cdist(X, X) ** 2) / (2 * length**2)) + np.diag(np.broadcast_to(noise, 600))


@pytest.mark.parametrize("length", [0.1, 0.3])
@pytest.mark.parametrize("noise", [1e-2, 1e-6])
@pytest.mark.parametrize("rank", [50, 200, "auto"])
def test_the_interval_holds_and_is_narrower_than_without(length, noise, rank):
    K = kernel(length, noise)
    exact = np.linalg.slogdet(K)[1]
    e = fl.logdet(K, preconditioner=rank, diagonal=noise, seed=0, num_steps=20)
    low, high = e.interval(0.999)
    assert low <= exact <= high
    assert e.info["method"] == "preconditioned"
    assert e.info["quadrature"] == "bracket"
    plain = fl.logdet(K, num_steps=20, seed=0, method="hutchinson")
    assert e.half_width() < plain.half_width()


def test_a_kernel_that_the_rank_exhausts_takes_hardly_any_product():
    K = kernel(0.3, 1e-6)
    exact = np.linalg.slogdet(K)[1]
    e = fl.logdet(K, preconditioner=400, diagonal=1e-6, num_probes=4, seed=0)
    assert abs(e.value - exact) <= 1e-5 * abs(exact)
    assert e.num_matvecs <= 40


def test_p_has_no_more_than_k_and_its_root_and_determinant_are_its_own():
    K = kernel(0.1, np.linspace(1e-3, 1e-2, 600))
    D = np.linspace(1e-3, 1e-2, 600)
    P = low_rank_of(_Columns(as_operator(K)), D, 80, 1000, np.random.default_rng(0))
    root = np.sqrt(D)[:, None]
    dense = root * (np.eye(600) + (P.U * P.g) @ P.U.T) * root.T
    assert np.linalg.eigvalsh(K - dense).min() > -1e-12
    assert P.logdet == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-10)
    R = np.stack([P.inverse_root(x) for x in np.eye(600)], axis=1)
    np.testing.assert_allclose(R.T @ dense @ R, np.eye(600), atol=1e-8)
    np.testing.assert_allclose(np.stack([P.inverse_root_transposed(x) for x in np.eye(600)], axis=1), R.T, atol=1e-10)


def test_sparse_matrices_diagonals_and_objects():
    D = np.linspace(1e-3, 1e-2, 600)
    K = kernel(0.05, D)
    K[K < 1e-6] = 0.0
    K += 1e-3 * np.eye(600)  # positive definite without the entries
    exact = np.linalg.slogdet(K)[1]
    e = fl.logdet(sp.csr_array(K), preconditioner=100, diagonal=D, seed=0, num_steps=40)
    assert e.interval(0.999)[0] <= exact <= e.interval(0.999)[1]

    class Jacobi:
        logdet = float(np.log(np.diag(K)).sum())

        def inverse_root(self, v):
            return v / np.sqrt(np.diag(K))

    e = fl.logdet(lambda v: K @ v, 600, preconditioner=Jacobi(), seed=0, num_steps=60)
    assert e.interval(0.999)[0] <= exact <= e.interval(0.999)[1]


@pytest.mark.parametrize(("rank", "share"), [(60, 1.0), (200, 0.1)])
def test_the_inverse_s_trace_and_diagonal(rank, share):
    K = kernel(0.2, 1e-4)
    inverse = np.linalg.inv(K)
    e = fl.trace(K, "inv", preconditioner=rank, diagonal=1e-4, num_probes=10, seed=0)
    assert e.info["quadrature"] == "bracket"
    low, high = e.interval(0.999)
    assert low <= np.trace(inverse) <= high
    plain = fl.trace(K, "inv", num_probes=10, num_steps=e.info["num_steps"], seed=0, method="hutchinson")
    assert e.half_width() < plain.half_width()
    d = fl.diagonal(K, "inv", preconditioner=rank, diagonal=1e-4, num_probes=20, seed=0)
    assert d.info["quadrature"] == "bound"
    low, high = d.interval(0.999)
    assert np.mean((low <= np.diag(inverse)) & (np.diag(inverse) <= high)) > 0.98
    plain = fl.diagonal(K, "inv", num_probes=20, num_steps=50, seed=0)
    assert np.median(np.abs(d.value - np.diag(inverse))) < share * np.median(np.abs(plain.value - np.diag(inverse)))


def test_an_object_s_inverse():
    K = kernel(0.05, 1e-2)

    class Scaled:
        logdet = 600 * np.log(0.5)

        def inverse_root(self, v):
            assert v.shape == (600,)
            return v / np.sqrt(0.5)

    inverse = np.linalg.inv(K)
    e = fl.trace(K, "inv", preconditioner=Scaled(), seed=0)
    assert e.interval(0.999)[0] <= np.trace(inverse) <= e.interval(0.999)[1]
    d = fl.diagonal(lambda v: K @ v, "inv", 600, preconditioner=Scaled(), seed=0)
    low, high = d.interval(0.999)
    assert np.mean((low <= np.diag(inverse)) & (np.diag(inverse) <= high)) > 0.98


def test_auto_takes_no_pivots_where_none_pay_and_enough_where_they_do():
    few = fl.logdet(kernel(0.01, 1.0), preconditioner="auto", diagonal=1.0, seed=0)
    assert few.info["rank"] == 0
    many = fl.logdet(kernel(0.3, 1e-6), preconditioner="auto", diagonal=1e-6, seed=0, num_probes=10)
    assert many.info["rank"] > 50
    assert many.half_width() < 1e-3 * abs(many.value)


class Kernel:
    """A kernel that is never written out: products and columns."""

    shape, dtype = (600, 600), np.dtype(float)

    def __init__(self, K):
        self.K = K

    def matvec(self, v):
        return self.K @ v

    def diagonal(self):
        return np.diag(self.K)

    def columns(self, indices):
        return self.K[:, indices]


def test_an_operator_that_gives_columns():
    K = kernel(0.2, 1e-4)
    e = fl.logdet(Kernel(K), preconditioner=100, diagonal=1e-4, seed=0)
    same = fl.logdet(K, preconditioner=100, diagonal=1e-4, seed=0)
    assert e.value == pytest.approx(same.value, rel=1e-9)


def test_linear_operators():
    linear_operator = pytest.importorskip("linear_operator")
    import torch

    K = torch.from_numpy(kernel(0.2, 0.0))
    A = linear_operator.to_linear_operator(K).add_diagonal(torch.tensor(1e-4, dtype=torch.float64))
    exact = np.linalg.slogdet(kernel(0.2, 1e-4))[1]
    e = fl.logdet(A, preconditioner=100, diagonal=1e-4, seed=0)
    assert e.interval(0.999)[0] <= exact <= e.interval(0.999)[1]
    assert e.half_width() < 1e-3 * abs(exact)


def test_the_same_seed_gives_the_same_bits():
    K = kernel(0.1, 1e-4)
    a, b = (fl.logdet(K, preconditioner="auto", diagonal=1e-4, seed=3, num_steps=10) for _ in range(2))
    assert (a.value, a.num_matvecs, a.info["rank"]) == (b.value, b.num_matvecs, b.info["rank"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preconditioner": 10}, "preconditioner needs diagonal="),
        ({"diagonal": 1.0}, "give both"),
        ({"preconditioner": "much", "diagonal": 1e-2}, "must be a rank, 'auto', or an object, got 'much'"),
        ({"preconditioner": 10, "diagonal": -1.0}, "diagonal must be a positive number or 600 of them"),
        ({"preconditioner": 10, "diagonal": 2.0}, "diagonal is larger than A's own by"),
    ],
)
def test_what_is_wrong_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        fl.logdet(kernel(0.1, 1e-2), seed=0, **arguments)
    with pytest.raises(ValueError, match='preconditioner is for "log" and "inv"'):
        fl.trace(kernel(0.1, 1e-2), "exp", preconditioner=10, diagonal=1e-2)
    with pytest.raises(ValueError, match="reads columns of A"):
        fl.logdet(lambda v: v, 600, preconditioner=10, diagonal=1e-2)
