"""What the engine is held against: Lanczos as one writes it in NumPy and in torch, and reading memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from report import median_seconds

import fastlanczos as fl


def cgs2(matvec, v0, num_steps):
    """Run Lanczos, orthogonalized twice against the whole basis: four sweeps over it a step.

    Returns alpha (m,), beta (m - 1,), the basis (m, n), and the norm of what is left.
    """
    V = np.empty((num_steps, v0.size))
    alpha, beta = np.empty(num_steps), np.empty(num_steps)
    V[0] = v0 / np.linalg.norm(v0)
    for k in range(num_steps):
        w = matvec(V[k])
        alpha[k] = V[k] @ w
        for _ in range(2):
            w -= (V[: k + 1] @ w) @ V[: k + 1]
        beta[k] = np.linalg.norm(w)
        if k + 1 < num_steps:
            np.divide(w, beta[k], out=V[k + 1])
    return alpha, beta[:-1], V, beta[-1]


def cgs2_torch(matvec, v0, num_steps):
    """As `cgs2`, on torch tensors of any device, which it never waits for; returns alpha and beta."""
    import torch

    V = torch.empty((num_steps, v0.numel()), dtype=torch.float64, device=v0.device)
    alpha, beta = (torch.empty(num_steps, dtype=torch.float64, device=v0.device) for _ in range(2))
    V[0] = v0 / torch.linalg.vector_norm(v0)
    for k in range(num_steps):
        w = matvec(V[k])
        alpha[k] = torch.dot(V[k], w)
        for _ in range(2):
            w -= torch.mv(V[: k + 1], w) @ V[: k + 1]
        beta[k] = torch.linalg.vector_norm(w)
        if k + 1 < num_steps:
            torch.div(w, beta[k], out=V[k + 1])
    return alpha, beta[:-1]


def three_terms(matvec, v0, num_steps):
    """Run the three-term recurrence in NumPy, with the fewest passes that it lets one write."""
    v, before, b = v0 / np.linalg.norm(v0), np.zeros_like(v0), 0.0
    alpha, beta = np.empty(num_steps), np.empty(num_steps)
    for k in range(num_steps):
        w = matvec(v)
        w -= b * before
        alpha[k] = v @ w
        w -= alpha[k] * v
        b = beta[k] = np.linalg.norm(w)
        v, before = w / b, v
    return alpha, beta[:-1]


def touch_memory(entries):
    """Touch and free memory for so many float64 entries.

    A virtual machine's host takes back what has been free for seconds, and getting it again (up to 2 s a gigabyte where
    this was written, 0.04 s otherwise) would be charged to whoever comes after the slowest.
    """
    np.empty(entries).fill(1.0)


def read_seconds(V):
    """Return the median time to read all of V once, in two ways: {"sum": ..., "dot": ...}.

    "sum" adds up, NumPy's reduction in as many threads as the engine has; "dot" is BLAS's V . V, which reads as fast as
    the machine lets it.
    """
    flat = V.reshape(-1)
    parts = np.array_split(flat, fl.get_num_threads())
    with ThreadPoolExecutor(len(parts)) as pool:
        ways = {"sum": lambda: list(pool.map(np.add.reduce, parts)), "dot": lambda: np.dot(flat, flat)}
        return {name: median_seconds(read, 5)[0] for name, read in ways.items()}
