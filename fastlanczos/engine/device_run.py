"""A Lanczos run on a GPU, in memory of the caller's framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64, check_product
from fastlanczos.arrays.frameworks import FRAMEWORKS, Framework
from fastlanczos.engine.cuda import cuda, to_host
from fastlanczos.engine.host_run import RECENT_ROWS

__all__ = ["DeviceRun"]


class DeviceRun:
    """As `HostRun`, on a GPU: steps are launched, and the host does not wait for them.

    The host learns later that a run has ended early or that a product was not finite, at the latest with the last step.
    Steps that are launched until then do nothing."""

    def __init__(
        self, dim: int, max_steps: int, storage: str | None, framework: Framework, whole_dim: int | None = None
    ) -> None:
        self.dim = dim
        self.whole_dim = dim if whole_dim is None else whole_dim
        self.max_steps = max_steps
        self.framework = framework
        self.storage = storage or "none"
        rows = min(max_steps, self.whole_dim)
        self._cuda = cuda()
        self.basis = None
        if storage is not None:
            piece = 16 // np.dtype(storage).itemsize  # rows begin at 16 bytes
            self.basis = framework.empty((rows, -(-dim // piece) * piece), storage)
        self.candidate = framework.empty((dim,), "float64")
        self._copy = framework.empty((dim,), "float64")
        self._handing_out = True
        # Rows kept in float64 beside the basis begin at 16 bytes too.
        self._recent_stride, kept = dim + dim % 2, RECENT_ROWS[storage]
        self.recent = framework.empty((kept * self._recent_stride,), "float64") if kept else None
        self.device = self._cuda.device_of(self.candidate)
        entries = self._cuda.workspace_entries(self.whole_dim, rows, self.storage, self.device)
        self.run = self._cuda.Run(
            dim,
            rows,
            self.storage,
            self.basis,
            self.candidate,
            self.recent,
            self._copy,
            framework.empty((entries,), "float64"),
            framework.stream(),
            self.whole_dim,
        )
        self.interrupted = False

    @property
    def vector(self) -> Any:
        """The unit vector whose product the next step takes."""
        return self._copy if self._handing_out else self.candidate

    def hand_out(self, on: bool) -> None:
        """Keep a copy of the candidate as `vector`, which an operator may write into, or show the candidate itself."""
        if on != self._handing_out:
            self.run.hand_out(on)
            self._handing_out = on

    @property
    def launch(self) -> dict[str, int]:
        """What the bits depend on: blocks that a vector is cut into, and stages of shared memory."""
        return {"blocks": int(self.run.blocks), "stages": int(self.run.stages)}

    def start(self, v0: Float64) -> None:
        """Begin with v0 / |v0|, which is not zero."""
        unit, recent, vector = np.empty(self.dim), np.empty(self.dim), np.empty(self.dim)
        _core.Run(self.dim, 1, None, unit, recent, vector).start(v0)  # safe from overflow
        self.run.start(unit)

    def product(self, x: Any, what: str) -> Any:
        """Return a product as the engine takes it; TypeError or ValueError that names `what` for anything else."""
        check_product(x, what, (self.dim,))
        return self.framework.cast(self._adopt(x, what), "float64")

    def _adopt(self, x: Any, what: str) -> Any:
        if not hasattr(x, "__cuda_array_interface__"):
            if not hasattr(x, "__dlpack_device__"):
                raise TypeError(
                    f"{what} is a {type(x).__module__}.{type(x).__qualname__}; want a {self.framework.name} array on "
                    "the GPU, as the vector is"
                )
            if x.__dlpack_device__()[0] not in (2, 13):  # CUDA's, and CUDA's managed memory
                raise TypeError(
                    f"{what} is on the CPU, and the vector on GPU {self.device}: return an array on the GPU"
                )
        if FRAMEWORKS.get(type(x).__module__.split(".")[0]) is not type(self.framework):
            x = self.framework.adopt(x)
        return x

    def advance(self, z: Any) -> bool:
        """Launch a step; False where a product, of this step or an earlier one, was found not to be finite."""
        return self.advance_together([self], z)[0]

    def block(self, products: Any, what: str, shape: tuple[int, int]) -> Any:
        """Return a block of products in columns as rows."""
        check_product(products, what, shape)
        return self.framework.rows(self._adopt(products, what))

    @staticmethod
    def advance_together(runs: Sequence[DeviceRun], rows: Any) -> list[bool]:
        """Launch a step of every run together; for each, what `advance` returns."""
        first = runs[0]
        first.framework.settle(rows)
        first._cuda.step([run.run for run in runs], rows, first.framework.stream())
        if first.framework.name == "jax":  # whose stream does not wait for ours
            first._cuda.synchronize(first.device, first.framework.stream())
        return [run._told() != _core.Outcome.not_finite for run in runs]

    def _told(self) -> _core.Outcome:
        last = self.run.launched() >= min(self.max_steps, self.whole_dim)
        return _OUTCOMES[int(self.run.settle() if last else self.run.told())]

    def count_not_finite(self, z: Any) -> tuple[int, str]:
        """Return how many entries of a product that was refused are not finite; the run can then go on."""
        count = int(self.run.not_finite)
        self.run.resume()
        return count, ""

    @property
    def launched(self) -> int:
        """Steps that were asked for and not refused, as far as the host knows."""
        return int(self.run.launched())

    @property
    def steps(self) -> int:
        """Finished steps; waits for the device."""
        return int(self.run.steps)

    @property
    def finished(self) -> bool:
        """Whether no further product is wanted, as far as the device has said."""
        told = _OUTCOMES[int(self.run.told())]
        ended = told in (_core.Outcome.complete, _core.Outcome.breakdown)
        return ended or self.launched >= min(self.max_steps, self.whole_dim)

    @property
    def breakdown(self) -> bool:
        """Whether the Krylov space is invariant; waits for the device."""
        return _OUTCOMES[int(self.run.settle())] == _core.Outcome.breakdown

    @property
    def alpha(self) -> Float64:
        """Diagonal of T, on the host; waits for the device."""
        return self.run.alpha  # type: ignore[no-any-return]

    @property
    def beta(self) -> Float64:
        """Off-diagonal of T, on the host; waits for the device."""
        return self.run.beta  # type: ignore[no-any-return]

    @property
    def exponent(self) -> int:
        """T is in units of two to this power; waits for the device."""
        return int(self.run.exponent)

    @property
    def remainder(self) -> float:
        """Norm of what A leaves outside the space, in units of 2^exponent; waits for the device."""
        return float(self.run.remainder)

    def projected(self) -> Float64:
        """Return T in units of 2^exponent, (steps, steps); waits for the device."""
        return np.asarray(self.run.projected())

    @property
    def residual_norm(self) -> float:
        """Norm of what is left outside the Krylov space; waits for the device."""
        return float(self.run.residual_norm)

    @property
    def max_projection(self) -> float:
        """Largest |v_j . w|, which vanishes for a symmetric operator; waits for the device."""
        return float(self.run.max_projection)

    def rows(self, k: int) -> Any:
        """Return the first k rows of the basis, not copied where the framework has views."""
        return None if self.basis is None else self.basis[:k, : self.dim]

    def snapshot(self) -> dict[str, Any]:
        """Return everything the run is, as NumPy arrays in the layout of `HostRun.snapshot`."""
        k = self.steps
        recent = np.empty(0)
        if self.recent is not None:
            recent = to_host(self.recent, self.framework).reshape(-1, self._recent_stride)[:, : self.dim].ravel()
        basis = None
        if self.basis is not None:
            empty = np.empty((0, self.dim), self.storage)
            basis = to_host(self.basis[:k], self.framework)[:, : self.dim].copy() if k else empty
        return {
            "basis": basis,
            "candidate": to_host(self.candidate, self.framework),
            "recent": recent,
            "scalars": self.run.state(),
        }

    def take_up(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of a run of the same size, on the host or a device."""
        scalars = dict(snapshot["scalars"])
        if "ahead" not in scalars:
            scalars |= _next_step(scalars, self.storage)
        for name in ("alpha", "beta", "h", "coefficients"):
            scalars[name] = np.ascontiguousarray(scalars[name], dtype=np.float64)
        stream = self.framework.stream()
        if self.recent is not None:
            recent = np.zeros((len(self.recent) // self._recent_stride, self._recent_stride))
            recent[:, : self.dim] = np.reshape(snapshot["recent"], (-1, self.dim))
            self._cuda.to_device(recent.ravel(), self.recent, stream)
        for target in (self.candidate, self._copy):
            self._cuda.to_device(np.ascontiguousarray(snapshot["candidate"]), target, stream)
        if self.basis is not None and len(snapshot["basis"]):
            padded = np.zeros((len(snapshot["basis"]), self.basis.shape[1]), self.storage)
            padded[:, : self.dim] = snapshot["basis"]
            self._cuda.to_device(padded, self.basis[: len(padded)], stream)
        self.run.restore(scalars)


_OUTCOMES: list[_core.Outcome] = [
    _core.Outcome.running,
    _core.Outcome.complete,
    _core.Outcome.breakdown,
    _core.Outcome.not_finite,
]


def _next_step(scalars: dict[str, Any], storage: str) -> dict[str, Any]:
    """Return what a run of the CPU engine does not keep: what its next sweep subtracts; see step.cuh."""
    alpha, beta, h = (np.asarray(scalars[name]) for name in ("alpha", "beta", "h"))
    k = len(alpha)
    norm = float(beta[-1]) if k else 0.0
    if storage == "none" or k == 0 or scalars["breakdown"]:
        plain = [0.0, norm] if k and storage == "none" else [0.0, 0.0] * k
        return {"ahead": [1.0, norm, 0.0, 0.0], "coefficients": np.array(plain)}
    c = alpha * h
    c[1:] += beta[:-1] * h[:-1]
    c[:-1] += beta[:-1] * h[1:]
    nu2 = 1.0 - float(h @ h)
    b = norm * nu2**0.5
    subtracted = c / nu2**0.5
    subtracted[-1] += b
    coefficients = np.stack([h, subtracted], axis=1).ravel()
    return {"ahead": [nu2, b, b * float(h[-1]), float(h @ c)], "coefficients": coefficients}
