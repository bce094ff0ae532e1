"""What the engine is held against: Lanczos as one writes it in NumPy."""

import numpy as np


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
