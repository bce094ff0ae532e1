"""All eigenpairs in an interval, their number known beforehand or told by the search.

Of matrices whose entries can be read A - t M is factored: the signs of its pivots count the eigenvalues below t
(Sylvester's law of inertia), and those in an interval are the nearest to its middle, so many of them. Intervals with
many are cut. Of other operators the pairs at an end, or nearest to the middle, are asked for, more and more of them,
until one is beyond the interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

from fastlanczos.arrays.cpu import is_tensor, matrix_of_tensor, on_device
from fastlanczos.eigenpairs.results import EigshInfo
from fastlanczos.operators.entries import is_explicit

__all__ = ["Moved", "check_interval", "pairs_in"]

_MOST_AT_ONCE = 48  # pairs of a piece
_GAP = 1e-2  # half a gap to cut at, over the average distance of eigenvalues
_PARTS = 0.5 + 0.2 * np.array([0.013, -0.271, 0.297, -0.523, 0.541, -0.761, 0.787, -0.983, 0.967])  # to cut at
_FIRST = 8  # pairs that are asked for of an operator whose number is not known, at first
_DENSE = 600  # rows up to which LAPACK is asked
_BESIDE = 1e-8  # of the size
_EPSILON = float(np.finfo(np.float64).eps)


def check_interval(interval: Any) -> tuple[float, float]:
    """Return (low, high), or raise what is wrong with it."""
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        raise ValueError(f"interval must be two numbers (low, high), got {interval!r}") from None
    if not low < high:
        raise ValueError(f"interval must be (low, high) with low < high, got {interval!r}")
    return low, high


def pairs_in(
    A: Any, M: Any, interval: tuple[float, float], dim: int | None, find: Callable[..., Any]
) -> tuple[Any, Any, EigshInfo]:
    """Return values, vectors (n, count) and what it took; `find` is `eigsh` of A and M with other arguments given.

    Values that are an end of the interval to rounding may or may not be among them.
    """
    A_entries, M_entries = (matrix_of_tensor(X) if is_tensor(X) and not on_device(X) else X for X in (A, M))
    if is_explicit(A_entries) and (M is None or is_explicit(M_entries)):
        return _of_matrix(_Inertia(A_entries, M_entries), interval, find)
    return _of_operator(interval, dim or int(A.shape[0]), find)


class _Inertia:
    """How many eigenvalues of A x = lambda M x lie below a number."""

    def __init__(self, A: Any, M: Any) -> None:
        self.n = int(A.shape[0])
        self.A = scipy.sparse.csc_array(A)
        self.M = scipy.sparse.eye_array(self.n, format="csc") if M is None else scipy.sparse.csc_array(M)
        self.size = float(abs(self.A).max())

    def below(self, t: float) -> int:
        """Return their number."""
        if not np.isfinite(t):
            return 0 if t < 0 else self.n
        count = self._negative_pivots(t)
        if count is None:  # a pivot is zero, as in matrices of integers: next to t none is, and small ones cost digits
            step = _BESIDE * max(abs(t), self.size)
            count, other = self._negative_pivots(t - step), self._negative_pivots(t + step)
            count = count if count == other else None
        if count is None:
            raise RuntimeError(
                f"A - {t:.6g} M could not be factored without exchanging rows, so the eigenvalues below {t:.6g} could "
                "not be counted: move that end of the interval slightly"
            )
        return count

    def gap(self, low: float, high: float, count: int) -> tuple[float, int] | None:
        """Return a number around the middle with no eigenvalue next to it, and how many lie below; None if it is hard.

        Vectors of both sides are found apart, and are as orthogonal as their values are distant.
        """
        half = _GAP * (high - low) / count
        for part in _PARTS:
            t = low + part * (high - low)
            below = self.below(t - half)
            if below == self.below(t + half):
                return t, below
        return None

    def _negative_pivots(self, t: float) -> int | None:
        K = scipy.sparse.csc_array(self.A - t * self.M)
        if self.n <= _DENSE:
            D = scipy.linalg.ldl(K.toarray(), hermitian=True)[1]
            return int(np.count_nonzero(np.linalg.eigvalsh(D) < 0.0))
        try:
            factors = scipy.sparse.linalg.splu(
                K, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError:  # exactly singular
            return None
        if not np.array_equal(factors.perm_r, factors.perm_c):
            return None
        return int(np.count_nonzero(factors.U.diagonal().real < 0.0))


class Moved:
    """A - center I, of an operator whose entries cannot be read."""

    def __init__(self, A: Any, dim: int | None, center: float) -> None:
        multiply = getattr(A, "matvec", None) or getattr(A, "__matmul__", None) or A
        self.matvec = lambda v: multiply(v) - center * v
        n = int(A.shape[0]) if dim is None else dim
        self.shape = n, n
        self.dtype = getattr(A, "dtype", np.dtype("float64"))
        if hasattr(A, "device"):
            self.device = A.device


def _of_matrix(
    inertia: _Inertia, interval: tuple[float, float], find: Callable[..., Any]
) -> tuple[Any, Any, EigshInfo]:
    low, high = interval
    below = {low: inertia.below(low), high: inertia.below(high)}
    answers = []
    if below[high] > below[low]:
        ends = [end for end in (low, high) if not np.isfinite(end)]
        if ends:  # a middle is wanted
            margin = 1e-3 * inertia.size
            if low == -np.inf:
                low = float(find(k=1, which="SA")[0][0]) - margin
                below[low] = 0
            if high == np.inf:
                high = float(find(k=1, which="LA")[0][0]) + margin
                below[high] = inertia.n
        waiting = [(low, high)]
        while waiting:
            first, last = waiting.pop()
            count = below[last] - below[first]
            if not count:
                continue
            cut = inertia.gap(first, last, count) if _MOST_AT_ONCE < count < inertia.n else None
            if cut is not None:
                below[cut[0]] = cut[1]
                waiting += [(first, cut[0]), (cut[0], last)]
                continue
            answers.append(find(k=count, sigma=0.5 * (first + last)) if count < inertia.n else find(k=count))
            w = np.asarray(answers[-1][0], dtype=float)
            rounding = 1e-10 * max(abs(first), abs(last), inertia.size * _EPSILON)
            inside = np.count_nonzero((w >= first - rounding) & (w <= last + rounding))
            if inside != count:
                raise RuntimeError(
                    f"{count} eigenvalues lie between {first:.6g} and {last:.6g} by the inertia, and {inside} were "
                    "found: an end of the interval may be an eigenvalue, so move it slightly"
                )
    return _joined(answers, find)


def _of_operator(interval: tuple[float, float], n: int, find: Callable[..., Any]) -> tuple[Any, Any, EigshInfo]:
    low, high = interval
    if np.isinf(low) and np.isinf(high):
        return find(k=n)  # type: ignore[no-any-return]
    if np.isinf(low):
        how = {"which": "SA"}
    elif np.isinf(high):
        how = {"which": "LA"}
    else:
        how = {"which": "SM", "center": 0.5 * (low + high)}  # type: ignore[dict-item]
    k, products, restarts, start = min(_FIRST, n), 0, 0, None
    while True:
        w, V, info = find(k=k, v0=start, **how)
        products, restarts = products + info.num_matvecs, restarts + info.num_restarts
        values = np.asarray(w, dtype=float)
        inside = np.flatnonzero((values >= low) & (values <= high))
        if inside.size < k or k == n:
            break
        k, start = min(2 * k, n), V
    info = EigshInfo(products, restarts, info.residuals[inside], info.converged[inside], info.products)
    return w[inside], V[:, inside], info


def _joined(answers: list[Any], find: Callable[..., Any]) -> tuple[Any, Any, EigshInfo]:
    if not answers:
        w, V, info = find(k=1)
        return w[:0], V[:, :0], EigshInfo(0, 0, info.residuals[:0], info.converged[:0], info.products)
    if len(answers) == 1:
        return answers[0]  # type: ignore[no-any-return]
    values = np.concatenate([np.asarray(w, dtype=float) for w, _, _ in answers])
    order = np.argsort(values, kind="stable")
    vectors = [V for _, V, _ in answers]
    infos = [info for _, _, info in answers]
    if is_tensor(vectors[0]):
        import torch

        w, V = torch.cat([w for w, _, _ in answers])[order], torch.cat(vectors, dim=1)[:, order]
    else:
        w, V = np.concatenate([w for w, _, _ in answers])[order], np.hstack(vectors)[:, order]
    info = EigshInfo(
        sum(i.num_matvecs for i in infos),
        sum(i.num_restarts for i in infos),
        np.concatenate([i.residuals for i in infos])[order],
        np.concatenate([i.converged for i in infos])[order],
        infos[0].products,
    )
    return w, V, info
