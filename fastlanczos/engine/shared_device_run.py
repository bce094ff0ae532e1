"""A Lanczos run on GPUs whose vectors are shared out over ranks: the step's phases with collectives between them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from fastlanczos import _core
from fastlanczos.arrays.cpu import Float64
from fastlanczos.arrays.frameworks import Framework
from fastlanczos.engine.device_run import DeviceRun
from fastlanczos.errors import RankError
from fastlanczos.ranks.shared import Shared

__all__ = ["SharedDeviceRun"]

_RANK_FAILED = 4  # as in sharing.cuh


class SharedDeviceRun(DeviceRun):
    """As `DeviceRun`, with this rank's columns; collectives are on the library's stream.

    Five messages a step, two without a basis: the host does not know whether the candidate needs another correction,
    and goes through those three rounds in every step. It waits for the step before the last one, so that a rank that
    has failed is noticed by all after the same number of messages.
    """

    def __init__(self, dim: int, max_steps: int, storage: str | None, framework: Framework, shared: Shared) -> None:
        if min(shared.local_dims) < 1:
            raise ValueError("on GPUs each rank needs at least one entry of the vectors")
        super().__init__(dim, max_steps, storage, framework, shared.dim)
        self._shared = shared
        longest = min(max_steps, shared.dim) + 8
        self._message = framework.empty((longest,), "float64")
        self._all = framework.empty((shared.group.size * longest,), "float64")

    def start(self, v0: Float64) -> None:
        """Begin with this rank's part of v0 / |v0|, which is not zero."""
        largest = -self._shared.least(-float(np.abs(v0).max()))
        scaled = v0 / largest
        self.run.start(scaled / np.sqrt(self._shared.total(float(scaled @ scaled))))

    @staticmethod
    def advance_together(runs: Sequence[DeviceRun], rows: Any) -> list[bool]:
        """Launch a step of every run; for each, what `advance` returns; RankError where another rank has failed."""
        rows = [rows] if len(runs) == 1 and len(np.shape(rows)) == 1 else rows
        return [run._step(row) for run, row in zip(runs, rows, strict=True) if isinstance(run, SharedDeviceRun)]

    def advance(self, z: Any) -> bool:
        """Launch a step; False where a product, of this step or an earlier one, was found not to be finite."""
        return self._step(z)

    def _step(self, z: Any, *, failed: bool = False) -> bool:
        self.run.wait(1)
        if not failed:
            self._raise_failure()
            self.framework.settle(z)
        ranks = self._shared.group.size
        self._exchange(self.run.begin(z, self._message, failed, self.framework.stream()))
        for round_ in range(1 + self.run.corrections):
            self._exchange(self.run.sweep(round_, self._all, ranks, self._message))
            self.run.judge(round_, self._all, ranks)
        self.run.end()
        return failed or self._told() != _core.Outcome.not_finite

    def _exchange(self, count: int) -> None:
        ranks = self._shared.group.size
        self._shared.exchange(self._message[:count], self._all[: ranks * count])

    def tell(self) -> None:
        """Tell the other ranks that this one's product has failed, in the two steps that they launch till they look."""
        with suppress(RuntimeError):
            for _ in range(2):
                if self.run.launched() < min(self.max_steps, self.whole_dim):
                    self._step(None, failed=True)

    @property
    def vector(self) -> Any:
        """The unit vector whose product the next step takes."""
        self._shared.asks = self.tell
        return super().vector

    @property
    def _failed(self) -> bool:
        return int(self.run.told()) == _RANK_FAILED

    def _raise_failure(self) -> None:
        """Raise RankError where a rank has failed, two steps after that one, and not before: all see it there."""
        ended = self.run.launched() >= min(self.max_steps, self.whole_dim)
        if self._failed and (ended or self.run.launched() - self.run.steps_told() > 1):
            raise RankError("another rank has failed in a product with the operator: its own error says how")

    def _told(self) -> _core.Outcome:
        if self.run.launched() >= min(self.max_steps, self.whole_dim):
            self.run.settle()
        return _core.Outcome.running if self._failed else super()._told()

    @property
    def finished(self) -> bool:
        """Whether no further product is wanted, as far as the device has said; RankError where a rank has failed."""
        self._raise_failure()
        return self.launched >= min(self.max_steps, self.whole_dim) if self._failed else super().finished

    def snapshot(self) -> dict[str, Any]:
        """Raise: there is no checkpoint of it."""
        raise TypeError("the state of a run over GPUs of many ranks cannot be saved")
