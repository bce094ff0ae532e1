"""fastlanczos.eigenpairs.stack: many matrices in one call, dense or sparse, of one size or of many."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastlanczos as fl


def symmetric(b, n, rng):
    X = rng.standard_normal((b, n, n))
    return X + X.transpose(0, 2, 1)


def test_a_stack_of_dense_matrices_is_each_of_them():
    A = symmetric(7, 40, np.random.default_rng(0))
    w, V = fl.eigsh(A, k=3, which="SA")
    assert (w.shape, V.shape) == ((7, 3), (7, 40, 3))
    assert np.abs(w - np.linalg.eigvalsh(A)[:, :3]).max() < 1e-12
    assert np.abs(A @ V - V * w[:, None, :]).max() < 1e-12
    assert np.array_equal(fl.eigsh(A, k=3, which="SA", return_eigenvectors=False), w)


def test_a_list_of_sparse_matrices_of_many_sizes():
    rng = np.random.default_rng(1)
    graphs = []
    for n in (300, 50, 800, 12):
        W = sp.random_array((n, n), density=6 / n, rng=rng)
        graphs.append(sp.csgraph.laplacian(W + W.T).tocsr())
    w, V, infos = fl.eigsh(graphs, k=4, sigma=0, return_info=True)
    assert w.shape == (4, 4)
    assert [v.shape for v in V] == [(g.shape[0], 4) for g in graphs]
    for g, values, vectors, info in zip(graphs, w, V, infos, strict=True):
        assert np.abs(values - np.linalg.eigvalsh(g.toarray())[:4]).max() < 1e-10
        assert np.abs(g @ vectors - vectors * values).max() < 1e-9
        assert info.converged.all()


def test_each_may_have_its_own_arguments():
    rng = np.random.default_rng(2)
    A = symmetric(3, 30, rng)
    M = np.stack([np.diag(d) for d in 1.0 + rng.random((3, 30))])
    w, _ = fl.eigsh(A, k=2, M=M, sigma=[0.0, 1.0, -1.0])
    for i, sigma in enumerate((0.0, 1.0, -1.0)):
        assert np.array_equal(w[i], fl.eigsh(A[i], k=2, M=M[i], sigma=sigma)[0])
    values = fl.eigsh(A, interval=(0.0, 5.0), return_eigenvectors=False)
    exact = np.linalg.eigvalsh(A)
    for found, all_ in zip(values, exact, strict=True):
        assert np.abs(found - all_[(all_ > 0) & (all_ < 5)]).max() < 1e-12
    with pytest.raises(ValueError, match="sigma has 2 entries, and A is a stack of 3"):
        fl.eigsh(A, k=2, sigma=[0.0, 1.0])


def test_tensors_come_back():
    torch = pytest.importorskip("torch")
    A = torch.from_numpy(symmetric(3, 20, np.random.default_rng(3)))
    w, V = fl.eigsh(A, k=2, which="LA")
    assert isinstance(w, torch.Tensor)
    assert V.shape == (3, 20, 2)


def test_the_matrix_that_is_wrong_is_named():
    A = symmetric(4, 10, np.random.default_rng(4))
    A[2, 0, 1] += 1.0
    with pytest.raises(ValueError, match="not symmetric") as caught:
        fl.eigsh(A, k=2)
    assert "in matrix 2 of 4" in caught.value.__notes__
    with pytest.raises(ValueError, match="empty"):
        fl.eigsh(np.empty((0, 3, 3)), k=1)
    with pytest.raises(ValueError, match="callback"):
        fl.eigsh(A, k=1, callback=print)


def test_seeds_are_those_of_single_calls_and_threads_do_not_matter():
    A = symmetric(5, 60, np.random.default_rng(5))
    before = fl.get_num_threads()
    try:
        answers = []
        for threads in (1, 2):
            fl.set_num_threads(threads)
            answers.append(fl.eigsh(A, k=2, ncv=20, which="LA", rng=7)[0])
    finally:
        fl.set_num_threads(before)
    assert np.array_equal(*answers)
    assert np.array_equal(answers[0][3], fl.eigsh(A[3], k=2, ncv=20, which="LA", rng=7)[0])
