import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import fastlanczos as fl

RNG = np.random.default_rng(0)
A = RNG.normal(size=(60, 60))
A = A + A.T
EXACT = np.linalg.eigvalsh(A)


class WithMatmul:
    shape = (60, 60)

    def __matmul__(self, v):
        return A @ v


class WithMatvec:
    shape = (60, 60)
    dtype = np.dtype(float)

    def matvec(self, v):
        return A @ v


OPERATORS = {
    "callable": (lambda v: A @ v, 60),
    "ndarray": (A, None),
    "matrix": (np.asmatrix(A), None),
    "fortran": (np.asfortranarray(A), None),
    "csr": (scipy.sparse.csr_matrix(A), None),
    "coo array": (scipy.sparse.coo_array(A), None),
    "lil": (scipy.sparse.lil_matrix(A), None),
    "LinearOperator": (aslinearoperator(A), None),
    "LinearOperator of a function": (LinearOperator((60, 60), matvec=lambda v: A @ v, dtype=float), None),
    "object with @": (WithMatmul(), None),
    "object with matvec": (WithMatvec(), None),
    "dim and shape agree": (A, 60),
    "returns a list": (lambda v: (A @ v).tolist(), 60),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_any_operator_gives_its_eigenvalues(name):
    operator, dim = OPERATORS[name]
    r = fl.lanczos(operator, dim, 60, seed=0)
    np.testing.assert_allclose(r.quadrature()[0], EXACT, atol=1e-13 * np.abs(EXACT).max())
    values, vectors = r.eigh()
    assert np.abs(A @ vectors - vectors * values).max() < 1e-12 * np.abs(EXACT).max()


def test_integer_and_narrow_matrices_multiply_in_float64():
    B = RNG.integers(-5, 5, size=(40, 40))
    B = B + B.T
    exact = np.linalg.eigvalsh(B.astype(float))
    for matrix in (
        B,
        B.astype(np.int8),
        B.astype(np.float32),
        B.astype(np.float16),
        scipy.sparse.csr_array(B),
    ):
        ritz = fl.lanczos(matrix, num_steps=40, seed=0).quadrature()[0]
        np.testing.assert_allclose(ritz, exact, atol=1e-13 * np.abs(exact).max())


def test_steps_default_to_a_hundred_or_the_dimension():
    d = np.linspace(0, 1, 5000)
    assert fl.lanczos(lambda v: d * v, 5000, seed=0).num_steps == 100
    assert fl.lanczos(np.diag([1.0, 2.0, 3.0]), seed=0).num_steps == 3


def test_same_seed_same_bits_and_another_seed_others():
    one, two, other = (fl.lanczos(A, num_steps=20, seed=s) for s in (7, 7, 8))
    assert one.alpha.tobytes() == two.alpha.tobytes()
    assert one.alpha.tobytes() != other.alpha.tobytes()


def test_the_basis_is_dropped_on_request():
    r = fl.lanczos(A, num_steps=10, seed=0, return_basis=False)
    assert r.basis is None
    with pytest.raises(ValueError, match="Ritz vectors need the basis"):
        r.eigh()


def test_callback_sees_every_step_and_may_stop():
    seen = []

    def callback(it):
        seen.append(it.num_steps)
        if it.num_steps == 5:
            raise StopIteration

    r = fl.lanczos(A, num_steps=20, seed=0, callback=callback)
    assert seen == [1, 2, 3, 4, 5]
    assert r.num_steps == 5
    assert not r.breakdown


def test_progress_draws_a_bar(capsys):
    fl.lanczos(A, num_steps=4, seed=0, progress=True)
    assert "Lanczos: 100%" in capsys.readouterr().err
    fl.lanczos(A, num_steps=4, seed=0)
    assert capsys.readouterr().err == ""


def test_operators_in_float32_are_not_called_asymmetric():
    d = np.linspace(0, 1, 2000).astype(np.float32)
    r = fl.lanczos(lambda v: d * v.astype(np.float32), 2000, 30, seed=0)
    assert 1e-9 < r.asymmetry < 1e-6


@pytest.mark.parametrize("reorthogonalize", ["full", "none"])
def test_a_matrix_that_is_not_symmetric_is_warned_of(reorthogonalize):
    B = A.copy()
    B[0, 1] += 1e-3
    with pytest.warns(fl.AsymmetryWarning, match=r"not symmetric.*dropout.*batch-norm") as caught:
        fl.lanczos(B, num_steps=30, seed=0, reorthogonalize=reorthogonalize)
    assert caught[0].filename == __file__


def test_noise_in_the_products_is_warned_of():
    rng = np.random.default_rng(0)
    with pytest.warns(fl.AsymmetryWarning):
        fl.lanczos(lambda v: A @ v + 1e-9 * rng.normal(size=60), 60, 30, seed=0)


@pytest.mark.parametrize(
    ("product", "error", "message"),
    [
        (lambda v: v[:-1], ValueError, r"product in Lanczos step 1 has shape \(59,\); want \(60,\)"),
        (lambda v: v[:, None], ValueError, r"has shape \(60, 1\); want \(60,\)"),
        (lambda v: 3.0, ValueError, r"has shape \(\); want \(60,\)"),
        (lambda v: v.astype(complex), TypeError, "dtype complex128.*for a complex Hermitian operator pass v0"),
        (lambda v: v.astype(int), TypeError, "dtype int64; want float64"),
        (lambda v: v.astype(object), TypeError, "dtype object"),
        (lambda v: v.astype(np.longdouble), TypeError, "want float64"),
        (lambda v: None, TypeError, "product in Lanczos step 1 is None"),
        (lambda v: "no", TypeError, "want float64"),
        (lambda v: v * np.nan, fl.NonFiniteError, "step 1 has 60 of 60"),
        (lambda v: v / 0, fl.NonFiniteError, "60 infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_products_are_told(product, error, message):
    with pytest.raises(error, match=message):
        fl.lanczos(product, 60, 10, seed=0)


def test_the_finished_part_rides_on_every_exception():
    calls = 0

    def matvec(v):
        nonlocal calls
        calls += 1
        if calls == 9:
            raise RuntimeError("the cluster went away")
        return A @ v

    with pytest.raises(RuntimeError, match="the cluster went away") as caught:
        fl.lanczos(matvec, 60, 20, seed=0)
    assert caught.value.partial.num_steps == 8
    assert "In Lanczos step 9 of 20" in caught.value.__notes__[0]
    whole = fl.lanczos(lambda v: A @ v, 60, 8, seed=0)
    assert caught.value.partial.alpha.tobytes() == whole.alpha.tobytes()


def test_not_finite_carries_the_finished_part():
    calls = 0

    def matvec(v):
        nonlocal calls
        calls += 1
        return A @ v if calls < 6 else np.full(60, np.inf)

    with pytest.raises(fl.NonFiniteError) as caught:
        fl.lanczos(matvec, 60, 20, seed=0)
    assert caught.value.step == 6
    assert caught.value.partial.num_steps == 5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((lambda v: v,), ValueError, "dim is missing"),
        ((np.ones((3, 4)),), ValueError, r"square, got shape \(3, 4\)"),
        ((np.ones(3),), ValueError, r"square, got shape \(3,\)"),
        ((np.ones((0, 0)),), ValueError, "the side of A must be at least 1"),
        ((A, 59), ValueError, r"dim is 59, but A has shape \(60, 60\)"),
        ((A.astype(np.clongdouble),), TypeError, "A has dtype c"),
        ((A.astype(object),), TypeError, "A has dtype object"),
        (({"a": 1}, 3), TypeError, "A must be a callable.*got builtins.dict"),
        (("A", 3), TypeError, "A must be a callable.*got builtins.str"),
        ((None, 3), TypeError, "got builtins.NoneType"),
        ((np.ma.masked_array(A),), TypeError, "masked array"),
        ((A, None, 0), ValueError, "num_steps must be at least 1, got 0"),
        ((A, None, 3.5), TypeError, "num_steps must be an integer, got 3.5"),
    ],
)
def test_bad_arguments_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        fl.lanczos(*arguments)


def test_memory_is_given_back_after_an_exception():
    class Matvec:
        def __call__(self, v):
            self.count = getattr(self, "count", 0) + 1
            if self.count == 5:
                raise KeyboardInterrupt
            return v * np.arange(1.0, 1001.0)

    matvec = Matvec()
    watched = []
    with pytest.raises(KeyboardInterrupt) as caught:
        fl.lanczos(matvec, 1000, 20, seed=0, callback=lambda it: watched.append(weakref.ref(it)))
    assert caught.value.partial.num_steps == 4
    del caught
    gc.collect()
    assert len(watched) == 4
    assert all(reference() is None for reference in watched)


def test_control_c_ends_a_long_run_with_its_finished_part():
    program = textwrap.dedent("""
        import numpy as np, fastlanczos as fl
        d = np.linspace(0, 1, 200_000)
        print("ready", flush=True)
        try:
            fl.lanczos(lambda v: d * v, 200_000, 2000, seed=0)
        except KeyboardInterrupt as error:
            r = error.partial
            print("stopped", r.num_steps, abs(r.basis @ r.basis.T - np.eye(r.num_steps)).max() < 1e-13)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    word, steps, orthogonal = out.split()
    assert word == "stopped"
    assert 0 < int(steps) < 2000
    assert orthogonal == "True"


def test_threads_with_operators_of_their_own_do_not_disturb_each_other():
    diagonals = [np.linspace(0, i + 1.0, 20_000) for i in range(6)]
    expected = [fl.lanczos(lambda v, d=d: d * v, 20_000, 40, seed=1) for d in diagonals]
    results = [None] * len(diagonals)

    def work(i):
        results[i] = fl.lanczos(lambda v: diagonals[i] * v, 20_000, 40, seed=1)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(diagonals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for r, e in zip(results, expected, strict=True):
        assert r.alpha.tobytes() == e.alpha.tobytes()
