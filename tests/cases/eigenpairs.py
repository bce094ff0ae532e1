"""Matrices with known eigenvalues, and what pairs of them must satisfy."""

import numpy as np
import scipy.sparse as sp
from spectra import turned

from fastlanczos.eigenpairs.wanted import Wanted

WHICH = ("LM", "SM", "LA", "SA", "BE")
EPS = np.finfo(float).eps


def matrix(d, seed=0, dtype=float):
    """A dense matrix with the eigenvalues d."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "c":
        Q, _ = np.linalg.qr(rng.normal(size=(d.size, d.size)) + 1j * rng.normal(size=(d.size, d.size)))
        A = (Q * d) @ Q.conj().T
    else:
        turn = turned(d, rng)
        A = np.stack([turn(e) for e in np.eye(d.size)])
    return ((A + A.conj().T) / 2).astype(dtype)


def meant(values, which, k):
    return values[Wanted(which, k).select(values)]


def check(A, w, V, expected, which, k, *, M=None, tol=0.0):
    """Values, residuals and orthonormality, relative to the norm; magnitudes for LM and SM, where signs may tie."""
    precision = max(EPS, float(np.finfo(w.dtype).eps), tol)
    norm = np.abs(expected).max() or 1.0
    assert w.shape == (k,)
    assert np.all(np.diff(w) >= 0)
    wanted, found = meant(expected, which, k), w.astype(float)
    if which in ("LM", "SM"):
        wanted, found = np.sort(np.abs(wanted)), np.sort(np.abs(found))
    assert np.abs(found - wanted).max() <= 200 * precision * norm
    MV = V if M is None else M @ V
    unit = np.abs(MV).max() if M is not None else 1.0
    assert np.abs(A @ V - MV * w).max() <= 200 * precision * norm * unit
    assert np.abs(V.conj().T @ MV - np.eye(k)).max() <= max(1e-13, 20 * precision)


# Against LAPACK.


SHIFTED = sp.diags_array(np.r_[-9.0, -7, -5, -3, -1, 2, 4, 6, 8, 10, np.arange(30) / 10 + 0.01]).tocsc()
METRIC = sp.diags_array(np.linspace(1, 2, 40)).tocsc()
