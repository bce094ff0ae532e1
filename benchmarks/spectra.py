"""Operators whose eigenvalues are known."""

import numpy as np
import scipy.sparse


def outliers(bulk, n, rng):
    d = rng.normal(0, bulk, n)
    d[:10] = np.linspace(1, 100, 10)
    return d


def spectra(n=3000):
    """The spectra of the design's prototype: name -> eigenvalues of a diagonal operator."""
    rng, i = np.random.default_rng(0), np.arange(1, n + 1)
    return {
        "bulk 1e-2 + outliers": outliers(1e-2, n, rng),
        "bulk 1e-6 + outliers": outliers(1e-6, n, rng),
        "bulk 1e-10 + outliers": outliers(1e-10, n, rng),
        "uniform": rng.uniform(-1, 1, n),
        "geometric": np.geomspace(1e-12, 1, n),
        "low rank 30": np.r_[np.linspace(1, 2, 30), np.zeros(n - 30)],
        "strakos": 0.1 + (i - 1) / (n - 1) * 99.9 * 0.9 ** (n - i),
        "huge": rng.normal(size=n) * 1e290,
        "tiny": rng.normal(size=n) * 1e-290,
        "identity": np.ones(n),
        "zero": np.zeros(n),
    }


def turned(d, rng, reflections=3):
    """Return v -> Q diag(d) Q^T v, Q a product of Householder reflections: dense, with the eigenvalues d."""
    normals = [x / np.linalg.norm(x) for x in rng.normal(size=(reflections, d.size))]

    def matvec(v):
        for q in normals:
            v = v - 2 * (q @ v) * q
        v = d * v
        for q in reversed(normals):
            v = v - 2 * (q @ v) * q
        return v

    return matvec


def laplacian(sides):
    """Return (sparse Laplacian of a grid with Dirichlet ends, its eigenvalues)."""
    matrix, eigenvalues = scipy.sparse.csr_array((1, 1)), np.zeros(1)
    for side in sides:
        e = np.ones(side)
        one = scipy.sparse.diags_array([-e[:-1], 2 * e, -e[:-1]], offsets=[-1, 0, 1])
        matrix = scipy.sparse.kronsum(one, matrix, format="csr")
        values = 2 - 2 * np.cos(np.arange(1, side + 1) * np.pi / (side + 1))
        eigenvalues = (eigenvalues[:, None] + values).ravel()
    return matrix, eigenvalues
