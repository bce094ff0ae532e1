"""Results of a search for eigenpairs: its state while it runs, the pairs, and the exception if some are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64

__all__ = ["Eigenpairs", "EigshInfo", "EigshState", "Judged", "NotConverged"]


@dataclass(frozen=True)
class EigshState:
    """State of a search, passed to `eigsh`'s callback after each restart.

    Attributes
    ----------
    num_products, num_restarts : int
        Products with A and restarts so far.
    num_converged : int
        Wanted pairs whose residual estimate is below the tolerance.
    values, residuals : ndarray, shape (<= k,), float64
        Estimates of the wanted eigenvalues, ascending, and of the norms of their residuals.
    """

    num_products: int
    num_restarts: int
    num_converged: int
    values: Float64
    residuals: Float64

    def __repr__(self) -> str:
        return (
            f"EigshState({self.num_converged} of {self.values.size} converged, {self.num_restarts} restarts, "
            f"{self.num_products} products)"
        )


@dataclass(frozen=True)
class EigshInfo:
    """What `eigsh` or `svds` did, returned with `return_info=True`.

    Attributes
    ----------
    num_matvecs, num_restarts : int
        Products with A, or with the operator that shifts it, and restarts. `svds` counts products with the adjoint too.
    residuals : ndarray, shape (k,), float64
        Residual norms of the pairs: those that were verified, with A and M if there is a shift, otherwise by the
        recurrence, which a product with a random combination of all pairs has confirmed.
    converged : ndarray, shape (k,), bool
        Whether each pair has converged, and been verified. Where one has not, an exception is raised, unless
        `return_unconverged` is True.
    products : {"cheap", "dear"}
        Which price of a product the search was planned for; see docs/eigenpairs.md.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> A = np.diag(np.arange(1000.0))
    >>> w, v, info = fl.eigsh(A, k=2, return_info=True)
    >>> info.products, info.converged.tolist(), info.residuals.shape
    ('dear', [True, True], (2,))
    """

    num_matvecs: int
    num_restarts: int
    residuals: Float64
    converged: NDArray[np.bool_]
    products: str

    def __repr__(self) -> str:
        return (
            f"EigshInfo({int(self.converged.sum())} of {self.converged.size} converged, {self.num_matvecs} products "
            f"({self.products}), {self.num_restarts} restarts, residuals to {self.residuals.max(initial=0.0):.1e})"
        )


@dataclass(frozen=True)
class Eigenpairs:
    """Values in ascending order, and as many leading rows of the run, the eigenvectors."""

    values: Float64
    vectors: Any  # (k, n)


@dataclass(frozen=True)
class Judged:
    """Pairs that have been looked at with products: their residual norms, and which of them hold."""

    pairs: Eigenpairs
    residuals: Float64
    good: NDArray[np.bool_]

    def verified(self) -> Eigenpairs:
        """Return the pairs that hold."""
        if self.good.all():
            return self.pairs
        return Eigenpairs(self.pairs.values[self.good], self.pairs.vectors[np.flatnonzero(self.good)])


class NotConverged(Exception):
    """The restarts are used up, or the residuals cannot be brought down.

    Carries the pairs that are verified, and, where it had them, the best of all wanted ones.
    """

    def __init__(self, message: str, pairs: Eigenpairs, everything: Judged | None = None) -> None:
        super().__init__(message)
        self.pairs = pairs
        self.everything = everything

    @classmethod
    def after(cls, message: str, judged: Judged) -> NotConverged:
        """Return the exception for what there was in the end."""
        return cls(message, judged.verified(), judged)
