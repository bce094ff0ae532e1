"""fastlanczos.singular.svds: against LAPACK, in all shapes, kinds, ranks and multiplicities."""

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from cases.singular import check, with_values
from cases.soak import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, aslinearoperator

import fastlanczos as fl


def spectrum(kind, q, rng, decades):
    if kind == "flat":
        return rng.random(q)
    if kind == "geometric":
        return 10.0 ** -np.linspace(0, decades, q)
    if kind == "multiple":
        return rng.choice([3.0, 2.0, 1.0, 0.5, 0.0], q)
    if kind == "rank":
        return np.where(np.arange(q) < rng.integers(q + 1), rng.random(q), 0.0)
    if kind == "clustered":
        return 1 + 1e-9 * rng.standard_normal(q)
    return np.zeros(q)


@pytest.mark.soak
@settings(max_examples=examples(500), deadline=None)
@given(st.data())
def test_svds_is_lapacks(data):
    draw = data.draw
    shape = draw(st.integers(1, 350)), draw(st.integers(1, 350))
    q = min(shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["flat", "geometric", "multiple", "rank", "clustered", "zero"]))
    complex_, single = draw(st.booleans()), draw(st.booleans())
    scale = 1.0 if single else 10.0 ** draw(st.sampled_from([0, 0, 150, -150]))
    A = with_values(shape, spectrum(kind, q, rng, draw(st.integers(1, 15))) * scale, rng, complex_=complex_)
    if single:
        A = A.astype("complex64" if complex_ else "float32")
    k, which = draw(st.integers(1, min(q, 12))), draw(st.sampled_from(["LM", "LM", "SM"]))
    make = draw(st.sampled_from([np.asarray, sp.csr_array, aslinearoperator]))
    ncv = draw(st.sampled_from([None, 2 * k + 20]))
    u, s, vh = fl.svds(make(A), k, which=which, ncv=ncv)
    A = A.astype("complex128" if complex_ else "float64")
    values = np.sort(scipy.linalg.svdvals(A))
    wanted = values[-k:] if which == "LM" else values[:k]
    if not single:
        check(A, (u, s, vh), wanted, tol=3e-14)
    assert np.abs(s - wanted).max() <= (2e-6 if single else 3e-14) * max(values[-1], 1e-20)
    assert np.abs(vh @ vh.conj().T - np.eye(k)).max() <= (1e-5 if single else 1e-13)


def test_small_values_of_a_geometric_spectrum():
    rng = np.random.default_rng(0)
    values = 10.0 ** (-11 * np.arange(400) / 30)
    A = with_values((600, 400), values, rng)
    for how in ({"ncv": 100}, {}):
        u, s, vh, info = fl.svds(aslinearoperator(A), 30, return_info=True, **how)
        assert np.abs(s[::-1] - values[:30]).max() < 1e-14
        check(A, (u, s, vh), values[:30])
        assert info.converged.all()
    assert info.num_matvecs < 700


@pytest.mark.parametrize("shape", [(700, 1), (1, 700), (1, 1), (5, 300), (300, 5)])
@pytest.mark.parametrize("which", ["LM", "SM"])
def test_any_shape(shape, which):
    A = np.random.default_rng(1).standard_normal(shape)
    k = min(min(shape), 2)
    values = np.sort(scipy.linalg.svdvals(A))
    check(A, fl.svds(A, k, which=which), values[-k:] if which == "LM" else values[:k])


def test_copies_and_zeros_beyond_the_rank():
    rng = np.random.default_rng(2)
    A = with_values((900, 500), [5.0] * 7 + [3.0] * 4, rng)
    found = fl.svds(aslinearoperator(A), 15)
    check(A, found, [0.0] * 4 + [3.0] * 4 + [5.0] * 7)


def test_smallest_of_a_sparse_matrix_without_squares():
    rng = np.random.default_rng(3)
    n = 2300  # beyond what is written out
    mixed = sp.vstack(
        [sp.eye_array(n) + 0.3 * sp.random_array((n, n), density=1 / n, rng=rng), 0.1 * sp.eye_array(50, n)]
    )
    A = (mixed @ sp.diags_array(10.0 ** -np.linspace(0, 13, n))).tocsr()
    u, s, vh, info = fl.svds(A, 3, which="SM", return_info=True)
    values = scipy.linalg.svdvals(A.toarray())
    check(A.toarray(), (u, s, vh), values[-3:], tol=3e-15)
    assert np.abs(s / np.sort(values)[:3] - 1).max() < 1e-5  # graded columns: digits of the values themselves
    assert info.num_matvecs < 500


def centred(A):
    return A - A.mean(axis=0)


