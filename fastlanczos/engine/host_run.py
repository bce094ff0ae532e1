"""A Lanczos run in NumPy memory, on the CPU engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64, aligned_rows, as_vector
from fastlanczos.ranks.dtensors import from_dtensor, to_dtensor
from fastlanczos.ranks.shared import Shared

__all__ = ["RECENT_ROWS", "HostRun"]

_COLUMNS = 4096  # that are summed at once
_COMPLEX_ROWS = {"float64": "complex128", "float32": "complex64"}
RECENT_ROWS = {"float64": 0, "float32": 2, None: 1}  # kept in float64 beside a basis of this storage, see step.hpp


class HostRun(_core.Run):
    """`max_steps` steps at most in `dim` dimensions, the basis stored as `storage` says (None: not at all).

    `dtype` is that of vectors, float64 or complex128; rows in float32 are then in complex64.

    `vector` is the unit vector to multiply; what `advance` takes is what `product` has checked.
    """

    def __init__(
        self, dim: int, max_steps: int, storage: str | None, shared: Shared | None = None, dtype: str = "float64"
    ) -> None:
        self.dim = dim
        self.dtype = dtype
        self.max_steps = min(max_steps, dim if shared is None else shared.dim)
        columns = max(dim, 1)  # a rank may have none
        stored = storage if dtype == "float64" or storage is None else _COMPLEX_ROWS[storage]
        self.basis = None if stored is None else aligned_rows(self.max_steps, columns, stored)[:, :dim]
        self._recent = recent = RECENT_ROWS[storage]
        vectors = aligned_rows(3 if recent == 1 else 2, columns, dtype)[:, :dim]
        self.candidate, self.vector = vectors[:2]
        self.recent = vectors[2] if recent == 1 else aligned_rows(1, max(1, recent * dim), dtype)[0, : recent * dim]
        self._shared = shared
        sharing = () if shared is None else (shared.dim, shared.group.size, shared.gather)
        super().__init__(dim, max_steps, self.basis, self.candidate, self.recent, self.vector, *sharing)

    def product(self, x: Any, what: str) -> Float64:
        """Return a product as the engine takes it; TypeError or ValueError that names `what` for anything else."""
        return as_vector(x, what, (self.dim,), self.dtype)

    def block(self, products: Any, what: str, shape: tuple[int, int]) -> Float64:
        """Return a block of products in columns as rows."""
        return np.ascontiguousarray(as_vector(products, what, shape, self.dtype).T)

    def advance(self, z: Float64) -> bool:
        """Take a step; False, and nothing changed, where z has entries that are not finite."""
        return self.step(z) != _core.Outcome.not_finite

    @staticmethod
    def advance_together(runs: Sequence[HostRun], rows: Float64) -> list[bool]:
        """Take a step of every run; for each, what `advance` returns."""
        return [outcome != _core.Outcome.not_finite for outcome in _core.step_together(runs, rows)]

    def count_not_finite(self, z: Float64) -> tuple[int, str]:
        """Return how many entries of a product that was refused are not finite, and of what sort they are."""
        nans, infinities = int(np.count_nonzero(np.isnan(z))), int(np.count_nonzero(np.isinf(z)))
        return nans + infinities, f" ({nans} NaN, {infinities} infinite)"

    @property
    def launched(self) -> int:
        """Steps that were asked for and not refused: here those that are finished."""
        return self.steps

    def rows(self, k: int) -> NDArray[Any] | None:
        """Return the first k rows of the basis, not copied."""
        return None if self.basis is None else self.basis[:k]

    def combine(self, weights: Float64) -> Float64:
        """Return the combination of the rows, in memory of its own."""
        assert self.basis is not None
        # einsum is not BLAS, whose threads would go on spinning beside the engine's for a tenth of a second.
        return np.asarray(np.einsum("i,ij->j", weights, self.basis[: weights.size]))

    def inner(self, count: int, z: Float64) -> Float64:
        """Return the inner products of the first rows with a vector."""
        assert self.basis is not None
        # einsum adds one entry after the other: over all columns at once that would leave 1e-12 of a million.
        parts = [
            np.einsum("ij,j->i", self.basis[:count, first : first + _COLUMNS].conj(), z[first : first + _COLUMNS])
            for first in range(0, max(self.dim, 1), _COLUMNS)
        ]
        return np.asarray(np.sum(parts, axis=0))

    def distance(self, row: int, z: Float64, value: float) -> float:
        """Return the norm of z - value times a row, without overflow."""
        assert self.basis is not None
        remainder = z - value * self.basis[row]
        largest = float(np.abs(remainder).max())
        return largest * float(np.linalg.norm(remainder / largest)) if 0.0 < largest < np.inf else largest

    def snapshot(self) -> dict[str, Any]:
        """Return everything the run is, copied."""
        self.settle()
        shared = self._shared
        if shared is not None:  # DTensors of all rows that there is room for: their shape does not tell how far it is
            vectors = np.vstack([self.candidate[None], self.recent.reshape(self._recent, self.dim)])
            return {
                "basis": None if self.basis is None else to_dtensor(shared, self.basis, self.steps),
                "vectors": to_dtensor(shared, vectors, len(vectors)),
                "scalars": self.state(),
            }
        return {
            "basis": None if self.basis is None else self.basis[: self.steps].copy(),
            "candidate": self.candidate.copy(),
            "recent": self.recent.copy(),
            "scalars": self.state(),
        }

    def take_up(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of a run of the same size, on the host or a device."""
        self.restore(snapshot["scalars"])
        if self._shared is not None:
            vectors = np.empty((len(snapshot["vectors"]), self.dim))
            from_dtensor(self._shared, snapshot["vectors"], len(snapshot["vectors"]), vectors)
            self.candidate[:] = self.vector[:] = vectors[0]
            self.recent[:] = vectors[1:].ravel()
            if self.basis is not None:
                from_dtensor(self._shared, snapshot["basis"], self.steps, self.basis)
            return
        self.candidate[:] = self.vector[:] = snapshot["candidate"]
        self.recent[:] = snapshot["recent"]
        if self.basis is not None:
            self.basis[: len(snapshot["basis"])] = snapshot["basis"]
