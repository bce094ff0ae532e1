"""The search with the fewest products: what it finds, what it costs, and where it stops."""

import numpy as np
import pytest
import scipy.sparse as sp
from cases.eigenpairs import check, matrix
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from spectra import laplacian

import fastlanczos as fl


def counted(A):
    count = [0]

    def matvec(v):
        count[0] += 1
        return A @ v.reshape(-1)

    return LinearOperator(A.shape, matvec=matvec, dtype=A.dtype), count


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_all_copies_are_found(which, copies):
    d = np.repeat(np.linspace(-1, 2, 500 // copies), copies)
    A = matrix(d)
    w, V = fl.eigsh(counted(A)[0], 7, which=which)
    check(A, w, V, d, which, 7)


@pytest.mark.parametrize("tol", [0, 1e-8, 1e-4])
def test_fewer_products_than_arpack_and_no_copy_missed(tol):
    A, exact = laplacian((40, 40))
    operator, count = counted(A.tocsr())
    w, _ = fl.eigsh(operator, 6, which="LA", tol=tol)
    ours, count[0] = count[0], 0
    np.testing.assert_allclose(w, np.sort(exact)[-6:], atol=1e-13 + tol)
    eigsh(operator, 6, which="LA", tol=0, v0=np.random.default_rng(0).standard_normal(1600))
    assert ours < count[0]


def test_without_multiplicities_there_is_no_search_for_copies():
    d = np.r_[np.linspace(0, 1, 495), 1.5, 2.0, 2.0, 3.0, 4.0]
    operator, count = counted(np.diag(d))
    w, _ = fl.eigsh(operator, 3, which="LA", multiplicities=False)
    without, count[0] = count[0], 0
    np.testing.assert_allclose(w, [2, 3, 4], atol=1e-12)
    np.testing.assert_allclose(fl.eigsh(operator, 4, which="LA")[0], [2, 2, 3, 4], atol=1e-12)
    np.testing.assert_allclose(  # the second 2 is missing: the next value takes its place
        fl.eigsh(operator, 4, which="LA", multiplicities=False, tol=1e-6)[0], [1.5, 2, 3, 4], atol=1e-6
    )
    assert without < count[0]


def test_a_start_vector_that_misses_a_wanted_vector():
    d = np.linspace(0, 1, 600)
    d[-3:] = 1.5, 2.0, 2.5
    for hidden in (0.0, 1e-9, 1e-5):
        v0 = np.random.default_rng(0).standard_normal(600)
        v0[-2:] *= hidden
        w, _ = fl.eigsh(counted(np.diag(d))[0], 3, which="LA", v0=v0)
        np.testing.assert_allclose(w, [1.5, 2.0, 2.5], atol=1e-12)


def test_memory_is_kept_to_and_told_where_it_is_too_little():
    A, exact = laplacian((40, 40))
    operator, _ = counted(A.tocsr())
    w, _, info = fl.eigsh(operator, 6, which="SA", max_memory=8 * 1600 * 100, return_info=True)
    np.testing.assert_allclose(w, np.sort(exact)[:6], atol=1e-13)
    assert info.num_restarts > 0
    w = fl.eigsh(operator, 6, which="SA", max_memory=8 * 1600 * 30)[0]
    np.testing.assert_allclose(w, np.sort(exact)[:6], atol=1e-13)
    with pytest.raises(MemoryError, match="max_memory"):
        fl.eigsh(operator, 6, max_memory=8 * 1600 * 10)


def test_info_tells_what_was_done_and_the_same_call_gives_the_same_bits():
    A, _ = laplacian((30, 30))
    operator, count = counted(A.tocsr())
    w, V, info = fl.eigsh(operator, 3, return_info=True)
    assert info.num_matvecs == count[0]
    assert info.products == "dear"
    assert fl.eigsh(A.tocsr(), 3, return_info=True)[2].products == "cheap"
    assert info.residuals.shape == (3,)
    assert np.all(np.linalg.norm(A @ V - V * w, axis=0) <= info.residuals + 1e-13)
    again = fl.eigsh(operator, 3)
    assert np.array_equal(w, again[0])
    assert np.array_equal(V, again[1])
    values, only = fl.eigsh(operator, 3, return_eigenvectors=False, return_info=True)
    assert values.shape == only.residuals.shape == (3,)


def test_few_distinct_values_of_smallest_magnitude():
    n = 2**9
    i = np.arange(n)
    A = sp.csr_array((np.ones(9 * n), (np.tile(i, 9), np.concatenate([i ^ (1 << b) for b in range(9)]))), shape=(n, n))
    w, V = fl.eigsh(A, 8, which="SM")  # a hypercube: +-1, 126-fold each
    np.testing.assert_allclose(np.abs(w), 1.0, atol=1e-13)
    np.testing.assert_allclose(V.T @ V, np.eye(8), atol=1e-13)
    np.testing.assert_allclose(A @ V, V * w, atol=1e-13)


def test_levels_of_a_complex_matrix_are_found_in_blocks():
    d = np.repeat(np.r_[-3.0, -1.0, 0.5, 2.0, 4.0], 80)
    A = matrix(d, dtype=complex)
    for which in ("LM", "SA", "BE"):
        w, V, info = fl.eigsh(A, 20, which=which, return_info=True)
        check(A, w, V, d, which, 20)
        assert info.num_matvecs < 400  # LAPACK would need as many


def test_it_ends_where_restarts_are_used_up_or_the_callback_says_so():
    A, _ = laplacian((60, 60))
    operator, _ = counted(A.tocsr())
    with pytest.raises(ArpackNoConvergence, match="1 restarts were not enough"):
        fl.eigsh(operator, 6, which="SA", max_memory=8 * 3600 * 95, maxiter=1)
    seen = []

    def callback(state):
        seen.append(state)
        if len(seen) == 30:
            raise StopIteration

    with pytest.raises(ArpackNoConvergence, match="the callback ended the run"):
        fl.eigsh(operator, 6, callback=callback)
    assert seen[-1].num_products > seen[0].num_products