@pytest.mark.parametrize("shape", [(800, 300), (300, 800)])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, sp.csc_array, aslinearoperator], ids=lambda f: f.__name__)
def test_centring_is_that_of_the_formed_matrix(shape, make):
    rng = np.random.default_rng(4)
    A = rng.random(shape) * (rng.random(shape) < 0.2) + 100.0 * (np.arange(shape[1]) == 3)
    values = scipy.linalg.svdvals(centred(A))[:5]
    for center in (True, A.mean(axis=0)):
        u, s, vh = fl.svds(make(A), 5, center=center, ncv=60)
        check(centred(A), (u, s, vh), values, tol=1e-13)
    if min(shape) == shape[1]:
        assert np.abs(u.sum(axis=0)).max() < 1e-9


def test_principal_components_in_three_lines():
    rng = np.random.default_rng(5)
    X = sp.random_array((500, 60), density=0.1, rng=rng, format="csr")
    u, s, vh = fl.svds(X, 4, center=True)
    scores, variances = u * s, s**2 / 499
    C = np.cov(X.toarray().T)
    assert np.allclose(variances, np.linalg.eigvalsh(C)[-4:], rtol=1e-12)
    assert np.allclose(np.cov(scores.T), np.diag(variances), atol=1e-12)
    assert np.allclose(C @ vh.T, vh.T * variances, atol=1e-12)


def test_pairs_of_functions_and_objects():
    A = np.random.default_rng(6).standard_normal((400, 330))
    values = scipy.linalg.svdvals(A)[:3]
    functions = (lambda x: A @ x, lambda y: A.T @ y)
    check(A, fl.svds(functions, 3, dim=(400, 330)), values)

    class Object:
        shape, dtype = A.shape, A.dtype

        def matvec(self, x):
            return A @ x

        def rmatvec(self, y):
            return A.T @ y

    check(A, fl.svds(Object(), 3), values)
    with pytest.raises(ValueError, match=r"pass dim=\(m, n\)"):
        fl.svds(functions, 3)
    with pytest.raises(TypeError, match="rmatvec"):
        fl.svds(LinearOperator(A.shape, matvec=lambda x: A @ x, dtype=float), 3)


def test_kinds_and_precisions_come_back():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    A = rng.standard_normal((90, 40))
    u, s, vh = fl.svds(torch.from_numpy(A), 2)
    assert all(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in (u, s, vh))
    check(A, (u.numpy(), s.numpy(), vh.numpy()), scipy.linalg.svdvals(A)[:2])
    u, s, vh = fl.svds(A.astype("float32"), 2)
    assert {x.dtype.name for x in (u, s, vh)} == {"float32"}
    u, s, vh = fl.svds(A.astype("complex64"), 2)
    assert (u.dtype.name, s.dtype.name, vh.dtype.name) == ("complex64", "float32", "complex64")


def test_the_same_call_gives_the_same_bits_whatever_the_threads():
    A = sp.random_array((4000, 700), density=0.02, rng=8, format="csr")
    before = fl.get_num_threads()
    answers = []
    try:
        for threads in (1, 2, 3):
            fl.set_num_threads(threads)
            answers.append(fl.svds(A, 4))
    finally:
        fl.set_num_threads(before)
    for other in answers[1:]:
        assert all(np.array_equal(x, y) for x, y in zip(answers[0], other, strict=True))


def test_start_vectors_may_be_a_block_and_may_be_bad():
    A = sp.random_array((3000, 600), density=0.01, rng=9, format="csr")
    _, s, vh, cold = fl.svds(A, 4, ncv=60, return_info=True)
    again = fl.svds(A, 4, ncv=60, v0=vh.T, return_info=True)
    bad = fl.svds(A, 4, ncv=60, v0=np.ones((600, 3)))
    assert np.abs(again[1] - s).max() < 1e-13
    assert np.abs(bad[1] - s).max() < 1e-13
    assert again[3].num_matvecs < cold.num_matvecs


def test_what_is_returned():
    A = np.random.default_rng(10).standard_normal((30, 20))
    s = fl.svds(A, 3)[1]
    assert np.array_equal(fl.svds(A, 3, return_singular_vectors=False), s)
    assert fl.svds(A, 3, return_singular_vectors="u")[2] is None
    assert fl.svds(A, 3, return_singular_vectors="vh")[0] is None
    assert np.all(np.diff(s) >= 0)
    s, info = fl.svds(A, 3, return_singular_vectors=False, return_info=True)
    assert (info.residuals.shape, info.converged.tolist()) == ((3,), [True] * 3)


def test_without_convergence_what_holds_is_on_the_exception_or_comes_back():
    A = sp.random_array((9000, 3000), density=0.003, rng=11, format="csr")
    with pytest.raises(ArpackNoConvergence) as caught:
        fl.svds(A, 6, ncv=9, maxiter=2)
    assert caught.value.eigenvalues.size < 6
    u, s, vh, info = fl.svds(A, 6, ncv=9, maxiter=2, return_info=True, return_unconverged=True)
    assert s.size == 6
    assert np.abs(np.linalg.norm(A.T @ u - vh.T * s, axis=0) - info.residuals).max() < 1e-12
    assert s.size == u.shape[1] == vh.shape[0] == info.converged.size == info.residuals.size
    assert not info.converged.all()


