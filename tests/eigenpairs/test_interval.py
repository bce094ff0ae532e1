"""fastlanczos.eigenpairs.interval: all pairs in an interval, and no others."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

import fastlanczos as fl


def grid(n):
    T = sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])
    return (sp.kron(T, sp.eye_array(n)) + sp.kron(sp.eye_array(n), T)).tocsr()


def check(A, interval, values, M=None, **how):
    w, V, info = fl.eigsh(A, interval=interval, M=M, return_info=True, **how)
    wanted = values[(values >= interval[0]) & (values <= interval[1])]
    assert w.size == wanted.size == V.shape[1] == info.converged.size
    if wanted.size:
        norm = np.abs(values).max()
        assert np.abs(w - wanted).max() < 1e-11 * norm
        assert np.abs(A @ V - (V if M is None else M @ V) * w).max() < 1e-11 * norm
        assert np.abs(V.conj().T @ (V if M is None else M @ V) - np.eye(w.size)).max() < 1e-10
    return info


A = grid(30)
VALUES = np.sort(np.add.outer(*[2 - 2 * np.cos(np.arange(1, 31) * np.pi / 31)] * 2).ravel())
INTERVALS = [(0.0, 0.3), (2.0, 2.2), (3.9, 4.05), (-np.inf, 0.2), (7.5, np.inf), (-1.0, 0.0), (1.0, 3.0)]


@pytest.mark.parametrize("interval", INTERVALS)
def test_of_a_sparse_matrix(interval):
    check(A, interval, VALUES)


@pytest.mark.parametrize("interval", [(0.0, 0.15), (-np.inf, 0.1), (7.8, np.inf), (-2.0, -1.0), (2.0, 2.05)])
def test_of_an_operator(interval):
    check(aslinearoperator(A), interval, VALUES)


def test_of_dense_complex_and_tensors():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 150)) + 1j * rng.standard_normal((150, 150))
    H = X + X.conj().T
    values = np.linalg.eigvalsh(H)
    check(H, (-5.0, 6.0), values)
    check(H, (-np.inf, np.inf), values)
    torch = pytest.importorskip("torch")
    w, V = fl.eigsh(torch.from_numpy(H.real.copy()), interval=(0.0, 5.0))
    exact = np.linalg.eigvalsh(H.real)
    assert np.abs(w.numpy() - exact[(exact > 0) & (exact < 5)]).max() < 1e-11
    assert isinstance(V, torch.Tensor)


def test_of_a_pencil():
    n = 900
    M = (sp.eye_array(n) + 0.1 * sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1])).tocsr()
    values = scipy.linalg.eigh(A.toarray(), M.toarray(), eigvals_only=True)
    for interval in ((1.0, 1.1), (-np.inf, 0.1)):
        check(A, interval, values, M=M)
    with pytest.raises(ValueError, match="entries can be read"):
        fl.eigsh(aslinearoperator(A), M=M, interval=(1.0, 1.1))


def test_values_alone_and_wrong_arguments():
    w = fl.eigsh(A, interval=(0.0, 0.1), return_eigenvectors=False)
    assert np.abs(w - VALUES[VALUES < 0.1]).max() < 1e-13
    for wrong in ((1.0, 0.0), (1.0,), "ab", (np.nan, 1.0)):
        with pytest.raises(ValueError, match="interval must be"):
            fl.eigsh(A, interval=wrong)
    with pytest.raises(ValueError, match="takes the place"):
        fl.eigsh(A, interval=(0.0, 1.0), sigma=0.5)
