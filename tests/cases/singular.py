"""Matrices with known singular values, and what every answer of svds must satisfy."""

import numpy as np


def with_values(shape, values, rng, *, complex_=False):
    """Return a dense matrix of this shape with these singular values."""
    m, n = shape

    def orthonormal(rows):
        x = rng.standard_normal((rows, len(values)))
        if complex_:
            x = x + 1j * rng.standard_normal(x.shape)
        return np.linalg.qr(x)[0]

    return (orthonormal(m) * values) @ orthonormal(n).conj().T


def check(A, answer, values, *, tol=2e-14):
    """Assert that values are right, triplets hold and vectors are orthonormal, relative to the norm of A."""
    u, s, vh = answer
    norm = max(float(np.linalg.norm(A, 2)), 1e-300)
    k = len(values)
    assert (u.shape, s.shape, vh.shape) == ((A.shape[0], k), (k,), (k, A.shape[1]))
    assert np.abs(s - np.sort(values)).max() <= tol * norm
    scaled = A / norm
    assert np.abs(scaled @ vh.conj().T - u * (s / norm)).max() <= tol
    assert np.abs(scaled.conj().T @ u - vh.conj().T * (s / norm)).max() <= tol
    assert np.abs(u.conj().T @ u - np.eye(k)).max() <= 1e-13
    assert np.abs(vh @ vh.conj().T - np.eye(k)).max() <= 1e-13
