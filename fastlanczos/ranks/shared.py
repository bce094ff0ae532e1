"""Vectors whose entries are shared out over ranks, and how the ranks tell one another that one of them has failed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64, check_product
from fastlanczos.errors import RankError
from fastlanczos.ranks.group import Group

__all__ = ["Shared"]

_PATIENCE = 2.0  # seconds that the system may take to end a process
_LOOKED_AT = 3  # numbers that the engine asks for first after a product; see Sharing in step.hpp


class Shared:
    """Vectors of `dim` entries, of which each rank has some, `local_dims` of them.

    `parts[rank]` says which: stretches (m, 2) of the whole vector, first and end of each, one after the other in the
    rank's own part. By default ranks have one each, in their order.

    With all that is gathered a flag goes along: a rank whose product failed raises it in the place of what the others
    wait for, so that they do not wait for ever.
    """

    def __init__(self, group: Group, local_dims: list[int], parts: list[NDArray[np.int64]] | None = None) -> None:
        self.group = group
        self._processes = [tuple(process) for process in group.share((socket.gethostname(), os.getpid()))]
        self.local_dims = local_dims
        self.dim = sum(local_dims)
        ends = np.cumsum(local_dims)
        self._parts = parts or [np.array([[end - n, end]])[: n > 0] for n, end in zip(local_dims, ends, strict=True)]
        self.stretches = self._parts[group.rank]
        self.asks: Callable[[], object] | None = None  # how a run on a GPU tells the others of a failure
        self.first = int(ends[group.rank]) - local_dims[group.rank]

    def part(self, whole: Any) -> Any:
        """Return this rank's entries of a whole vector, or of the columns of a matrix, as a copy."""
        some = np.empty((*whole.shape[:-1], self.local_dims[self.group.rank]), whole.dtype)
        at = 0
        for first, end in self.stretches:
            some[..., at : at + end - first] = whole[..., first:end]
            at += end - first
        return some

    def whole_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the whole of rows (m, n) of which each rank has its part, in their dtype."""
        longest = max(self.local_dims)
        padded = np.zeros((len(rows), longest))
        padded[:, : rows.shape[1]] = rows
        everyones = self.gather(padded.ravel()).reshape(-1, len(rows), longest)
        return np.stack([self.assembled(list(everyones[:, i])) for i in range(len(rows))]).astype(rows.dtype)

    def assembled(self, parts: Sequence[Float64]) -> Float64:
        """Return the vector of which the ranks have these parts; each may be longer than that."""
        whole = np.empty(self.dim)
        for part, stretches in zip(parts, self._parts, strict=True):
            at = 0
            for first, end in stretches:
                whole[first:end] = part[at : at + end - first]
                at += end - first
        return whole

    def gather(self, numbers: Float64) -> Float64:
        """Return the numbers of every rank, (ranks, m); RankError where one has failed or does not answer."""
        with self._answered():
            told = self.group.gather(np.concatenate([[0.0], numbers]))
        failed = np.flatnonzero(told[:, 0])
        if failed.size:
            ranks = ", ".join(map(str, failed))
            raise RankError(f"rank {ranks} has failed in a product with the operator: its own error says how")
        return np.ascontiguousarray(told[:, 1:])

    def gather_tensors(self, tensor: Any) -> list[Any]:
        """Return every rank's tensor, all of one size; RankError where a rank does not answer."""
        with self._answered():
            return self.group.gather_tensors(tensor)

    def exchange(self, message: Any, everyones: Any) -> None:
        """Write every rank's message (m,) into an array (ranks m,), both on the GPU, in the stream's order."""
        with self._answered():
            self.group.exchange(message, everyones)

    def sum_tensors(self, tensor: Any) -> Any:
        """Return the sum of every rank's tensor, which has the same bits on all of them; RankError as above."""
        total = tensor.clone()
        with self._answered():
            self.group.add_up(total)
        return total

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Raise RankError where another rank does not answer."""
        try:
            yield
        except RuntimeError as error:
            raise RankError(f"rank {self.group.rank} waits in vain for {self._gone()}: {error}") from error

    def _gone(self) -> str:
        """Which ranks have ended, as far as this machine's processes tell; those on other machines may have."""
        here = self._processes[self.group.rank][0]
        deadline = time.monotonic() + _PATIENCE  # a process that was killed needs a moment
        while True:
            ended = [rank for rank, (host, pid) in enumerate(self._processes) if host == here and not _is_alive(pid)]
            elsewhere = [rank for rank, (host, _) in enumerate(self._processes) if host != here]
            if ended or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if ended:
            return f"rank {', '.join(map(str, ended))}, whose process has ended"
        return f"another rank (one of {', '.join(map(str, elsewhere))})" if elsewhere else "another rank"

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
        if self.asks is not None:
            self.asks()
            return
        with suppress(RuntimeError):  # they may know already
            self.group.gather(np.concatenate([[1.0], np.zeros(numbers)]))


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended and is still listed does not."""
    if os.name != "posix":  # elsewhere kill does more than ask
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):  # no such folder on this system
        return True
