"""A requested accuracy: steps and probes are added until it is reached."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlanczos.arguments import as_dimension
from fastlanczos.errors import level_of_caller
from fastlanczos.probes.intervals import widths
from fastlanczos.sums.samples import Samples

__all__ = ["BALANCED", "STEPS_OF_A_PROBE", "Accuracy", "balance", "narrow", "probes_for"]

_SHARE = 0.25  # of the accuracy asked for that the finite number of steps may take
_MOST_PRODUCTS = 100_000
BALANCED = 0.5  # of the probes' part of the error that the steps' part may be where steps choose themselves
STEPS_OF_A_PROBE = 250  # at most, on average, where no other limit is given
_GROWTH = 64  # times as many steps as begun with, at most


@dataclass(frozen=True)
class Accuracy:
    """A half width of the 95% interval of max(atol, rtol |value|), and `limit`, the most products to take for it."""

    rtol: float
    atol: float
    limit: int

    @classmethod
    def asked_for(
        cls, rtol: float | None, atol: float | None, max_matvecs: int | None, *, steps_are_given: bool = True
    ) -> Accuracy | None:
        """Return what the arguments of that name ask for, None where none is; ValueError where they make no sense."""
        for name, value in (("rtol", rtol), ("atol", atol)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        if rtol is None and atol is None:
            if max_matvecs is not None and steps_are_given:
                raise ValueError(
                    f"max_matvecs={max_matvecs} limits the search for an accuracy: pass rtol= or atol= with it. "
                    "Without them, num_probes= and num_steps= set the number of products"
                )
            return None
        limit = _MOST_PRODUCTS if max_matvecs is None else as_dimension(max_matvecs, "max_matvecs")
        return cls(rtol or 0.0, atol or 0.0, limit)

    def most_steps(self, num_steps: int) -> int:
        """Return how far the number of steps may grow."""
        return max(num_steps, min(self.limit, _GROWTH * num_steps))

    def aim(self, value: float) -> float:
        """Return the half width that is wanted."""
        return max(self.rtol * abs(value), self.atol)

    def steps_aim(self, value: float) -> float:
        """Return what of it the finite number of steps may take."""
        return _SHARE * self.aim(value)

    def warn(self, num_matvecs: int, estimate: object, aim: float, reason: str) -> None:
        """Warn the caller of the public function that called: the accuracy is not there."""
        warnings.warn(
            f"stopped after {num_matvecs} products at {estimate}: the requested accuracy of +- {aim:.2g} was not "
            f"reached, it takes {reason}",
            UserWarning,
            stacklevel=level_of_caller(),
        )


def narrow(samples: Samples, accuracy: Accuracy, num_probes: int, bar: Any, exact: float = np.inf) -> bool:
    """Draw probes, and add to them and to their steps until the estimate is as accurate as wanted.

    False, and it is not, if what comes next takes more products than `exact`, which the exact sum is worth. Warns where
    the limit of products, or the products' own rounding, is in the way.
    """
    room = max(1, (accuracy.limit - samples.num_matvecs) // samples.num_steps)
    samples.draw(min(num_probes - samples.count, room), bar)
    while True:
        estimate = samples.estimate()
        aim = accuracy.aim(estimate.value)
        if estimate.half_width() <= aim:
            return True
        left = accuracy.limit - estimate.num_matvecs
        if samples.truncation_error() > accuracy.steps_aim(estimate.value):
            steps = samples.steps_for(0.4 * accuracy.steps_aim(estimate.value))
            if exact < min(samples.cost_of(steps), left):
                return False
            if steps > samples.num_steps and samples.cost_of(steps) <= left:
                samples.grow(steps, bar)
                continue
            reason = f"more steps than {samples.num_steps} (num_steps=), and more products (max_matvecs=)"
        elif estimate.quadrature_error >= aim:
            reason = f"products that are more accurate: rounding leaves +- {samples.rounding_error():.2g}"
        else:
            number = probes_for(estimate.std_error, estimate.tail, samples.count, aim - estimate.quadrature_error)
            if exact < min((number - samples.count) * samples.num_steps, left):
                return False
            more = min(number - samples.count, left // samples.num_steps)
            if more >= 1:
                samples.draw(more, bar)
                continue
            reason = "more products (max_matvecs=)"
        if exact < left:
            return False
        accuracy.warn(estimate.num_matvecs, estimate, aim, reason)
        return True


def balance(samples: Samples, num_probes: int, max_matvecs: int | None, bar: Any, exact: float = np.inf) -> bool:
    """Draw probes, and add steps until what these leave is small beside what the choice of probes does.

    False if the steps that come next take more products than `exact`. Warns where the limit of products is in the way.
    """
    limit = STEPS_OF_A_PROBE * num_probes if max_matvecs is None else as_dimension(max_matvecs, "max_matvecs")
    samples.draw(num_probes - samples.count, bar)
    while True:
        estimate = samples.estimate()
        steps_error = samples.truncation_error()
        probes_error = float(min(widths(0.95, estimate.std_error, estimate.tail, samples.count)))
        if steps_error <= max(BALANCED * probes_error, samples.rounding_error()):
            return True
        steps = samples.steps_for(0.8 * max(BALANCED * probes_error, samples.rounding_error(), 1e-300))
        left = limit - estimate.num_matvecs
        if exact < min(samples.cost_of(steps), left):
            return False
        if samples.cost_of(steps) > left:
            steps = samples.num_steps + left // max(samples.count, 1)
        if steps <= samples.num_steps or samples.cost_of(steps) > left:
            if steps_error > probes_error:
                warnings.warn(
                    f"{estimate}: the {samples.num_steps} Lanczos steps of a probe leave +- {steps_error:.2g} of it, "
                    f"the choice of probes +- {probes_error:.2g}. More steps (num_steps=, or max_matvecs= for more "
                    "than the limit) or bounds=(low, high) of the spectrum make it smaller",
                    UserWarning,
                    stacklevel=level_of_caller(),
                )
            return True
        samples.grow(steps, bar)


def probes_for(std_error: Any, tail: Any, count: int, aim: float) -> int:
    """Return how many probes are likely to bring the sampling error below `aim`, at most four times those so far.

    `std_error` and `tail` of the `count` probes so far; of arrays, the largest error counts.
    """
    first, last = count, 4 * count
    while last - first > 1:  # the error of `last` is small enough, or it is the most; that of `first` is not
        middle = (first + last) // 2
        sides = widths(0.95, std_error * np.sqrt(count / middle), tail, middle)
        if max(np.max(width, initial=0.0) for width in sides) <= aim:
            last = middle
        else:
            first = middle
    return last
