"""A run on a GPU that can be restarted: the surface of `HostRun` that eigenpairs need, on vectors of the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64, check_product
from fastlanczos.arrays.frameworks import Framework
from fastlanczos.engine.device_run import DeviceRun
from fastlanczos.engine.device_vectors import Arithmetic, DeviceRows, DeviceVector

__all__ = ["DeviceSpace"]


class DeviceSpace:
    """`max_steps` rows at most in `dim` dimensions; `steps` counts launches, for which nobody waits.

    What tells numbers waits for the device: `projected`, `remainder`, `breakdown`, `exponent`, `max_projection`.
    """

    interrupted = False

    def __init__(self, dim: int, max_steps: int, framework: Framework) -> None:
        self._run = DeviceRun(dim, max_steps, "float64", framework)
        self.dim = dim
        self.max_steps = min(max_steps, dim)
        self.arithmetic = Arithmetic(framework, dim, self.max_steps)
        self._restart_memory: Any = None

    @property
    def steps(self) -> int:
        """Rows there are; waits for the device where a run may have ended early."""
        return self._run.steps

    @property
    def launched(self) -> int:
        """Steps that were asked for, as far as the host knows."""
        return self._run.launched

    @property
    def finished(self) -> bool:
        """Whether the memory is full or the space invariant, as far as the device has said."""
        return self._run.finished

    @property
    def breakdown(self) -> bool:
        """Whether the space is invariant."""
        return self._run.breakdown

    @property
    def exponent(self) -> int:
        """T is in units of two to this power."""
        return int(self._run.run.exponent)

    @property
    def remainder(self) -> float:
        """Norm of what A leaves outside the space, in units of 2^exponent."""
        return float(self._run.run.remainder)

    @property
    def max_projection(self) -> float:
        """Largest |v_j . w|, which vanishes for a symmetric operator."""
        return self._run.max_projection

    def projected(self) -> Float64:
        """Return T in units of 2^exponent, (steps, steps)."""
        return np.asarray(self._run.run.projected())

    @property
    def vector(self) -> DeviceVector:
        """The unit vector whose product the next step takes, in memory of its own."""
        return DeviceVector(self._run.vector, self.arithmetic)

    def rows(self, count: int) -> DeviceRows:
        """Return the first rows, not copied."""
        return DeviceRows(self._run.basis, np.arange(count), self.arithmetic)

    def product(self, x: Any, what: str) -> DeviceVector:
        """Return a product as the engine takes it; TypeError or ValueError that names `what` for anything else."""
        if isinstance(x, DeviceVector):
            return x
        check_product(x, what, (self.dim,))
        return DeviceVector(self._run.product(x, what), self.arithmetic)

    def advance(self, z: DeviceVector) -> bool:
        """Launch a step; False where a product, of this step or an earlier one, was found not to be finite."""
        return self._run.advance(z.array)

    def count_not_finite(self, z: Any) -> tuple[int, str]:
        """Return how many entries of a product that was refused are not finite."""
        return self._run.count_not_finite(z)

    def start(self, v0: DeviceVector) -> bool:
        """Begin with v0 / |v0|; False where v0 is zero or not finite."""
        self._run.run.clear()
        return self.renew(v0)

    def renew(self, v: DeviceVector) -> bool:
        """Take v, orthogonalized against all rows, as the candidate; False where nothing is left of it."""
        return bool(self._run.run.renew(v.array))

    def restart(self, rotation: Float64, theta: Float64, coupling: Float64, scale: float, exponent: int) -> None:
        """Replace the rows by combinations of them; see Lanczos::restart in step.hpp."""
        k, count = rotation.shape[1], len(theta)
        if self._restart_memory is None or len(self._restart_memory) < k * (count + 8) + 2 * count:
            most = self.max_steps * (self.max_steps + 10)
            self._restart_memory = self.arithmetic.framework.empty((most,), "float64")
        self._run.run.restart(
            np.ascontiguousarray(rotation, dtype=np.float64), theta, coupling, scale, exponent, self._restart_memory
        )

    def combine(self, weights: Float64) -> DeviceVector:
        """Return a combination of the first rows, in memory of its own."""
        return self.arithmetic.of_rows(self._run.rows(len(weights)), weights)

    def inner(self, count: int, z: DeviceVector) -> Float64:
        """Return the inner products of the first rows with a vector, on the host."""
        return self.arithmetic.inner(self._run.rows(count), z)

    def distance(self, row: int, z: DeviceVector, value: float) -> float:
        """Return the norm of z - value times a row, without overflow."""
        rest = self.arithmetic.combination([1.0, -value], [z, self.rows(row + 1)[row]], self.arithmetic.empty())
        return rest.norm()
