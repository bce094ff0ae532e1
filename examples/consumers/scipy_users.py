"""What programs do with scipy's expm_multiply and cg, by `fl.funm_multiply`."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import cg, expm_multiply

import fastlanczos as fl


def heat(L, b, t):
    """exp(-t L) b, as expm_multiply(-t * L, b), for a symmetric L."""
    return fl.funm_multiply(L, lambda x: np.exp(-t * x), b)


def solve(A, b, rtol):
    """A^-1 b for a positive definite A, as cg(A, b, rtol=rtol)[0]."""
    return fl.funm_multiply(A, "inv", b, tol=rtol)


if __name__ == "__main__":
    n = 100
    T = sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])
    L = (sp.kron(T, sp.eye_array(n)) + sp.kron(sp.eye_array(n), T)).tocsr()
    b = np.random.default_rng(0).standard_normal(n * n)
    u, v = heat(L, b, 10.0), expm_multiply(-10.0 * L, b)
    print(f"heat: differ by {np.linalg.norm(u - v) / np.linalg.norm(v):.0e}")
    A = L + 0.1 * sp.eye_array(n * n)
    x, y = solve(A, b, 1e-10), cg(A, b, rtol=1e-10)[0]
    ours, theirs = (np.linalg.norm(b - A @ z) / np.linalg.norm(b) for z in (x, y))
    print(f"solve: residuals {ours:.0e}, {theirs:.0e}")
