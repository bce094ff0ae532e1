"""When a growing chain is looked at again: often enough that few products are wasted, seldom enough to cost little."""

from __future__ import annotations

__all__ = ["steps_to_the_next_look"]

_WASTE = 0.02  # of a chain's steps between two looks at it


def steps_to_the_next_look(block: int, before: tuple[int, bool, float], now: tuple[int, bool, float]) -> int:
    """Return 2% of the chain, or half of what is left if it goes on as since the last look, in steps of a block.

    A look is the chain's length, what is waited for, and how far off that is: a logarithm that falls by about as much
    in each step.
    """
    length, waited_for, distance = now
    steps = _WASTE * length / block
    if waited_for == before[1] and length > before[0] > 0 and before[2] > distance > 0.0:
        left = distance / (before[2] - distance) * (length - before[0]) / block
        steps = max(steps, min(0.5 * left, 0.3 * length / block))
    return max(1, int(steps))
