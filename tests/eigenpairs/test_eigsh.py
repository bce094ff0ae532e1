"""The contract of `eigsh`: LAPACK's answers with their multiplicities, for every form of operator."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from cases.eigenpairs import SHIFTED, WHICH, check, matrix
from cases.soak import examples
from hypothesis import event, given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import ArpackNoConvergence, aslinearoperator
from spectra import laplacian

import fastlanczos as fl


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(12, 120))
    kind = draw(st.sampled_from(["multiple", "normal", "uniform", "clustered", "outliers", "low rank", "both signs"]))
    if kind == "multiple":
        d = rng.normal(size=n).repeat(rng.integers(1, 6, n))[:n]
    elif kind == "normal":
        d = rng.normal(size=n)
    elif kind == "uniform":
        d = rng.uniform(-1, 1, n)
    elif kind == "clustered":
        d = rng.normal(size=-(-n // 4)).repeat(4)[:n] + 1e-9 * rng.normal(size=n)
    elif kind == "outliers":
        d = np.r_[rng.normal(size=5), 1e-2 * rng.normal(size=n - 5)]
    elif kind == "low rank":
        d = np.r_[rng.choice([1.0, 2.0, -1.0, 3.0], 6), np.zeros(n - 6)]
    else:
        d = rng.normal(size=n // 2)
        d = np.r_[d, -d, np.zeros(n - 2 * (n // 2))]
    k = draw(st.integers(1, min(10, n - 2)))
    ncv = draw(st.integers(min(2 * k + 8, n - 1), n - 1))
    which = draw(st.sampled_from(WHICH))
    dtype = draw(st.sampled_from([np.float64, np.float64, np.float32, np.complex128]))
    return kind, matrix(d, int(rng.integers(1000)), dtype), k, max(ncv, k + 1), which


@pytest.mark.soak
@settings(max_examples=examples(500), deadline=None)
@given(problems())
def test_pairs_are_those_of_eigh(problem):
    kind, A, k, ncv, which = problem
    event(f"{kind}, {which}")
    expected = np.linalg.eigh(A.astype(complex if A.dtype.kind == "c" else float))[0]
    w, V = fl.eigsh(A, k, which=which, ncv=ncv)
    assert w.dtype == (np.float32 if A.dtype == np.float32 else np.float64)
    assert V.dtype == A.dtype
    check(A, w, V, expected, which, k)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1.0, 1e200, 1e290])
def test_scales(which, scale):
    d = np.r_[np.linspace(1, 2, 150), -np.linspace(0.5, 1.9, 150)]
    A = sp.diags_array(d * scale).tocsr()
    w, V = fl.eigsh(A, 6, which=which, ncv=40)
    check(A / scale, w / scale, V, d, which, 6)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize(
    "d",
    [
        np.zeros(300),
        np.ones(300),
        -np.ones(300),
        np.r_[5.0, np.zeros(299)],
        np.r_[-5.0, np.zeros(299)],
        np.r_[np.full(4, 2.0), np.full(3, -2.0), np.zeros(293)],
        np.repeat([1.0, 2.0, 3.0], 100),
        np.repeat([-1.0, 1.0], 150),
    ],
    ids=["zero", "identity", "minus identity", "rank 1", "rank 1, negative", "rank 7", "3 values", "involution"],
)
def test_few_distinct_values_come_with_their_multiplicity(which, d):
    A = matrix(d)
    w, V = fl.eigsh(A, 6, which=which, ncv=30)
    check(A, w, V, d, which, 6)


def test_a_block_diagonal_operator_is_seen_whole_from_a_start_in_one_block():
    block = matrix(np.linspace(1, 2, 150))
    A = sp.block_diag([block, block, 0.5 * block], format="csr")
    v0 = np.r_[np.zeros(300), np.random.default_rng(0).normal(size=150)]
    d = np.r_[np.linspace(1, 2, 150), np.linspace(1, 2, 150), 0.5 * np.linspace(1, 2, 150)]
    for which in ("LA", "SA", "LM", "BE"):
        w, V = fl.eigsh(A, 5, which=which, v0=v0)
        check(A, w, V, d, which, 5)


@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
def test_a_start_vector_without_the_wanted_directions(which):
    d = np.linspace(-1, 3, 400)
    v0 = np.random.default_rng(0).normal(size=400)
    v0[np.r_[:10, 390:400]] = 0.0
    A = sp.diags_array(d).tocsr()
    check(A, *fl.eigsh(A, 4, which=which, v0=v0), d, which, 4)
    check(A, *fl.eigsh(A, 4, which=which, v0=np.eye(400)[200]), d, which, 4)


def test_a_disconnected_graphs_components_are_all_found():
    rng = np.random.default_rng(0)
    blocks = []
    for _ in range(7):
        W = sp.random_array((60, 60), density=0.2, rng=rng)
        blocks.append(sp.csgraph.laplacian((W + W.T).tocsr()))
    L = sp.block_diag(blocks, format="csr")
    w, _ = fl.eigsh(L, 9, which="SA")
    assert np.all(np.abs(w[:7]) < 1e-13)
    np.testing.assert_allclose(w[7:], np.linalg.eigvalsh(L.toarray())[7:9], atol=1e-12)
    w, _ = fl.eigsh(L, 9, sigma=-0.1)
    assert np.all(np.abs(w[:7]) < 1e-13)


@pytest.mark.parametrize("width", [0.0, 1e-12, 1e-9, 1e-6])
def test_a_cluster_of_twenty_is_found_whole(width):
    d = np.r_[1.0 + width * np.linspace(0, 1, 20), np.linspace(-1, 0.9, 480)]
    A = matrix(d)
    w, V = fl.eigsh(A, 22, which="LA", ncv=70)
    check(A, w, V, d, "LA", 22)


def test_values_of_both_signs_tie_in_smallest_magnitude():
    d = np.r_[np.linspace(0.1, 1, 150), -np.linspace(0.1, 1, 150)]
    A = matrix(d)
    for k in (4, 5):
        w, V = fl.eigsh(A, k, which="SM", ncv=40)
        check(A, w, V, d, "SM", k)


@pytest.mark.parametrize("sides", [(700,), (26, 27), (9, 9, 9)])
@pytest.mark.parametrize("which", WHICH)
def test_laplacians(sides, which):
    A, d = laplacian(sides)
    w, V = fl.eigsh(A, 6, which=which)
    check(A, w, V, np.sort(d), which, 6)


# As scipy has it.


def test_lists_are_matrices():
    w, V = fl.eigsh([[2, 1], [1, 2]], 1)
    np.testing.assert_allclose(w, [3.0], atol=1e-14)
    np.testing.assert_allclose(np.abs(V), np.full((2, 1), 0.5**0.5), atol=1e-14)
    np.testing.assert_allclose(fl.eigsh([[2, 1j], [-1j, 2]], 2, M=[[2, 0], [0, 2]])[0], [0.5, 1.5], atol=1e-14)
    with pytest.raises(ValueError, match=r"A must be square, got shape \(1, 3\)"):
        fl.eigsh([[1.0, 2.0, 3.0]], 1)


@pytest.mark.parametrize("n", [40, 600])
@pytest.mark.parametrize(
    "form", ["dense", "csr", "csc", "operator", "callable", "tensor", "sparse tensor", "shape and @"]
)
def test_every_form_of_operator(form, n):
    d = np.linspace(-1, 2, n)
    A = sp.diags_array(d).tocsr()

    class Product:
        shape = (n, n)

        def __matmul__(self, v):
            return d * v

    forms = {
        "dense": lambda: A.toarray(),
        "csr": lambda: A,
        "csc": lambda: A.tocsc(),
        "operator": lambda: aslinearoperator(A),
        "callable": lambda: lambda v: d * v,
        "tensor": lambda: torch.from_numpy(A.toarray()),
        "sparse tensor": lambda: torch.from_numpy(A.toarray()).to_sparse_csr(),
        "shape and @": Product,
    }
    w, V = fl.eigsh(forms[form](), 3, which="LA", dim=n)
    assert isinstance(w, torch.Tensor) == isinstance(V, torch.Tensor) == ("tensor" in form)
    check(A, np.asarray(w), np.asarray(V), d, "LA", 3)


def test_a_callable_on_tensors_gets_and_gives_tensors():
    d = torch.linspace(-1, 2, 500)

    def matvec(v):
        assert v.dtype == torch.float32
        return d * v

    w, V = fl.eigsh(matvec, 3, which="LA", v0=torch.ones(500), dim=500)
    assert w.dtype == torch.float64 or w.dtype == torch.float32
    assert isinstance(V, torch.Tensor)
    np.testing.assert_allclose(np.asarray(w), np.asarray(d[-3:]), atol=1e-6)


@pytest.mark.parametrize("which", ["LA", "SM"])
def test_hermitian_operators(which):
    d = np.linspace(-1, 2, 400)
    A = matrix(d, dtype=complex)
    w, V = fl.eigsh(A, 5, which=which)
    assert (w.dtype, V.dtype) == (np.float64, np.complex128)
    check(A, w, V, d, which, 5)
    single, _ = fl.eigsh(A.astype(np.complex64), 5, which=which)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, w, atol=1e-5)


@pytest.mark.parametrize("k", [1, 39, 40])
def test_as_many_pairs_as_there_are(k):
    w, V = fl.eigsh(SHIFTED, k, which="LA")
    check(SHIFTED, w, V, np.sort(SHIFTED.diagonal()), "LA", k)


def test_a_1_by_1_matrix():
    w, V = fl.eigsh(np.array([[3.0]]), 1)
    assert (w[0], abs(V[0, 0])) == (3.0, 1.0)


@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
def test_a_tolerance_bounds_the_residuals_and_saves_products(tol):
    A, d = laplacian((60, 60))
    states = {}
    for t in (tol, 0):
        seen = []
        w, V = fl.eigsh(A, 6, which="LA", tol=t, callback=seen.append)
        states[t] = seen[-1].num_products
        if t:
            assert np.linalg.norm(A @ V - V * w, axis=0).max() <= t * np.abs(w).max()
            np.testing.assert_allclose(w, np.sort(d)[-6:], rtol=t)
    assert states[tol] <= states[0]


def test_the_same_call_gives_the_same_bits_with_any_number_of_threads():
    A, _ = laplacian((80, 90))
    before, bits = fl.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            fl.set_num_threads(threads)
            w, V = fl.eigsh(A, 5, which="LA")
            bits.add(w.tobytes() + V.tobytes())
    finally:
        fl.set_num_threads(before)
    assert len(bits) == 1
    assert fl.eigsh(A, 5, which="LA", rng=1)[1].tobytes() != V.tobytes()


def test_small_hard_problems_are_written_out():
    d = np.geomspace(1e-14, 1, 400)
    products = []

    def matvec(v):
        products.append(1)
        return d * v

    w, V = fl.eigsh(matvec, 5, which="SA", dim=400)
    check(sp.diags_array(d).tocsr(), w, V, d, "SA", 5)
    assert len(products) < 40 * 400


# While it runs.


def test_the_callback_sees_the_pairs_converge_and_may_end_the_run():
    A, d = laplacian((60, 61))
    states = []
    fl.eigsh(A, 6, which="LA", callback=states.append)
    assert len(states) > 1
    assert [s.num_products for s in states] == sorted(s.num_products for s in states)
    assert all(s.values.size == s.residuals.size <= 6 for s in states)
    assert "converged" in repr(states[0])

    def stop(state):
        if state.num_converged >= 1:
            raise StopIteration

    with pytest.raises(ArpackNoConvergence, match="the callback ended the run") as caught:
        fl.eigsh(A, 6, which="LA", ncv=14, callback=stop)
    assert caught.value.eigenvalues.size >= 1
    assert np.abs(caught.value.eigenvalues[:, None] - d).min(axis=1).max() < 1e-12


def test_what_has_converged_comes_with_the_error():
    d = np.r_[10.0, 20.0, 30.0, np.linspace(0, 1, 5000) ** 2]
    message = r"3 restarts were not enough; \d of 8 pairs have converged"
    with pytest.raises(ArpackNoConvergence, match=message) as caught:
        fl.eigsh(lambda v: d * v, 8, which="LA", dim=d.size, maxiter=3, ncv=12)
    w, V = caught.value.eigenvalues, caught.value.eigenvectors
    assert 1 <= w.size < 8
    assert V.shape == (d.size, w.size)
    assert np.linalg.norm(d[:, None] * V - V * w, axis=0).max() < 1e-12
    np.testing.assert_allclose(w[-1], 30.0, atol=1e-12)


def test_progress_counts_products(capsys):
    A, _ = laplacian((40, 41))
    fl.eigsh(A, 3, which="LA", progress=True)
    assert "eigsh:" in (printed := capsys.readouterr().err)
    assert "products" in printed
    fl.eigsh(A, 3, which="LA")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("native", [True, False])
def test_ctrl_c_ends_it_soon_and_says_how_far_it_was(native):
    d = np.linspace(0, 1, 200_000) ** 3
    A = sp.diags_array(d).tocsr() if native else (lambda v: d * v)
    began = threading.Event()

    def interrupt():
        began.wait()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        fl.eigsh(A, 20, which="SA", dim=200_000, callback=lambda state: began.set())
    thread.join()
    assert isinstance(caught.value.partial, fl.EigshState)
    assert caught.value.partial.num_products > 0


def test_an_exception_of_the_matvec_passes_through():
    def matvec(v):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fl.eigsh(matvec, 3, dim=500)


# Mistakes.


@pytest.mark.parametrize("rank", [100, 50, 3])
@pytest.mark.parametrize("k", [99, 97, 94, 50])
def test_nearly_all_pairs_of_an_operator(rank, k):
    X = np.random.default_rng(0).standard_normal((100, rank))
    A = X @ X.T
    calls = []

    def matvec(v):
        calls.append(0)
        return A @ v

    for which, values in (("LA", np.linalg.eigvalsh(A)[-k:]), ("SA", np.linalg.eigvalsh(A)[:k])):
        calls.clear()
        w, V = fl.eigsh(matvec, k, which=which, dim=100, v0=np.ones(100))
        assert np.abs(w - values).max() < 1e-12 * np.linalg.norm(A)
        assert np.abs(A @ V - V * w).max() < 1e-12 * np.linalg.norm(A)
        assert len(calls) <= 130