def test_the_callback_sees_singular_values_and_may_end_the_run():
    A = sp.random_array((9000, 3000), density=0.003, rng=12, format="csr")
    states = []
    s = fl.svds(A, 4, callback=states.append)[1]
    assert np.abs(states[-1].values.max() - s.max()) < 1e-10 * s.max()
    assert states[-1].num_products > 0

    def end(state):
        raise StopIteration

    with pytest.raises(ArpackNoConvergence, match="callback"):
        fl.svds(A, 4, callback=end)


def test_the_callback_sees_the_smallest_values_too():
    n = 2300
    A = sp.diags_array(np.linspace(1.0, 3.0, n)).tocsr() + 0.1 * sp.random_array((n, n), density=1 / n, rng=14)
    states = []
    s = fl.svds(A, 3, which="SM", callback=states.append)[1]
    assert np.abs(states[-1].values[: s.size] - s).max() < 1e-6
    assert np.all(np.diff(states[-1].values) >= 0)


def test_interrupts_carry_the_state():
    A = sp.random_array((9000, 3000), density=0.003, rng=12, format="csr")

    def interrupt(state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fl.svds(A, 4, callback=interrupt)
    assert caught.value.partial.values.size


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"k": 0}, ValueError, "`k` must be an integer satisfying"),
        ({"k": 21}, ValueError, "`k` must be an integer satisfying"),
        ({"k": 1.5}, ValueError, "`k` must be an integer satisfying"),
        ({"ncv": 3, "k": 3}, ValueError, "`ncv` must be an integer satisfying"),
        ({"tol": -1}, ValueError, "`tol` must be a non-negative"),
        ({"which": "LA"}, ValueError, "`which` must be in"),
        ({"maxiter": 0}, ValueError, "`maxiter` must be a positive integer"),
        ({"solver": "mine"}, ValueError, "solver must be one of"),
        ({"options": {"a": 1}}, ValueError, "options"),
        ({"return_singular_vectors": "both"}, ValueError, "`return_singular_vectors` must be in"),
        ({"v0": np.ones(3)}, ValueError, "`v0` must have shape"),
        ({"v0": np.ones(20, dtype=int)}, ValueError, "floating"),
        ({"v0": np.zeros(20)}, ValueError, "zero"),
        ({"v0": np.ones(20, dtype=complex)}, TypeError, "real part"),
        ({"center": np.ones(3)}, ValueError, "20 numbers"),
        ({"center": np.full(20, np.nan)}, ValueError, "not|NaN"),
    ],
)
def test_wrong_arguments_are_told(arguments, error, words):
    A = np.random.default_rng(13).standard_normal((30, 20))
    with pytest.raises(error, match=words):
        fl.svds(A, **arguments)


@pytest.mark.parametrize(
    ("A", "error"),
    [
        (np.zeros((0, 3)), ValueError),
        (np.zeros((2, 2, 2)), ValueError),
        ("text", TypeError),
        (np.array([["a"]]), ValueError),
    ],
)
def test_wrong_matrices_are_told(A, error):
    with pytest.raises(error):
        fl.svds(A, 1)


def test_entries_that_are_not_finite_are_told():
    A = np.ones((400, 300))
    A[3, 4] = np.nan
    for X in (A, sp.csr_array(A), aslinearoperator(A)):
        with pytest.raises(fl.NonFiniteError):
            fl.svds(X, 2)


PLUGIN = """
import scipy.sparse.linalg, fastlanczos
scipy.sparse.linalg.svds = fastlanczos.svds
"""
# Two vary the seed and want other bits, which LAPACK does not give; one wants an exception that nothing here raises for
# a 9 x 9 matrix; one holds tol = 1e-2 to what ARPACK happens to reach.
EXPLAINED = {"test_svd_rng", "test_svd_rng_3", "test_svd_maxiter", "test_svds_parameter_tol"}


def test_scipys_own_tests_pass(tmp_path):
    found = importlib.util.find_spec("scipy.sparse.linalg._eigen.tests.test_svds")
    if found is None:
        pytest.skip("this SciPy has been installed without its tests")
    file = found.origin
    (tmp_path / "replaced_svds.py").write_text(PLUGIN)
    options = ["-p", "replaced_svds", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "-rf", "-c", os.devnull]
    chosen = "Test_SVDS_ARPACK and not input_validation"
    environment = {"PYTHONPATH": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", chosen, file],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert set(re.findall(r"^FAILED .*::(\w+)", done.stdout, flags=re.M)) == EXPLAINED, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 104
