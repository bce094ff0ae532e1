import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import aslinearoperator

from fastlanczos.eigenpairs.pencil import Pencil
from fastlanczos.engine.array_run import ArrayRun
from fastlanczos.engine.host_run import HostRun

RNG = np.random.default_rng(0)
N = 20
B = RNG.normal(size=(N, N))
A, M = B + B.T, B @ B.T + N * np.eye(N)
NONE = {"sigma": None, "mode": "normal", "Minv": None, "OPinv": None, "v0": None}


def pencil(A, M=None, dim=None, **arguments):
    return Pencil(A, M, dim, **{**NONE, **arguments})


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, aslinearoperator, torch.from_numpy])
def test_real_operators_run_on_the_engine(form):
    p = pencil(form(A))
    assert (p.dim, p.dtype) == (N, "float64")
    assert isinstance(p.new_run(5), HostRun)
    x = RNG.normal(size=N)
    np.testing.assert_allclose(p.multiply_a(x), A @ x, atol=1e-13)
    assert p.multiply_m is None


def test_complex_and_generalized_problems_run_on_arrays():
    H = A + 1j * (B - B.T)
    p = pencil(H)
    assert p.dtype == "complex128"
    assert isinstance(p.new_run(5), ArrayRun)
    assert p.draw(np.random.default_rng(0)).dtype == np.complex128
    p = pencil(A, M)
    assert isinstance(p.new_run(5), ArrayRun)
    x = RNG.normal(size=N)
    np.testing.assert_allclose(p.multiply_m(x), M @ x, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "w", "v"), [(np.float32, "f4", "f4"), (np.complex64, "f4", "c8"), (float, "f8", "f8")]
)
def test_results_have_the_precision_of_a(dtype, w, v):
    p = pencil(A.astype(dtype))
    rows = RNG.normal(size=(3, N)).astype(p.dtype)
    values, vectors = p.result(np.array([1.0, 2.0, 3.0]), rows, True)
    assert (values.dtype, vectors.dtype) == (np.dtype(w), np.dtype(v))
    np.testing.assert_array_equal(values, [1, 2, 3])
    np.testing.assert_allclose(vectors, rows.T, rtol=1e-6)


def test_results_of_a_tensor_are_tensors():
    p = pencil(torch.from_numpy(A).float())
    values, vectors = p.result(np.array([1.0, 2.0]), RNG.normal(size=(2, N)), True)
    assert values.dtype == vectors.dtype == torch.float32
    assert vectors.shape == (N, 2)


def test_random_vectors_lie_in_the_range_of_a_singular_m():
    singular = np.diag(np.r_[np.ones(N - 5), np.zeros(5)])
    p = pencil(A, singular, sigma=0.5)
    solution = np.linalg.solve(A - 0.5 * singular, singular)
    v = p.draw(np.random.default_rng(0))
    rest = v - solution @ np.linalg.lstsq(solution, v, rcond=None)[0]
    assert np.linalg.norm(rest) < 1e-12 * np.linalg.norm(v)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"A": np.ones((3, 4)), "M": np.eye(3)}, ValueError, r"A must be square, got shape \(3, 4\)"),
        ({"A": np.ones((3, 4))}, ValueError, "square"),
        ({"A": lambda v: v, "sigma": 1.0}, ValueError, "dim is missing"),
        ({"A": A, "M": M, "dim": 7}, ValueError, r"dim is 7, but A has shape \(20, 20\)"),
        ({"A": A, "M": np.eye(3)}, ValueError, r"M has shape \(3, 3\); want \(20, 20\)"),
    ],
)
def test_shapes_that_do_not_fit_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        pencil(**arguments)


def test_a_complex_start_vector_must_be_finite():
    p = pencil(A.astype(complex))
    for bad in (np.zeros(N), np.full(N, np.nan)):
        with pytest.raises(ValueError, match="v0 is zero, or has entries that are NaN or infinite"):
            p.start_vector(bad)
