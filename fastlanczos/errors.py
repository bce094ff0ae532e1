"""What can go wrong in a run, as exceptions and warnings."""

from __future__ import annotations

import sys
import warnings

import numpy as np

__all__ = [
    "AsymmetryWarning",
    "NonFiniteError",
    "NotSymmetricError",
    "RankError",
    "level_of_caller",
    "warn_if_asymmetric",
]


def level_of_caller() -> int:
    """Return the `stacklevel` at which a warning, given by the function that asks, names the line outside of this
    package that called into it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastlanczos":
        level, frame = level + 1, frame.f_back
    return level


class NonFiniteError(ValueError, ArithmeticError):
    """A product had entries that are NaN or infinite.

    Attributes
    ----------
    step : int
        The Lanczos step, counted from 1, whose product it was.
    count : int
        How many entries were not finite.
    partial : LanczosResult or None
        The finite part of the run: everything before that step.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> def matvec(v, d=np.array([1.0, np.inf])):
    ...     return d * v
    >>> try:
    ...     fl.lanczos(matvec, dim=2, seed=0)
    ... except fl.NonFiniteError as error:
    ...     print(error.step, error.count, error.partial)
    1 1 None
    """

    def __init__(self, message: str, *, step: int, count: int, partial: object = None) -> None:
        super().__init__(message)
        self.step = step
        self.count = count
        self.partial = partial

    def __reduce__(self) -> tuple[object, ...]:  # keyword arguments: an exception of another process arrives whole
        return _non_finite_error, (str(self), self.step, self.count, self.partial)


def _non_finite_error(message: str, step: int, count: int, partial: object) -> NonFiniteError:
    return NonFiniteError(message, step=step, count=count, partial=partial)


class RankError(RuntimeError):
    """Another rank of the group has failed, or does not answer.

    Its own error says why. The finished steps of this rank's run are in the exception's `partial`.

    Examples
    --------
    >>> import fastlanczos as fl
    >>> issubclass(fl.RankError, RuntimeError)
    True
    """


class AsymmetryWarning(UserWarning):
    """The products did not behave like those of one symmetric matrix.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     r = fl.lanczos(np.triu(np.ones((50, 50))), num_steps=10, seed=0)
    >>> caught[0].category.__name__, r.asymmetry > 0.01
    ('AsymmetryWarning', True)
    """


def warn_if_asymmetric(asymmetry: float, precision: float) -> None:
    """Warn where `asymmetry` is a hundred times what products of this `precision` explain."""
    if asymmetry <= 100 * precision:
        return
    warnings.warn(
        f"the operator does not act like one symmetric matrix: its products deviate from symmetry by {asymmetry:.1e} "
        f"of its norm, and their precision explains only {precision:.0e}. Likely causes: a matrix that is not "
        "symmetric; an error in the matvec; arithmetic of lower precision inside it; a result that changes from call "
        "to call (dropout, batch-norm statistics that move, a shuffling loader, augmentation, unseeded noise, "
        "nondeterministic kernels). "
        "Ritz values are uncertain by about that much: they carry "
        f"{max(0, int(-np.log10(asymmetry)))} digits of the norm.",
        AsymmetryWarning,
        stacklevel=level_of_caller(),
    )


class NotSymmetricError(ValueError):
    """An operator's products deviate from symmetry by more than the tolerance that is asked for."""

    def __init__(self, asymmetry: float) -> None:
        super().__init__(
            f"the operator is not symmetric (or Hermitian): its products deviate from symmetry by {asymmetry:.1e} of "
            "its norm, so eigenpairs cannot reach the requested tolerance. For a matrix that is not symmetric use "
            "scipy.sparse.linalg.eigs. If the products are symmetric but less exact, pass a larger tol"
        )
