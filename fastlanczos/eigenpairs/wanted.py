"""Which eigenvalues are asked for: the meaning of `which` in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64

__all__ = ["WHICH", "Wanted"]

WHICH = ("LM", "SM", "LA", "SA", "BE")


@dataclass(frozen=True)
class Wanted:
    """The k eigenvalues at the ends that `which` names: LA, SA, LM (of largest magnitude), BE (half from each end).

    SM, the values of smallest magnitude, lie in the interior and are ordered here as well.
    """

    which: str
    k: int

    def order(self, values: Float64) -> NDArray[np.intp]:
        """Return indices into `values`, the most wanted first."""
        if self.which == "LA":
            return np.argsort(-values, kind="stable")
        if self.which == "SA":
            return np.argsort(values, kind="stable")
        if self.which == "LM":
            return np.argsort(-np.abs(values), kind="stable")
        if self.which == "SM":
            return np.argsort(np.abs(values), kind="stable")
        # The two ends in turn, the high one first: of an odd k it has one more.
        down = np.argsort(-values, kind="stable")
        turns = np.empty(values.size, dtype=np.intp)
        turns[0::2] = down[: (values.size + 1) // 2]
        turns[1::2] = down[::-1][: values.size // 2]
        return turns

    def ends(self) -> list[Wanted]:
        """Return the searches that find these: of BE one at each end, otherwise this alone."""
        if self.which != "BE":
            return [self]
        high = Wanted("LA", self.k - self.k // 2)
        return [high, Wanted("SA", self.k // 2)] if self.k > 1 else [high]

    def select(self, values: Float64) -> NDArray[np.intp]:
        """Return the indices of the k that are wanted, in ascending order of value."""
        chosen = self.order(values)[: self.k]
        return chosen[np.argsort(values[chosen], kind="stable")]

    def limits(self, values: Float64, count: int) -> tuple[float, float]:
        """Return (low, high): a value below low or above high comes before the last of the `count` most wanted."""
        chosen = values[self.order(values)[:count]]
        if self.which == "LA":
            return -np.inf, float(chosen.min())
        if self.which == "SA":
            return float(chosen.max()), np.inf
        if self.which == "LM":
            smallest = float(np.abs(chosen).min())
            return -smallest, smallest
        top = np.sort(chosen)[::-1][: (count + 1) // 2]
        bottom = np.sort(chosen)[: count // 2]
        return float(bottom.max()) if bottom.size else -np.inf, float(top.min())
