"""Generalized Davidson: a basis that grows by preconditioned residuals, for an end of a spectrum.

Each step takes the residual r of the first wanted Ritz pair that has not converged, and adds P r, an approximate
solution of (A - lambda I) t = r, to the basis (Davidson, J. Comput. Phys. 17, 1975; Morgan and Scott, SIAM J. Sci.
Stat. Comput. 7, 1986). Products are kept beside the basis, so that residuals cost none. A restart keeps the best Ritz
vectors and those of the step before (+k: Stathopoulos and Saad, Electron. Trans. Numer. Anal. 7, 1998).

P with a shift inside of the spectrum leads to what lies near that shift, so that a random start would converge to
pairs that are not wanted. The basis therefore begins with what P itself takes for the wanted eigenvectors: Ritz vectors
of P, for a shift beyond its spectrum, which cost no products. A random vector beside them shows second copies. When the
wanted pairs have converged, another random vector is added. A few steps without P, which favour nothing but the end of
the spectrum, and then the first pair that is not wanted, followed until it is resolved, show what the start has hidden.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.results import Eigenpairs, EigshState, NotConverged
from fastlanczos.eigenpairs.wanted import Wanted

__all__ = ["Davidson", "preconditioner_of"]

_EPSILON = float(np.finfo(np.float64).eps)
_RESOLVED = 0.1  # residual of the first pair that is not wanted, relative to its distance from those that are
_PLAIN_CHECKS, _MOST_CHECKS = 8, 60  # steps of that search without P, and in all
_STEPS_WITH_P = 60  # for the start


def preconditioner_of(P: Any, dim: int) -> Callable[[Any, float], Any]:
    """Return (r, shift) -> P r for a matrix, a LinearOperator, or a callable of r or of r and the shift."""
    shape = getattr(P, "shape", None)
    if shape is not None:
        if tuple(shape) != (dim, dim):
            raise ValueError(f"preconditioner has shape {tuple(shape)}; want {(dim, dim)}, the shape of A")
        multiply = P.matvec if hasattr(P, "matvec") else P.__matmul__
        return lambda r, shift: multiply(r)
    if not callable(P):
        raise TypeError(
            "preconditioner must be a matrix, a LinearOperator, or a callable of a residual, or of a residual and the "
            f"shift; got {type(P).__name__}"
        )
    try:
        parameters = [
            p
            for p in inspect.signature(P).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
        ]
        takes_shift = len(parameters) >= 2
    except (TypeError, ValueError):  # a compiled function tells nothing
        takes_shift = False
    return P if takes_shift else lambda r, shift: P(r)


class Davidson:
    """Finds the `wanted` pairs (LA or SA) with products of `multiply`, from memory for so many `rows`."""

    def __init__(
        self,
        multiply: Callable[[Any], Any],
        precondition: Callable[[Any, float], Any],
        wanted: Wanted,
        *,
        dim: int,
        dtype: str,
        rows: int,
        tol: float,
        draw: Callable[[], Any],
        max_restarts: int,
        multiplicities: bool,
        callback: Callable[[EigshState], object] | None,
    ) -> None:
        self._multiply = multiply
        self._precondition = precondition
        self._wanted = wanted
        self._side = -1.0 if wanted.which == "LA" else 1.0  # the lowest values of side A are wanted
        self._tol = tol
        self._draw = draw
        self._max_restarts = max_restarts
        self._multiplicities = multiplicities
        self._callback = callback
        self._most = min(rows // 2, dim)
        self._V = np.empty((self._most, dim), dtype)
        self._AV = np.empty((self._most, dim), dtype)
        self._H = np.zeros((self._most, self._most), dtype)
        self._count = 0
        self.products = self.restarts = 0
        self.residuals = np.empty(0)
        self.norm = 0.0

    def solve(self, v0: Any) -> Eigenpairs:
        """Return the wanted pairs; raise NotConverged with those that have converged."""
        k = self._wanted.k
        self._add(v0)
        for x in self._first_guesses(v0):
            self._add(x)
        if self._multiplicities and self._count > 1:
            self._add(self._draw())
        checks, checking, before = 0, False, np.empty((0, 0))
        while True:
            values, Y = scipy.linalg.eigh(self._side * self._H[: self._count, : self._count])
            self.norm = max(self.norm, float(np.abs(values).max()))
            if self._count + 2 >= self._most < self._V.shape[1]:
                before = self._restart(values, Y, before)
                continue
            target, residuals, r = self._first_open(values, Y)
            self._report(values[:k], residuals)
            if target is None and self._count >= k:
                if not self._multiplicities or self._count >= self._V.shape[1]:
                    break
                if not checking:
                    checking = True
                    self._add(self._draw())
                    continue
                checks += 1
                r = self._residual(values, Y, k) if values.size > k else self._draw()
                gap = values[k] - values[k - 1] if values.size > k else 0.0
                small = np.linalg.norm(r) <= _RESOLVED * max(gap, self._allowed(values[min(k, values.size - 1)]))
                if checks > _MOST_CHECKS or (checks > _PLAIN_CHECKS and values.size > k and small):
                    break
                if checks <= _PLAIN_CHECKS:
                    t = self._AV[self._count - 1]
                    if not (self._add(t) or self._add(self._draw())):
                        break
                    continue
                target = k
            elif target is None:
                target, r = 0, self._draw()
            elif checking and checks:
                checking, checks = False, 0  # something was hidden: look again when it has converged
            # Not beyond what the residual says: a shift inside of the spectrum leads astray.
            shift = self._side * (values[min(target, values.size - 1)] - self._uncertainty(values, r))
            before = Y[:, : k + 1]
            if not (self._add(self._precondition(r.copy(), float(shift))) or self._add(r) or self._add(self._draw())):
                break
        X = Y[:, :k].T @ self._V[: self._count]
        self.residuals = np.array([float(np.linalg.norm(self._residual(values, Y, i))) for i in range(k)])
        values = self._side * values[:k]
        order = np.argsort(values, kind="stable")
        self.residuals = self.residuals[order]
        return Eigenpairs(values[order], X[order])

    def _uncertainty(self, values: Float64, r: Any) -> float:
        norm = float(np.linalg.norm(r))
        spread = float(values[-1] - values[0])
        return norm if norm > 1e-2 * spread else norm * norm / max(spread, 1e-300)

    def _first_guesses(self, v0: Any) -> list[Any]:
        """Ritz vectors of P for a shift beyond its spectrum, as far as that can be found: no product is spent."""
        rho = float(self._H[0, 0].real)
        spread = float(np.linalg.norm(self._AV[0] - rho * self._V[0]))
        before: list[Any] | None = None
        for power in range(12):
            shift = rho - self._side * spread * 2.0**power
            found = self._ritz_of_preconditioner(v0, shift)
            if found is None:
                return []
            vectors, ends = found
            if ends[0] * ends[1] > 0.0:  # one sign: the shift is beyond
                return list(vectors)
            before = vectors
        return list(before or [])

    def _ritz_of_preconditioner(self, v0: Any, shift: float) -> tuple[Any, tuple[float, float]] | None:
        """The largest Ritz pairs of side * P from some Lanczos steps, and the ends of what they show."""
        steps = min(_STEPS_WITH_P, len(v0))
        W = np.empty((steps, len(v0)), self._V.dtype)
        alpha, beta = np.zeros(steps), np.zeros(steps)
        w = np.asarray(v0, dtype=W.dtype) / np.linalg.norm(v0)
        for m in range(steps):
            W[m] = w
            z = self._side * np.asarray(self._precondition(w.copy(), shift)).reshape(-1)
            if not np.all(np.isfinite(z)):
                return None
            alpha[m] = float((w.conj() @ z).real)
            for _ in range(2):
                z = z - (W[: m + 1] @ z.conj()).conj() @ W[: m + 1]
            beta[m] = np.linalg.norm(z)
            if beta[m] <= 1e-12 * abs(alpha[: m + 1]).max():
                break
            w = z / beta[m]
        values, Y = scipy.linalg.eigh_tridiagonal(alpha[: m + 1], beta[:m])
        chosen = np.argsort(-values)[: self._wanted.k + 1]
        return Y[:, chosen].T @ W[: m + 1], (float(values[0]), float(values[-1]))

    def _allowed(self, value: float) -> float:
        return float(max(self._tol * max(abs(value), _EPSILON ** (2 / 3) * self.norm), 64.0 * _EPSILON * self.norm))

    def _residual(self, values: Float64, Y: NDArray[Any], i: int) -> NDArray[Any]:
        y = Y[:, i]
        return np.asarray(self._side * (y @ self._AV[: self._count]) - values[i] * (y @ self._V[: self._count]))

    def _first_open(self, values: Float64, Y: NDArray[Any]) -> tuple[int | None, Float64, Any]:
        """The first wanted pair that has not converged, the residual norms up to it, and its residual."""
        norms = np.full(min(self._wanted.k, values.size), np.inf)
        for i in range(norms.size):
            r = self._residual(values, Y, i)
            norms[i] = np.linalg.norm(r)
            if norms[i] > self._allowed(values[i]):
                return i, norms, r
        return None, norms, None

    def _add(self, t: Any) -> bool:
        """Add a vector to the basis, with its product; False where nothing is left of it."""
        t = np.asarray(t, dtype=self._V.dtype).reshape(-1)
        norm = float(np.linalg.norm(t))
        if not 0.0 < norm < np.inf:
            return False
        m, t = self._count, t / norm
        for _ in range(3):
            t = t - (self._V[:m] @ t.conj()).conj() @ self._V[:m]
            left = float(np.linalg.norm(t))
            if left < 1e-10 or m == self._most:
                return False
            t = t / left
            if left > 0.5:
                break
        self._V[m] = t
        self._AV[m] = self._multiply(t.copy())
        self.products += 1
        self._count = m + 1
        column = (self._V[: m + 1] @ self._AV[m].conj()).conj()
        self._H[: m + 1, m] = column
        self._H[m, : m + 1] = column.conj()
        self._H[m, m] = column[m].real
        return True

    def _restart(self, values: Float64, Y: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
        self.restarts += 1
        if self.restarts > self._max_restarts:
            k = self._wanted.k
            norms = np.array([np.linalg.norm(self._residual(values, Y, i)) for i in range(min(k, values.size))])
            good = np.flatnonzero(norms <= [self._allowed(v) for v in values[: norms.size]])
            pairs = Eigenpairs(self._side * values[good], Y[:, good].T @ self._V[: self._count])
            raise NotConverged(f"not converged: {self._max_restarts} restarts were not enough", pairs)
        keep = max(self._wanted.k + 2, self._most // 3)
        older = np.zeros((self._count, before.shape[1] if before.size else 0), dtype=Y.dtype)
        older[: before.shape[0]] = before
        Q, _ = scipy.linalg.qr(np.hstack([Y[:, :keep], older]), mode="economic")
        Q = Q[:, : self._most - 2]
        V, AV = Q.T @ self._V[: self._count], Q.T @ self._AV[: self._count]
        H = Q.conj().T @ self._H[: self._count, : self._count] @ Q
        self._count = len(V)
        self._V[: self._count], self._AV[: self._count] = V, AV
        self._H[: self._count, : self._count] = 0.5 * (H + H.conj().T)
        return np.eye(self._count, self._wanted.k + 1)

    def _report(self, values: Float64, residuals: Float64) -> None:
        if self._callback is None:
            return
        done = int(sum(r <= self._allowed(v) for r, v in zip(residuals, values, strict=True)))
        order = np.argsort(self._side * values)
        state = EigshState(self.products, self.restarts, done, (self._side * values)[order], residuals[order])
        try:
            self._callback(state)
        except StopIteration:
            raise NotConverged("the callback ended the run", Eigenpairs(np.empty(0), self._V[:0])) from None
