"""A Lanczos run in NumPy memory, on the CPU engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos import _core
from fastlanczos.arrays import Float64, aligned_rows, as_float64

__all__ = ["HostRun"]


class HostRun:
    """`max_steps` steps at most in `dim` dimensions, the basis stored as `storage` says (None: not at all).

    `vector` is the unit vector to multiply; what `step` takes is what `product` has checked.
    """

    def __init__(self, dim: int, max_steps: int, storage: str | None) -> None:
        self.dim = dim
        self.max_steps = max_steps
        self.basis = None if storage is None else aligned_rows(min(max_steps, dim), dim, storage)
        self.candidate = aligned_rows(1, dim, "float64")[0]
        self.vector = aligned_rows(1, dim, "float64")[0]
        recent_rows = {"float64": 0, "float32": 2, None: 1}[storage]  # kept in float64 beside the basis, see step.hpp
        self.recent = aligned_rows(1, recent_rows * dim, "float64")[0]
        self.core = _core.Run(dim, max_steps, self.basis, self.candidate, self.recent, self.vector)

    def start(self, v0: Float64) -> None:
        """Begin with v0 / |v0|, which is not zero."""
        self.core.start(v0)

    def product(self, x: Any, what: str) -> Float64:
        """Return a product as the engine takes it; TypeError or ValueError that names `what` for anything else."""
        return as_float64(x, what, shape=(self.dim,))

    def step(self, z: Float64) -> bool:
        """Take a step; False, and nothing changed, where z has entries that are not finite."""
        return self.core.step(z) != _core.Outcome.not_finite

    @staticmethod
    def block(products: Any, what: str, shape: tuple[int, int]) -> Float64:
        """Return a block of products in columns as rows."""
        return np.ascontiguousarray(as_float64(products, what, shape=shape).T)

    @staticmethod
    def step_together(runs: Sequence[HostRun], rows: Float64) -> list[bool]:
        """Take a step of every run; for each, what `step` returns."""
        outcomes = _core.step_together([run.core for run in runs], rows)
        return [outcome != _core.Outcome.not_finite for outcome in outcomes]

    def count_not_finite(self, z: Float64) -> tuple[int, str]:
        """Return how many entries of a product that was refused are not finite, and of what sort they are."""
        nans, infinities = int(np.count_nonzero(np.isnan(z))), int(np.count_nonzero(np.isinf(z)))
        return nans + infinities, f" ({nans} NaN, {infinities} infinite)"

    @property
    def launched(self) -> int:
        """Steps that were asked for and are not refused; here those that are finished."""
        return int(self.core.steps)

    @property
    def steps(self) -> int:
        """Finished steps."""
        return int(self.core.steps)

    @property
    def finished(self) -> bool:
        """Whether no further product is wanted."""
        return bool(self.core.finished)

    @property
    def breakdown(self) -> bool:
        """Whether the Krylov space is invariant."""
        return bool(self.core.breakdown)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has ended the run in the middle of a step."""
        return bool(self.core.interrupted)

    @property
    def alpha(self) -> Float64:
        """Diagonal of T."""
        return self.core.alpha

    @property
    def beta(self) -> Float64:
        """Off-diagonal of T."""
        return self.core.beta

    @property
    def residual_norm(self) -> float:
        """Norm of what is left outside the Krylov space."""
        return float(self.core.residual_norm)

    @property
    def max_projection(self) -> float:
        """Largest |v_j . w|, which vanishes for a symmetric operator."""
        return float(self.core.max_projection)

    def rows(self, k: int) -> NDArray[Any] | None:
        """Return the first k rows of the basis, not copied."""
        return None if self.basis is None else self.basis[:k]

    def state(self) -> dict[str, Any]:
        """Return everything the run is, copied."""
        return {
            "basis": None if self.basis is None else self.basis[: self.steps].copy(),
            "candidate": self.candidate.copy(),
            "recent": self.recent.copy(),
            "scalars": self.core.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned, here or on a device, for a run of the same size."""
        self.core.restore(state["scalars"])
        self.candidate[:] = self.vector[:] = state["candidate"]
        self.recent[:] = state["recent"]
        if self.basis is not None:
            self.basis[: len(state["basis"])] = state["basis"]
