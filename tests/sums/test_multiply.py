"""fastlanczos/sums/multiply.py: against dense functions and scipy."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg
from cases.sums import with_eigenvalues

import fastlanczos as fl

VALUES = np.geomspace(0.01, 2.0, 150)
A = with_eigenvalues(VALUES)
B = np.random.default_rng(1).standard_normal((150, 3))


def dense(f, b):
    w, V = np.linalg.eigh(A)
    return V @ (f(w)[:, None] * (V.T @ b.reshape(150, -1))).reshape(b.shape if b.ndim > 1 else (150, 1))


@pytest.mark.parametrize("reorthogonalize", ["full", "none", "auto"])
@pytest.mark.parametrize(
    ("name", "f"),
    [("exp", np.exp), ("sqrt", np.sqrt), ("log", np.log), (np.tanh, np.tanh), (("power", 3), lambda x: x**3)],
)
def test_products_are_those_of_the_dense_function(name, f, reorthogonalize):
    x = fl.funm_multiply(A, name, B, reorthogonalize=reorthogonalize)
    exact = dense(f, B)
    assert x.shape == B.shape
    assert np.linalg.norm(x - exact) < 1e-8 * np.linalg.norm(exact)
    one = fl.funm_multiply(A, name, B[:, 0], reorthogonalize=reorthogonalize)
    assert np.array_equal(one, x[:, 0])


def test_inverse_is_conjugate_gradients_and_exponential_scipys():
    n = 400
    L = sp.diags_array([-np.ones(n - 1), 2.2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    b = np.random.default_rng(0).standard_normal(n)
    x = fl.funm_multiply(L, "inv", b, tol=1e-10)
    y, info = scipy.sparse.linalg.cg(L, b, rtol=1e-10)
    assert info == 0
    assert np.linalg.norm(L @ x - b) <= 1e-9 * np.linalg.norm(b)
    assert np.linalg.norm(x - y) <= 1e-8 * np.linalg.norm(y)
    z = scipy.sparse.linalg.expm_multiply(-L, b)
    assert np.linalg.norm(fl.funm_multiply(-L, "exp", b) - z) <= 1e-8 * np.linalg.norm(z)


def test_two_passes_take_a_memory_that_does_not_grow_with_the_steps():
    n = 50_000
    d = np.linspace(1e-3, 1.0, n)

    def peak(steps, reorthogonalize):
        tracemalloc.start()
        with pytest.warns(UserWarning, match="still changed"):
            fl.funm_multiply(
                lambda v: d * v, "inv", np.ones(n), tol=1e-14, num_steps=steps, reorthogonalize=reorthogonalize
            )
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(120, "none") < 1.1 * peak(30, "none")
    assert peak(120, "full") > peak(120, "none") + 60 * 8 * n


def test_what_does_not_settle_is_told():
    with pytest.warns(UserWarning, match=r"f\(A\) b still changed by .* when num_steps=4 was reached"):
        fl.funm_multiply(A, "log", B[:, 0], num_steps=4)


def test_zero_gives_zero_and_small_spaces_are_exact():
    assert np.array_equal(fl.funm_multiply(A, "exp", np.zeros(150)), np.zeros(150))
    x = fl.funm_multiply(np.diag([1.0, 4.0]), "sqrt", np.array([1.0, 1.0]))
    assert np.allclose(x, [1.0, 2.0], rtol=1e-14)


def test_tensors_give_tensors():
    torch = pytest.importorskip("torch")
    b = torch.from_numpy(B[:, 0].copy())
    x = fl.funm_multiply(torch.from_numpy(A), "exp", b)
    assert isinstance(x, torch.Tensor)
    assert np.allclose(x.numpy(), fl.funm_multiply(A, "exp", B[:, 0]), rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"b": np.ones(3)}, r"A has dimension 150, and b shape \(3,\)"),
        ({"b": np.ones((150, 2, 2))}, r"b must have shape \(n,\) or \(n, k\)"),
        ({"b": np.full(150, np.nan)}, "b has entries that are NaN or infinite"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"reorthogonalize": "some"}, "reorthogonalize must be"),
        ({"fun": "inv", "A": np.diag(np.r_[0.0, np.ones(149)])}, "inv is singular at an eigenvalue that is zero"),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        fl.funm_multiply(**{"A": A, "fun": "exp", "b": B[:, 0], **arguments})
