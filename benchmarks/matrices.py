"""Matrices and pencils for `accuracy.py`: shifts that are eigenvalues, and matrices that others have made.

The shifts lie on simple, double and six-fold eigenvalues, as exactly as they can be represented, of dense and sparse
matrices and pencils, in every mode; singular pencils are those whose A - sigma M is exactly singular, or whose M is.
The real matrices are those that PyAMG ships and graphs of networkx, where these are installed. What is expected comes
from formulas or from LAPACK.
"""

import time
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import eigsh
from spectra import laplacian, turned

import fastlanczos as fl

K = 5
PYAMG = ("airfoil", "bar", "knot", "unit_cube", "unit_square", "local_disc_galerkin_diffusion")


@dataclass
class Matrix:
    """A problem for `eigsh`, and all its finite eigenvalues."""

    name: str
    A: object
    eigenvalues: np.ndarray
    arguments: dict = field(default_factory=dict)  # of eigsh


def neumann(n):
    """The Laplacian of a path, singular, and its eigenvalues."""
    e = np.ones(n)
    matrix = sp.diags_array([-e[1:], np.r_[1, 2 * e[2:], 1], -e[1:]], offsets=[-1, 0, 1]).tocsc()
    return matrix, 2 - 2 * np.cos(np.arange(n) * np.pi / n)


def elements(n):
    """Stiffness and mass of linear elements on the unit interval, fixed at both ends."""
    h, e = 1 / (n + 1), np.ones(n)
    offsets = [-1, 0, 1]
    stiffness = sp.diags_array([-e[1:], 2 * e, -e[1:]], offsets=offsets) / h
    return stiffness, sp.diags_array([e[1:], 4 * e, e[1:]], offsets=offsets) * (h / 6)


def pencil_of_a_square(n):
    """Stiffness, mass and eigenvalues of bilinear elements on the unit square: many are double."""
    stiffness, mass = elements(n)
    one = scipy.linalg.eigh(stiffness.toarray(), mass.toarray(), eigvals_only=True)
    K = sp.kron(stiffness, mass) + sp.kron(mass, stiffness)
    return K.tocsc(), sp.kron(mass, mass).tocsc(), np.sort((one[:, None] + one).ravel())


def congruent(a, m, rng):
    """A = X' diag(a) X and M = X' diag(m) X, sparse, with the eigenvalues a / m."""
    n = a.size
    X = sp.eye_array(n) + sp.diags_array([rng.uniform(-0.4, 0.4, n - 1)], offsets=[1])
    return [(X.T @ sp.diags_array(d) @ X).tocsc() for d in (a, m)]


def shifts():
    rng = np.random.default_rng(0)
    path, of_path = neumann(2000)
    grid, of_grid = (x if i else x.tocsc() for i, x in enumerate(laplacian((40, 40))))
    of_grid = np.sort(of_grid)
    double = of_grid[np.flatnonzero(np.diff(of_grid) < 1e-12)[:20]]
    six, of_six = sp.block_diag([grid] * 6, format="csc"), np.repeat(of_grid, 6)
    found = [
        Matrix("path", path, of_path, {"sigma": 0.0}),
        Matrix("path", path, of_path, {"sigma": float(of_path[1000])}),
        Matrix("grid, simple", grid, of_grid, {"sigma": float(of_grid[0])}),
        Matrix("grid, double", grid, of_grid, {"sigma": float(double[3])}),
        Matrix("grid, double", grid, of_grid, {"sigma": float(double[17])}),
        Matrix("six grids, six-fold", six, of_six, {"sigma": float(of_grid[0])}),
        Matrix("six grids, twelve-fold", six, of_six, {"sigma": float(double[5])}),
    ]
    for name, d in {
        "whole numbers": np.arange(-300.0, 300.0),
        "thirds, double": np.repeat(np.arange(-150.0, 150.0) / 3, 2),
        "six-fold": np.repeat(np.arange(1.0, 101.0), 6),
    }.items():
        dense = np.apply_along_axis(turned(d, rng), 0, np.eye(d.size))
        dense = 0.5 * (dense + dense.T)
        found.append(Matrix(f"{name}, dense", dense, d, {"sigma": float(d[330])}))
        found.append(Matrix(f"{name}, diagonal", sp.diags_array(d).tocsc(), d, {"sigma": float(d[330])}))
    A, M, of_square = pencil_of_a_square(30)
    twofold = of_square[np.flatnonzero(np.diff(of_square) < 1e-9 * of_square[:-1])]
    for sigma, kind in ((of_square[0], "simple"), (twofold[2], "double"), (twofold[40], "double")):
        for mode in ("normal", "buckling", "cayley"):
            arguments = {"sigma": float(sigma), "M": M, "mode": mode}
            found.append(Matrix(f"elements, {kind}, {mode}", A, of_square, arguments))
    six_A, six_M = (sp.block_diag([X] * 6, format="csc") for X in (A, M))
    found.append(
        Matrix("elements, six-fold", six_A, np.repeat(of_square, 6), {"sigma": float(of_square[0]), "M": six_M})
    )
    a, m = np.r_[np.zeros(3), np.arange(1.0, 798.0)], np.ones(800)
    A, M = congruent(a, m, rng)
    found.append(Matrix("singular A", A, a, {"sigma": 0.0, "M": M}))
    found.append(Matrix("exactly singular", A, a, {"sigma": 2.0, "M": M}))
    m[-200:] = 0.0
    A, M = congruent(a, m, rng)
    found.append(Matrix("singular A and M", A, a[:-200], {"sigma": 0.0, "M": M}))
    found.append(Matrix("singular M", A, a[:-200], {"sigma": 2.0, "M": M}))
    phase = sp.diags_array(np.exp(2j * np.pi * rng.uniform(size=1600)))
    hermitian = (phase @ grid @ phase.conj()).tocsc()
    found.append(Matrix("complex grid, double", hermitian, of_grid, {"sigma": float(double[3])}))
    return found


