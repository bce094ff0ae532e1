"""Results of a search for eigenpairs: its state while it runs, the pairs, and the exception if some are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64

__all__ = ["Eigenpairs", "EigshInfo", "EigshState", "NotConverged"]


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
    """What `eigsh` did, returned with `return_info=True`.

    Attributes
    ----------
    num_matvecs, num_restarts : int
        Products with A, or with the operator that shifts it, and restarts.
    residuals : ndarray, shape (k,), float64
        Residual norms of the pairs: those that were verified, with A and M if there is a shift, otherwise by the
        recurrence, which a product with a random combination of all pairs has confirmed.
    converged : ndarray, shape (k,), bool
        Whether each pair has converged. `eigsh` raises where one has not.
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
            f"({self.products}), {self.num_restarts} restarts, residuals to {self.residuals.max():.1e})"
        )


@dataclass(frozen=True)
class Eigenpairs:
    """Values in ascending order, and as many leading rows of the run, the eigenvectors."""

    values: Float64
    vectors: Any  # (k, n)


class NotConverged(Exception):
    """The restarts are used up, or the residuals cannot be brought down; carries the pairs that are verified."""

    def __init__(self, message: str, pairs: Eigenpairs) -> None:
        super().__init__(message)
        self.pairs = pairs
