"""Lanczos runs from several start vectors, several at once as the memory plan says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fastlanczos.arrays.cpu import Float64
from fastlanczos.krylov.drive import drive
from fastlanczos.krylov.iteration import LanczosIteration
from fastlanczos.krylov.memory_plan import Plan
from fastlanczos.operators.operator import Operator

__all__ = ["lanczos_runs"]


def lanczos_runs(
    operator: Operator,
    start: Callable[[int, Float64], Float64],
    indices: range,
    num_steps: int,
    plan: Plan,
    bar: Any,
) -> Iterator[tuple[int, LanczosIteration]]:
    """Yield (index, finished iteration) for each index, in order, begun with `start(index, memory for it)`.

    An iteration's memory is used again for a later one: take what is wanted from it before going on.
    """
    iterations: list[LanczosIteration] = []
    for first in range(0, len(indices), plan.lockstep):
        some = indices[first : first + plan.lockstep]
        for slot, index in enumerate(some):
            if slot == len(iterations):
                iterations.append(
                    LanczosIteration.reserved(
                        operator.dim,
                        num_steps,
                        like=operator.kind,
                        reorthogonalize=plan.reorthogonalize,
                        basis_dtype=plan.basis_dtype,
                    )
                )
            iterations[slot].restart_with(partial(start, index))
        group = iterations[: len(some)]
        last = f" to {some[-1] + 1}" if len(some) > 1 else ""
        bar.set_postfix_str(f"probe {some[0] + 1}{last} of {indices[-1] + 1}")
        drive(group, operator, bar=bar)
        for iteration, index in zip(group, some, strict=True):
            bar.update(num_steps - iteration.num_steps)  # an invariant subspace saves the rest
            yield index, iteration
