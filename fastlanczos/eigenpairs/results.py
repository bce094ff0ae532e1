"""Results of a search for eigenpairs: its state while it runs, the pairs, and the exception if some are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastlanczos.arrays.cpu import Float64

__all__ = ["Eigenpairs", "EigshState", "NotConverged"]


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
class Eigenpairs:
    """Values in ascending order, and as many leading rows of the run, the eigenvectors."""

    values: Float64
    vectors: Any  # (k, n)


class NotConverged(Exception):
    """The restarts are used up, or the residuals cannot be brought down; carries the pairs that are verified."""

    def __init__(self, message: str, pairs: Eigenpairs) -> None:
        super().__init__(message)
        self.pairs = pairs
