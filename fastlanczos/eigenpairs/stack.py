"""Many problems in one call: a stack of dense matrices or a list of matrices of any sizes, shared out over threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.arrays.cpu import is_tensor, on_device
from fastlanczos.operators.entries import is_explicit
from fastlanczos.system.threads import get_num_threads

__all__ = ["is_stack", "solve_stack"]


def is_stack(A: Any) -> bool:
    """Whether A is an array (b, n, n), or a list of matrices."""
    if isinstance(A, np.ndarray) or is_tensor(A):
        return bool(A.ndim == 3)
    if type(A) not in (list, tuple) or not A:
        return False
    return all((is_explicit(X) or is_tensor(X)) and len(X.shape) == 2 for X in A)


def solve_stack(A: Any, each: dict[str, Any], progress: bool, solve: Callable[..., tuple[Any, Any, Any]]) -> Any:
    """Return lists of values, vectors and infos of `solve(A[i], **...)`.

    In `each` lists, and arrays of three dimensions, are taken apart; the rest goes to all of them.
    """
    count = len(A)
    if count == 0:
        raise ValueError("A is an empty stack")
    if any(on_device(X) for X in A):
        raise TypeError("a stack of matrices must be on the CPU: call eigsh for each of those on a GPU")
    seeds = each.pop("rng")
    each["rng"] = seeds.spawn(count) if isinstance(seeds, np.random.Generator) else [seeds] * count
    for name, value in each.items():
        if _is_of_each(value) and len(value) != count:
            raise ValueError(f"{name} has {len(value)} entries, and A is a stack of {count} matrices")

    def one(i: int) -> tuple[Any, Any, Any]:
        try:
            return solve(A[i], **{name: value[i] if _is_of_each(value) else value for name, value in each.items()})
        except Exception as error:
            error.add_note(f"in matrix {i} of {count}")
            raise

    with ThreadPoolExecutor(min(get_num_threads(), count)) as pool:
        futures = [pool.submit(one, i) for i in range(count)]
        try:
            answers = [future.result() for future in tqdm(futures, "eigsh", unit=" matrices", disable=not progress)]
        except BaseException:  # Ctrl-C too
            pool.shutdown(cancel_futures=True)
            raise
    w, V, infos = (list(part) for part in zip(*answers, strict=True))
    return _stacked(w), _stacked(V), infos


def _is_of_each(value: Any) -> bool:
    if isinstance(value, np.ndarray) or is_tensor(value):
        return bool(value.ndim == 3)
    return isinstance(value, list)


def _stacked(parts: list[Any]) -> Any:
    """One array of all, where they have one shape; otherwise the list."""
    if len({tuple(x.shape) for x in parts}) > 1:
        return parts
    if is_tensor(parts[0]):
        import torch

        return torch.stack(parts)
    return np.stack(parts)
