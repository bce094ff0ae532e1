"""Vectors whose entries are shared out over ranks, and how the ranks tell one another that one of them has failed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from fastlanczos.arrays.cpu import Float64, check_product
from fastlanczos.errors import RankError
from fastlanczos.ranks.group import Group

__all__ = ["Shared"]

_LOOKED_AT = 3  # numbers that the engine asks for first after a product; see Sharing in step.hpp


class Shared:
    """Vectors of `dim` entries, of which each rank has some, `local_dims` of them.

    With all that is gathered a flag goes along: a rank whose product failed raises it in the place of what the others
    wait for, so that they do not wait for ever.
    """

    def __init__(self, group: Group, local_dims: list[int]) -> None:
        self.group = group
        self.local_dims = local_dims
        self.dim = sum(local_dims)
        first = sum(local_dims[: group.rank])
        self.part = slice(first, first + local_dims[group.rank])

    def gather(self, numbers: Float64) -> Float64:
        """Return the numbers of every rank, (ranks, m); RankError where one has failed or does not answer."""
        try:
            told = self.group.gather(np.concatenate([[0.0], numbers]))
        except RuntimeError as error:
            raise RankError(f"rank {self.group.rank} waits in vain for another rank: {error}") from error
        failed = np.flatnonzero(told[:, 0])
        if failed.size:
            ranks = ", ".join(map(str, failed))
            raise RankError(f"rank {ranks} has failed in a product with the operator: its own error says how")
        return np.ascontiguousarray(told[:, 1:])

    def total(self, number: float) -> float:
        """Return the sum over the ranks, in their order."""
        return float(sum(self.gather(np.array([number]))[:, 0]))

    def least(self, number: float) -> float:
        """Return the smallest number of any rank."""
        return float(self.gather(np.array([number])).min())

    def watched(self, matvec: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the product, which tells the other ranks where it fails."""

        def product(x: Any) -> Any:
            try:
                y = matvec(x)
                check_product(y, f"the product on rank {self.group.rank}", x.shape)
                return y
            except BaseException:
                self.tell()
                raise

        return product

    def tell(self, numbers: int = _LOOKED_AT) -> None:
        """Raise the flag in the place of so many numbers, those that the other ranks ask for next."""
        with suppress(RuntimeError):  # they may know already
            self.group.gather(np.concatenate([[1.0], np.zeros(numbers)]))