def real():
    """What is installed of matrices that others have made, each at both ends and around 0."""
    matrices = {}
    try:
        import pyamg

        for name in PYAMG:
            A = pyamg.gallery.load_example(name)["A"]
            matrices[f"PyAMG {name}"] = sp.csc_array((A + A.T) / 2)
    except ModuleNotFoundError:
        pass
    try:
        import networkx as nx

        graphs = {
            "Barabasi-Albert": nx.barabasi_albert_graph(2000, 3, seed=0),
            "Watts-Strogatz": nx.watts_strogatz_graph(1500, 10, 0.1, seed=0),
            "grid": nx.grid_2d_graph(40, 25),
            "hypercube": nx.hypercube_graph(10),
            "clusters": nx.connected_caveman_graph(60, 12),
            "in pieces": nx.gnm_random_graph(1500, 1400, seed=0),
        }
        for name, graph in graphs.items():
            matrices[f"{name}, Laplacian"] = sp.csc_array(nx.laplacian_matrix(graph).astype(float))
            matrices[f"{name}, adjacency"] = sp.csc_array(nx.adjacency_matrix(graph).astype(float))
    except ModuleNotFoundError:
        pass
    found = []
    for name, A in matrices.items():
        eigenvalues = np.linalg.eigvalsh(A.toarray())
        for arguments in ({"which": "LA"}, {"which": "SA"}, {"sigma": 0.0}):
            found.append(Matrix(name, A, eigenvalues, arguments))
    return found


@cache
def matrices(quick):
    everything = [*shifts(), *real()]
    return everything[::5] if quick else everything


def wanted(problem):
    """Return the K eigenvalues that the arguments mean, so that two lists can be compared."""
    values, sigma = np.sort(problem.eigenvalues), problem.arguments.get("sigma")
    if sigma is None:
        return values[-K:] if problem.arguments["which"] == "LA" else values[:K]
    mode = problem.arguments.get("mode", "normal")
    return np.sort(_nearness(values, sigma, mode))[:K]


def _nearness(values, sigma, mode):
    """1 / |transformed value|: which="LM" asks for the smallest."""
    distance = np.abs(np.asarray(values) - sigma)
    if mode == "normal":
        return distance
    return distance / np.abs(values if mode == "buckling" else values + sigma)


SOLVERS = {
    "fastlanczos": lambda A, **arguments: fl.eigsh(A, K, **arguments),
    "scipy": lambda A, **arguments: eigsh(A, K, v0=np.random.default_rng(0).normal(size=A.shape[0]), **arguments),
}


def measure(problem, solve, missed_above):
    """Solve; return what the table says of it. Errors and residuals are relative to the norms of A and M."""
    A, arguments = problem.A, problem.arguments
    M, sigma, mode = arguments.get("M"), arguments.get("sigma"), arguments.get("mode", "normal")
    shown = arguments.get("which", "") if sigma is None else f"sigma = {sigma:.4g}"
    row = {"operator": problem.name, "n": A.shape[0], "which": shown, "failure": None}
    began = time.perf_counter()
    try:
        w, V = solve(A, **arguments)
    except Exception as error:
        return {**row, "failure": f"{type(error).__name__}: {error}"[:120]}
    seconds = time.perf_counter() - began
    norm = float(np.abs(problem.eigenvalues).max())
    values = np.sort(w if sigma is None else _nearness(w, sigma, mode))
    scale = norm if mode == "normal" else 1.0  # what the other modes compare is relative
    errors = np.abs(values - wanted(problem)) / scale
    MV = V if M is None else M @ V
    size = float(abs(A).sum(axis=0).max()) + np.abs(w).max() * (1.0 if M is None else float(abs(M).sum(axis=0).max()))
    metric = A if mode == "buckling" else M
    gram = V.conj().T @ (V if metric is None else metric @ V)
    residuals = np.linalg.norm(A @ V - MV * w, axis=0) / np.linalg.norm(V, axis=0) / size
    return {
        **row,
        "error": float(errors.max()),
        "missed": int(np.count_nonzero(errors > missed_above)),
        "residual": float(residuals.max()),
        "orthogonality": float(np.abs(gram - np.eye(K)).max()),
        "seconds": seconds,
    }
