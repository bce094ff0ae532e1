"""The step's recurrence, slow and obvious, and the measures of what a run must satisfy."""

import numpy as np

from fastlanczos.engine.host_run import HostRun

EPS = np.finfo(float).eps


def one_sweep(matvec, v0, num_steps):
    """The recurrence of step.hpp with dense matrices: alpha, beta (the last one the rest), V, breakdown, sweeps.

    Complex vectors are as good as real ones.
    """
    V, T, sweeps = np.zeros((0, v0.size), v0.dtype), np.zeros((0, 0)), 0
    u, h, beta = v0 / np.linalg.norm(v0), np.zeros(0), 0.0
    alphas, betas = [], []
    while True:
        k = len(V)
        z = matvec(u)
        nu = np.sqrt(1 - np.vdot(h, h).real)
        coupling = np.zeros(k)  # A V^T = V^T T + v_k coupling
        if k:
            betas[-1] = beta = beta * nu
            coupling[-1] = beta
        c = T @ h
        alpha = (np.vdot(u, z) - 2 * nu * (coupling @ h) - np.vdot(h, c)).real / nu**2
        v = (u - h @ V) / nu
        w = (z - c @ V - (coupling @ h) * v) / nu - alpha * v - coupling @ V
        V, sweeps = np.vstack([V, v]), sweeps + 1
        g, beta_next = V.conj() @ w, np.linalg.norm(w)
        alphas.append(alpha + g[-1].real)
        betas.append(beta_next)
        T = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
        scale = np.abs(T).sum(axis=1).max() + beta_next
        while True:
            if betas[-1] <= 32 * EPS * scale or len(V) == v0.size:
                return np.array(alphas), np.array(betas), V, True, sweeps
            h, beta = g / betas[-1], betas[-1]
            if np.vdot(h, h).real <= 0.5:
                break
            w = w - g @ V
            g, betas[-1], sweeps = V.conj() @ w, np.linalg.norm(w), sweeps + 1
        if len(V) == num_steps:
            return np.array(alphas), np.array(betas), V, False, sweeps
        u = w / beta


def golub_kahan(multiply, adjoint, v0, num_steps):
    """The recurrence of bidiagonal.hpp with dense matrices: alpha, beta (the last one the rest), U, V."""
    V, p, h = np.zeros((0, v0.size), v0.dtype), v0 / np.linalg.norm(v0), np.zeros(0)
    U, q, e = None, None, np.zeros(0)
    alphas, betas = [], []
    for j in range(num_steps):
        T = np.diag(alphas) + np.diag(betas[: j - 1], 1) if j else np.zeros((0, 0))
        x, nu = multiply(p), np.sqrt(1 - np.vdot(h, h).real)
        if j == 0:
            w = x
            U = np.zeros((0, x.size), x.dtype)
        else:
            betas[-1] *= nu
            U = np.vstack([U, (q - e @ U) / np.sqrt(1 - np.vdot(e, e).real)])
            w = (x - (T @ h) @ U) / nu - betas[-1] * U[-1]
        alphas.append(np.linalg.norm(w))
        q, e = w / alphas[-1], U.conj() @ w / alphas[-1]
        y, mu = adjoint(q), np.sqrt(1 - np.vdot(e, e).real)
        alphas[-1] *= mu
        V = np.vstack([V, (p - h @ V) / nu])
        c = np.r_[T.T @ e, betas[-1] * e[-1] if j else 0.0]
        w = (y - c @ V) / mu - alphas[-1] * V[-1]
        betas.append(np.linalg.norm(w))
        p, h = w / betas[-1], V.conj() @ w / betas[-1]
    return np.array(alphas), np.array(betas), U, V


def orthogonality(V):
    return float(np.abs(V.conj() @ V.T - np.eye(len(V))).max())


def residual(matrix_rows, alpha, beta, V, norm):
    """max |A V^T - V^T T| / |A| over all but the last column; matrix_rows is A V^T transposed."""
    if norm == 0:
        return float(np.abs(matrix_rows).max())
    # In units of the norm, since the squares of 1e290 are out of range.
    T = (np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)) / norm
    R = matrix_rows / norm - T @ V
    return float(np.abs(R[:-1]).max()) if len(R) > 1 else 0.0


def restarted(d, rows, keep, restarts):
    """A run on diag(d) that has been restarted from the Ritz vectors at both ends, and filled again."""
    r = HostRun(d.size, rows, "float64")
    r.start(np.random.default_rng(1).normal(size=d.size))
    for cycle in range(restarts + 1):
        if cycle > 0:
            theta, S = np.linalg.eigh(r.projected())
            kept = np.r_[: keep // 2, rows - keep + keep // 2 : rows]
            scale = np.abs(theta).max()
            r.restart(np.ascontiguousarray(S[:, kept].T), theta[kept], r.remainder * S[-1, kept], scale, r.exponent)
        while not r.finished:
            r.advance(d * r.vector)
    return r


class Noisy:
    """Products A u + noise, the noise a fixed one for each step: the candidate overlaps the rows, nu is below 1.

    Every term of the scalars then counts, where without noise most of them vanish to rounding.
    """

    def __init__(self, n=120, steps=14, amplitude=0.02, jump=0, is_complex=False):
        rng = np.random.default_rng(5)
        self.d, self.v0 = np.sort(rng.normal(size=n)), rng.normal(size=n)
        self.noise = amplitude * rng.normal(size=(steps, n))
        if is_complex:
            self.v0 = self.v0 + 1j * rng.normal(size=n)
            self.noise = self.noise + amplitude * 1j * rng.normal(size=(steps, n))
        # From the middle on everything is 2^jump times as large.
        self.factors = [2.0 ** (jump * (k >= steps // 2)) for k in range(steps)]
        self.steps = steps

    def product(self, k, u):
        """Product number k with u."""
        return self.factors[k] * (self.d * u + self.noise[k])

    def reference(self):
        """The recurrence as it is written down: alpha, beta, V."""
        count = iter(range(self.steps))
        alpha, beta, V, breakdown, _ = one_sweep(lambda u: self.product(next(count), u), self.v0, self.steps)
        assert not breakdown
        return alpha, beta, V


class Growing:
    """A symmetric chain whose entries grow by 10^300 from its first to its last, the first products with noise."""

    def __init__(self, n=40):
        d = np.r_[np.full(6, 1e-150), np.geomspace(1e-150, 1e150, n - 6)]
        beside = 0.3 * np.sqrt(d[:-1] * d[1:])
        self.T, self.v0 = np.diag(d) + np.diag(beside, 1) + np.diag(beside, -1), np.eye(n)[0]
        self.noise = 0.05 * np.random.default_rng(3).normal(size=(3, n)) * d[:3, None]
        self.noise[:, 4:] = 0.0  # which the start of the chain alone sees

    def product(self, k, u):
        """Product number k with u."""
        return self.T @ u + (self.noise[k] if k < 3 else 0.0)


class FewValues:
    """A diagonal matrix with few distinct values: the run breaks down at their number."""

    def __init__(self, n=90):
        self.d = np.repeat([1.0, 2.0, 5.0], n // 3)
        self.v0 = np.random.default_rng(7).normal(size=n)


def coupled(coupling):
    """Two blocks that hang together by one entry, relative to the norm, and a start in the first."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(60, 60))
    A = A + A.T
    A[:20, 20:] = A[20:, :20] = 0.0
    A[20:, 20:] *= 1e-2  # or what seeps into the second block grows in it long before the first is used up
    A[19, 20] = A[20, 19] = coupling * np.linalg.norm(A, 2)
    return A, np.r_[rng.normal(size=20), np.zeros(40)]
