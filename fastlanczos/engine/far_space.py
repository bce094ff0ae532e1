"""A run that can be restarted, on vectors that are not simply here: what eigenpairs need, on a GPU and over ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64, check_product
from fastlanczos.arrays.frameworks import Framework
from fastlanczos.engine.device_run import DeviceRun
from fastlanczos.engine.far_vectors import Arithmetic, FarRows, FarVector, GpuArithmetic, SharedArithmetic
from fastlanczos.engine.host_run import HostRun
from fastlanczos.ranks.shared import Shared

__all__ = ["DeviceSpace", "FarSpace", "SharedSpace"]


class FarSpace:
    """`max_steps` rows at most in `dim` dimensions, the rows of `run`, with vectors that `arithmetic` computes with."""

    interrupted = False

    def __init__(self, dim: int, run: DeviceRun | HostRun, arithmetic: Arithmetic) -> None:
        self.dim = dim
        self.max_steps = min(run.max_steps, dim)
        self.arithmetic = arithmetic
        self._run = run

    @property
    def steps(self) -> int:
        """Rows there are; waits for a GPU."""
        return self._run.steps

    @property
    def launched(self) -> int:
        """Steps that were asked for, as far as the host knows; waits for nobody."""
        return self._run.launched

    @property
    def finished(self) -> bool:
        """Whether the memory is full or the space invariant, as far as a GPU has said."""
        return self._run.finished

    @property
    def breakdown(self) -> bool:
        """Whether the space is invariant; waits for a GPU."""
        return self._run.breakdown

    @property
    def exponent(self) -> int:
        """T is in units of two to this power; waits for a GPU."""
        return self._run.exponent

    @property
    def remainder(self) -> float:
        """Norm of what A leaves outside the space, in units of 2^exponent; waits for a GPU."""
        return self._run.remainder

    @property
    def max_projection(self) -> float:
        """Largest |v_j . w|, which vanishes for a symmetric operator; waits for a GPU."""
        return self._run.max_projection

    def projected(self) -> Float64:
        """Return T in units of 2^exponent, (steps, steps); waits for a GPU."""
        return self._run.projected()

    @property
    def vector(self) -> FarVector:
        """The unit vector whose product the next step takes, in memory of its own."""
        return FarVector(self._run.vector, self.arithmetic)

    def rows(self, count: int) -> FarRows:
        """Return the first rows, not copied."""
        return FarRows(self._run.basis, np.arange(count), self.arithmetic)

    def product(self, x: Any, what: str) -> FarVector:
        """Return a product as the engine takes it; TypeError or ValueError that names `what` for anything else."""
        if isinstance(x, FarVector):
            return x
        check_product(x, what, (self.arithmetic.dim,))
        return FarVector(self._run.product(x, what), self.arithmetic)

    def advance(self, z: FarVector) -> bool:
        """Take a step; False where a product, on a GPU of this step or an earlier one, was found not to be finite."""
        return self._run.advance(z.array)

    def count_not_finite(self, z: FarVector) -> tuple[int, str]:
        """Return how many entries of a product that was refused are not finite."""
        return self._run.count_not_finite(z.array)

    def start(self, v0: FarVector) -> bool:
        """Begin with v0 / |v0|; False where v0 is zero or not finite."""
        raise NotImplementedError

    def renew(self, v: FarVector) -> bool:
        """Take v, orthogonalized against all rows, as the candidate; False where nothing is left of it."""
        raise NotImplementedError

    def restart(self, rotation: Float64, theta: Float64, coupling: Float64, scale: float, exponent: int) -> None:
        """Replace the rows by combinations of them; see Lanczos::restart in step.hpp."""
        raise NotImplementedError

    def combine(self, weights: Float64) -> FarVector:
        """Return a combination of the first rows, in memory of its own."""
        return self.arithmetic.of_rows(self._run.rows(len(weights)), weights)

    def inner(self, count: int, z: FarVector) -> Float64:
        """Return the inner products of the first rows with a vector, on the host."""
        return self.arithmetic.inner(self._run.rows(count), z)

    def distance(self, row: int, z: FarVector, value: float) -> float:
        """Return the norm of z - value times a row, without overflow."""
        rest = self.arithmetic.combination([1.0, -value], [z, self.rows(row + 1)[row]], self.arithmetic.empty())
        return rest.norm()


class DeviceSpace(FarSpace):
    """Rows on a GPU."""

    _run: DeviceRun
    arithmetic: GpuArithmetic

    def __init__(self, dim: int, max_steps: int, framework: Framework) -> None:
        arithmetic = GpuArithmetic(framework, dim, min(max_steps, dim))
        super().__init__(dim, DeviceRun(dim, max_steps, "float64", framework), arithmetic)
        self._restart_memory: Any = None

    def start(self, v0: FarVector) -> bool:
        """Begin with v0 / |v0|; False where v0 is zero or not finite."""
        self._run.run.clear()
        return self.renew(v0)

    def renew(self, v: FarVector) -> bool:
        """Take v, orthogonalized against all rows, as the candidate; False where nothing is left of it."""
        return bool(self._run.run.renew(v.array))

    def restart(self, rotation: Float64, theta: Float64, coupling: Float64, scale: float, exponent: int) -> None:
        """Replace the rows by combinations of them, in one pass; see restart.cuh."""
        k, count = rotation.shape[1], len(theta)
        if self._restart_memory is None or len(self._restart_memory) < k * (count + 8) + 2 * count:
            most = self.max_steps * (self.max_steps + 10)
            self._restart_memory = self.arithmetic.framework.empty((most,), "float64")
        rotation = np.ascontiguousarray(rotation, dtype=np.float64)
        self._run.run.restart(rotation, theta, coupling, scale, exponent, self._restart_memory)


class SharedSpace(FarSpace):
    """Rows of which each rank has its columns. T is whole, and the same on all ranks."""

    _run: HostRun

    def __init__(self, max_steps: int, shared: Shared) -> None:
        arithmetic = SharedArithmetic(shared)
        super().__init__(shared.dim, HostRun(arithmetic.dim, max_steps, "float64", shared), arithmetic)

    def start(self, v0: FarVector) -> bool:
        """Begin with v0 / |v0|; False where v0 is zero or not finite."""
        return self._run.start(np.ascontiguousarray(v0.array))

    def renew(self, v: FarVector) -> bool:
        """Take v, orthogonalized against all rows, as the candidate; False where nothing is left of it."""
        return self._run.renew(np.ascontiguousarray(v.array))

    def restart(self, rotation: Float64, theta: Float64, coupling: Float64, scale: float, exponent: int) -> None:
        """Replace the local rows by combinations of them."""
        self._run.restart(rotation, theta, coupling, scale, exponent)  # type: ignore[arg-type]
