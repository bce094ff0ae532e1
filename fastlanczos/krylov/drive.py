"""The loop of a run: products and steps, without Python, as a block, or one vector at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastlanczos.krylov.iteration import (
    LanczosIteration,
    hand_out,
    run_natively,
    step_into,
    step_together,
    vectors_together,
)
from fastlanczos.operators.operator import Operator

__all__ = ["drive"]

_SLICE = 0.1  # seconds between two looks at the progress bar in a native run


def drive(
    iterations: Sequence[LanczosIteration],
    operator: Operator,
    *,
    bar: Any,
    callback: Callable[[], object] | None = None,
    until: int | None = None,
) -> None:
    """Run iterations in lockstep to their ends, with one block product for all of them if the operator has `matmat`.

    With `until` they stop after so many steps and can be continued; all that continue must have taken equally many.

    Every exception carries the finished part as `partial`: a LanczosResult, or a list of them for several iterations.
    `callback` is called after each step; StopIteration out of it ends the run."""
    hand_out(iterations, not operator.only_reads)
    active = list(iterations) if until is None else [it for it in iterations if not it.finished]
    most = iterations[0].max_steps if until is None else until
    # Counted here, since a run on a GPU is waited for where it is asked.
    left = most if until is None or not active else until - active[0].num_steps
    reserved = operator.native is not None or operator.multiply_into is not None
    products = iterations[0].reserved_products(len(active) if reserved else 0)
    try:
        while active and left > 0:
            if operator.native is not None:
                limit = 1 if callback is not None else left
                steps = run_natively(active, operator.native, products[: len(active)], limit, _SLICE)
            elif operator.multiply_into is not None:
                step_into(active, operator.multiply_into, products[: len(active)])
                steps = 1
            else:
                steps = _step(active, operator)
            bar.update(steps * len(active))
            left -= steps
            active = [it for it in active if not it.finished]
            if callback is not None:
                try:
                    callback()
                except StopIteration:
                    return
    except BaseException as error:
        _annotate(error, iterations, most)
        raise
    finally:
        hand_out(iterations, True)


def _step(active: Sequence[LanczosIteration], operator: Operator) -> int:
    if len(active) > 1 and operator.matmat is not None:
        step_together(active, operator.matmat(vectors_together(active)))
    else:
        assert operator.matvec is not None
        for it in active:
            it.step(operator.matvec(it.vector))
    return 1


def _annotate(error: BaseException, iterations: Sequence[LanczosIteration], most: int) -> None:
    k = min(it.num_steps for it in iterations)
    if not hasattr(error, "partial"):
        parts = [it.result() for it in iterations if it.num_steps > 0]
        error.partial = parts if len(iterations) > 1 else parts[0] if parts else None  # type: ignore[attr-defined]
        kept = f"; the {k} finished steps are in this exception's `partial`" if k else ""
        error.add_note(f"In Lanczos step {k + 1} of {most}{kept}.")
    if isinstance(error, TypeError) and "tensor" in str(error).lower() and k == 0:
        error.add_note("If A works on torch tensors, pass v0 as a torch tensor: A then gets tensors of its dtype.")
