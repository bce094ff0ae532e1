import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import scipy.sparse
from scipy import LowLevelCallable
from tqdm import tqdm

import fastlanczos as fl
from fastlanczos import _core
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration, run_natively
from fastlanczos.operators.native import matrix_matvec
from fastlanczos.operators.operator import as_operator

RNG = np.random.default_rng(0)
N = 300
A = RNG.normal(size=(N, N))
A = A + A.T
S = scipy.sparse.random_array((N, N), density=0.03, rng=RNG, format="csr")
S = (S + S.T).tocsr()

DOUBLES = ctypes.POINTER(ctypes.c_double)
STATUS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_ssize_t, DOUBLES, DOUBLES, ctypes.c_void_p)
SIMPLE = ctypes.CFUNCTYPE(None, ctypes.c_longlong, DOUBLES, DOUBLES)


@SIMPLE
def WEIGHTED(n, x, y):
    """A diagonal, and a function that writes into its argument."""
    for i in range(n):
        y[i] = (1.0 + i) * x[i]
        x[i] = 0.0


def product(matvec, x):
    x = np.ascontiguousarray(np.atleast_2d(x))
    y = np.full_like(x, np.nan)
    matvec.multiply(x, y)
    return y


MATRICES = {
    "float64": A,
    "float32": A.astype(np.float32),
    "fortran": np.asfortranarray(A),
    "every other row and column": np.repeat(np.repeat(A, 2, axis=0), 2, axis=1)[::2, ::2],
    "part of a wider array": np.hstack([A, A])[:, :N],
    "upside down": A[::-1, ::-1],
    "big endian": A.astype(">f8"),
    "integers": np.round(5 * A).astype(np.int16),
    "half": A.astype(np.float16),
    "bool": A > 0,
    "csr": S,
    "csr float32": S.astype(np.float32),
    "csr 64-bit indices": scipy.sparse.csr_array((S.data, S.indices.astype(np.int64), S.indptr.astype(np.int64))),
    "csc": S.tocsc(),
    "coo with duplicates": scipy.sparse.coo_array(
        (np.r_[S.data, S.data], (np.r_[S.tocoo().row, S.tocoo().row], np.r_[S.tocoo().col, S.tocoo().col])),
    ),
    "dia": scipy.sparse.diags_array([np.ones(N - 1), np.arange(N), np.ones(N - 1)], offsets=[-1, 0, 1]),
    "empty": scipy.sparse.csr_array((N, N)),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_matrices_multiply_in_float64_and_in_any_company_alike(name, count):
    matrix = MATRICES[name]
    x = RNG.normal(size=(count, N))
    exact = (matrix.toarray() if scipy.sparse.issparse(matrix) else matrix).astype(float)
    native = matrix_matvec(matrix)
    y = product(native, x)
    np.testing.assert_allclose(y, x @ exact.T, atol=1e-15 * N * np.abs(exact).max(initial=1.0) * np.abs(x).max())
    for i in range(count):
        assert np.array_equal(product(native, x[i])[0], y[i])


def test_column_numbers_are_narrowed_unless_they_are_out_of_range():
    long = [x.astype(np.int64) for x in (S.indices, S.indptr)]
    x = RNG.normal(size=(1, N))
    wide = _core.SparseMatvec64With64(S.data, *long)
    narrow = matrix_matvec(scipy.sparse.csr_array((S.data, *long), shape=S.shape))
    assert type(narrow) is _core.SparseMatvec64With32
    np.testing.assert_array_equal(product(wide, x), product(narrow, x))
    damaged = scipy.sparse.csr_array((S.data, *long), shape=S.shape)
    damaged.indices[0] += 2**32  # 32 bits would hide it
    with pytest.raises(ValueError, match="column indices beyond its side"):
        matrix_matvec(damaged)


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_subnormal_entries_count_as_zeros_beside_plain_ones_and_in_products_only(form, dtype):
    tiny = np.finfo(dtype).tiny
    matrix = np.diag(np.arange(1.0, N + 1)).astype(dtype)
    matrix[0, 1:] = matrix[1:, 0] = tiny / 8
    x = np.full((1, N), 1e30)
    y = product(matrix_matvec(form(matrix)), x)
    np.testing.assert_array_equal(y[0], np.arange(1.0, N + 1) * 1e30)
    assert np.float64(5e-324) * 2.0 == 1e-323  # this thread is as it was
    small = form((tiny / 8 * np.ones((N, N))).astype(dtype))  # nothing is plain beside them
    exact = N * float(dtype(tiny / 8)) * 1e30
    np.testing.assert_allclose(product(matrix_matvec(small), x)[0], exact, rtol=1e-12)


@pytest.mark.parametrize("matrix", [A, A.astype(np.float32), S], ids=["float64", "float32", "csr"])
def test_matrices_are_used_where_they_lie(matrix):
    values = matrix if isinstance(matrix, np.ndarray) else matrix.data
    values = values.copy()
    mine = values if isinstance(matrix, np.ndarray) else scipy.sparse.csr_array((values, S.indices, S.indptr))
    native = matrix_matvec(mine)
    before = product(native, np.ones(N))
    values *= 2
    np.testing.assert_array_equal(product(native, np.ones(N)), 2 * before)


def test_bits_do_not_depend_on_the_number_of_threads():
    n = 3000
    B = scipy.sparse.random_array((n, n), density=0.02, rng=RNG, format="csr")
    D = RNG.normal(size=(n, n))
    x = RNG.normal(size=(2, n))
    before = fl.get_num_threads()
    try:
        products = []
        for threads in (1, 2, 5):
            fl.set_num_threads(threads)
            products.append([product(matrix_matvec(M), x) for M in (B, D, D.astype(np.float32))])
    finally:
        fl.set_num_threads(before)
    for other in products[1:]:
        for one, two in zip(products[0], other, strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("which", ["columns", "negative column", "row pointers", "too few values"])
def test_damaged_sparse_matrices_are_refused(which):
    B = S.copy()
    if which == "columns":
        B.indices[5] = N
    elif which == "negative column":
        B.indices[5] = -1
    elif which == "row pointers":
        B.indptr[4], B.indptr[5] = B.indptr[5] + 1, B.indptr[4]
    else:
        B.data, B.indices = B.data[:-3], B.indices[:-3]
    with pytest.raises(ValueError, match="damaged"):
        fl.lanczos(B, num_steps=5)


def c_function(function_type, diagonal, status=0):
    calls = []

    def matvec(n, x, y, *data):
        calls.append((n, data))
        np.ctypeslib.as_array(y, (n,))[:] = diagonal * np.ctypeslib.as_array(x, (n,))
        return status if len(calls) > 3 else 0

    return function_type(matvec if function_type is STATUS else lambda *a: (matvec(*a), None)[1]), calls


@pytest.mark.parametrize("function_type", [STATUS, SIMPLE], ids=["int, user data", "void"])
def test_a_low_level_callable_runs_and_gets_its_user_data(function_type):
    d = np.linspace(-1, 2, 400)
    function, calls = c_function(function_type, d)
    data = ctypes.c_void_p(1234) if function_type is STATUS else None
    r = fl.lanczos(LowLevelCallable(function, data), 400, 50, seed=0)
    expected = fl.lanczos(lambda v: d * v, 400, 50, seed=0)
    assert r.alpha.tobytes() == expected.alpha.tobytes()
    assert np.array_equal(r.basis, expected.basis)
    assert len(calls) == 50
    assert calls[0] == (400, (1234,) if function_type is STATUS else ())


def test_a_status_that_is_not_zero_stops_the_run_and_keeps_its_steps():
    function, _ = c_function(STATUS, np.linspace(-1, 2, 400), status=7)
    with pytest.raises(RuntimeError, match="native matvec returned 7") as caught:
        fl.lanczos(LowLevelCallable(function), 400, 50, seed=0)
    assert caught.value.partial.num_steps == 3
    assert "In Lanczos step 4 of 50" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "signature",
    [
        "int (intptr_t, double const *, double *, void *)",
        "int (intptr_t, const double *, double *)",
        "void (npy_intp,double*,double*)",
        "void ( long long , double * , double * , void * )",
    ],
)
def test_spellings_of_the_signature_are_understood(signature):
    function, _ = c_function(STATUS, 1.0)
    assert as_operator(LowLevelCallable(function, signature=signature), 4).native is not None


@pytest.mark.parametrize(
    "signature",
    ["double (double)", "int (int, double *, double *)", "int (intptr_t, float *, float *)", "double * (intptr_t)"],
)
def test_other_signatures_are_told(signature):
    function, _ = c_function(STATUS, 1.0)
    with pytest.raises(TypeError, match=r"signature .*want int \(intptr_t n, const double \*x, double \*y"):
        fl.lanczos(LowLevelCallable(function, signature=signature), 4, 2)


def test_a_low_level_callable_needs_its_dimension():
    function, _ = c_function(STATUS, 1.0)
    with pytest.raises(ValueError, match="dim is missing"):
        fl.lanczos(LowLevelCallable(function))
    assert fl.lanczos(LowLevelCallable(function), v0=np.ones(6)).num_steps == 1


def test_products_that_are_not_finite_are_told():
    d = np.ones(50)
    d[7] = np.nan
    function, _ = c_function(STATUS, d)
    with pytest.raises(fl.NonFiniteError, match="step 1 has 1 of 50"):
        fl.lanczos(LowLevelCallable(function), 50, 5)
    B = A.copy()
    B[3, 3] = np.inf
    with pytest.raises(fl.NonFiniteError, match=r"step 1 has .* of 300 entries"):
        fl.spectral_density(B, num_probes=3, num_steps=5)


def test_a_numba_cfunc_is_taken_as_it_is():
    numba = pytest.importorskip("numba")

    @numba.cfunc("int32(int64, CPointer(float64), CPointer(float64))")
    def laplacian(n, x, y):
        for i in range(n):
            left = x[i - 1] if i > 0 else 0.0
            right = x[i + 1] if i + 1 < n else 0.0
            y[i] = 2 * x[i] - left - right
        return 0

    r = fl.lanczos(laplacian, 500, 500, seed=0)
    exact = 2 - 2 * np.cos(np.pi * np.arange(1, 501) / 501)
    np.testing.assert_allclose(r.quadrature()[0], exact, atol=4e-14)


def test_a_numba_jitted_matvec_runs_as_any_callable():
    numba = pytest.importorskip("numba")

    @numba.njit
    def matvec(v):
        return np.arange(v.size) * v

    assert fl.lanczos(matvec, 50, 50, seed=0).quadrature()[0][-1] == pytest.approx(49)


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
@pytest.mark.parametrize(
    "matrix", [A, S, S * 2.0**200, LowLevelCallable(WEIGHTED)], ids=["dense", "csr", "large", "function"]
)
def test_a_run_in_slices_and_taken_up_from_a_copy_has_the_bits_of_one_in_a_piece(matrix, reorthogonalize):
    operator = as_operator(matrix, N, v0=None)
    space = np.empty((2, N))

    def started():
        return [LanczosIteration(N, 30, seed=seed, reorthogonalize=reorthogonalize) for seed in (1, 2)]

    whole = started()
    while not whole[0].finished:
        run_natively(whole, operator.native, space, 30, 10.0)
    sliced = started()
    for steps in (1, 2, 4, 3):
        run_natively(sliced, operator.native, space, steps, 10.0)
        # What was handed out is what the engine goes on with, and a copy does the same as the original.
        assert np.isclose(np.linalg.norm(sliced[0].vector), 1.0, rtol=1e-14)
        assert (sliced[0].vector == sliced[0].state_dict()["candidate"]).all()
        sliced[1] = LanczosIteration.from_state_dict(sliced[1].state_dict())
    # One step by hand, from the vector that is handed out.
    by_hand = LanczosIteration.from_state_dict(sliced[0].state_dict())
    by_hand.step(product(operator.native, by_hand.vector)[0])
    run_natively(sliced, operator.native, space, 30, 10.0)
    np.testing.assert_allclose(by_hand.alpha, whole[0].alpha[:11], rtol=1e-13, atol=1e-13 * abs(whole[0].alpha).max())
    for a, b in zip(whole, sliced, strict=True):
        assert a.alpha.tobytes() == b.alpha.tobytes()
        assert a.beta.tobytes() == b.beta.tobytes()


def test_callback_and_progress_work_without_python_in_the_loop(capsys):
    seen = []
    r = fl.lanczos(A, num_steps=20, seed=0, progress=True, callback=lambda it: seen.append(it.num_steps))
    assert seen == list(range(1, 21))
    assert "20/20" in capsys.readouterr().err
    assert r.alpha.tobytes() == fl.lanczos(A, num_steps=20, seed=0).alpha.tobytes()


def test_the_gil_is_released_for_the_whole_run():
    B = scipy.sparse.random_array((200_000, 200_000), density=5e-5, rng=RNG, format="csr")
    B = (B + B.T).tocsr()
    running = threading.Event()
    counted = 0

    def run():
        running.set()
        fl.lanczos(B, num_steps=60, seed=0, return_basis=False)
        running.clear()

    thread = threading.Thread(target=run)
    thread.start()
    running.wait()
    while running.is_set():  # a second thread of Python goes on meanwhile
        counted += 1
        time.sleep(0.001)
    thread.join()
    assert counted > 20


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("kind", ["sparse", "function"])
def test_ctrl_c_ends_a_native_run_at_once_and_keeps_its_steps(kind):
    pytest.importorskip("numba" if kind == "function" else "scipy")
    program = textwrap.dedent(
        f"""
        import signal, time, threading, os
        import numpy as np, scipy.sparse, fastlanczos as fl
        n = 300_000
        if {kind!r} == "sparse":
            A = scipy.sparse.diags_array(np.linspace(0, 1, n)).tocsr()
        else:
            import numba
            @numba.cfunc("void(int64, CPointer(float64), CPointer(float64))")
            def A(n, x, y):
                for i in range(n):
                    y[i] = i * x[i] / n
        sent = []
        def interrupt():
            time.sleep(1.5)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        iterations = []
        try:
            fl.lanczos(A, n, 1000, seed=0)
        except KeyboardInterrupt as error:
            late = time.perf_counter() - sent[0]
            r = error.partial
            orthogonal = abs(r.basis @ r.basis.T - np.eye(r.num_steps)).max()
            print(r.num_steps, late, orthogonal, np.linalg.eigvalsh(r.tridiagonal()).max())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    steps, late, orthogonal, largest = map(float, done.stdout.split())
    assert 5 < steps < 1000
    assert late < 0.5  # 0.1 on a quiet machine: benchmarks/step.py measures it
    assert orthogonal < 1e-13
    assert 0.9 < largest < 1 + 1e-12


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of Unix")
def test_a_signal_handler_that_raises_nothing_changes_nothing():
    B = scipy.sparse.diags_array(np.linspace(0, 1, 100_000)).tocsr()
    expected = fl.lanczos(B, num_steps=60, seed=0, return_basis=False)
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        r = fl.lanczos(B, num_steps=60, seed=0, return_basis=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert r.alpha.tobytes() == expected.alpha.tobytes()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of Unix")
def test_a_run_interrupted_in_the_middle_of_a_step_keeps_its_steps_and_cannot_be_saved():
    fl.set_num_threads(2)  # a step of one thread is waited for
    n = 1_000_000
    operator = as_operator(scipy.sparse.diags_array(np.linspace(0, 1, n)).tocsr())

    def stop(*_):
        raise TimeoutError("time is up")

    def run_for_ever(iteration):
        while True:
            drive([iteration], operator, bar=tqdm(disable=True))
            iteration.restart(np.ones(n))

    before = signal.signal(signal.SIGALRM, stop)
    try:
        for attempt in range(30):
            iteration = LanczosIteration(n, 60, seed=0, basis_dtype="float32")
            signal.setitimer(signal.ITIMER_REAL, 0.3 + 0.011 * attempt)
            with pytest.raises(TimeoutError) as caught:
                run_for_ever(iteration)
            if iteration._run.interrupted and iteration.num_steps > 0:  # and not between two steps, or in a product
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert iteration._run.interrupted
    assert iteration.finished
    r = caught.value.partial
    assert r.num_steps == iteration.num_steps < 60
    assert np.isfinite(r.beta).all()
    assert r.residual_norm > 0
    with pytest.raises(RuntimeError, match="interrupted in the middle of a step"):
        iteration.state_dict()
    iteration.restart(np.ones(n))
    assert iteration.state_dict()["scalars"]["steps"] == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="no smaps on this system")
def test_the_basis_is_in_huge_pages_where_the_system_grants_them():
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
        if "[never]" in file.read():
            pytest.skip("the system grants no huge pages")
    program = (
        "import numpy as np, fastlanczos as fl\n"
        "huge = lambda: int([l for l in open('/proc/self/smaps_rollup') if 'AnonHugePages' in l][0].split()[1])\n"
        "before = huge()\n"
        "r = fl.lanczos(lambda v: v * np.linspace(0, 1, 1_000_000), 1_000_000, 20, seed=0)\n"
        "print(huge() - before)\n"
    )
    environment = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}  # what is asked for by us, not by NumPy
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) > 100_000  # KiB, of 156,250 in the basis
