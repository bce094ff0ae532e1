"""What the operator itself says of the space that some rows of a run span."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from fastlanczos.arrays.cpu import Float64
from fastlanczos.eigenpairs.multiplier import Multiplier

__all__ = ["ZERO", "Source", "noise", "rayleigh_ritz"]

ZERO = 64.0 * float(np.finfo(np.float64).eps)  # a value below this part of the norm is 0 to rounding


@dataclass(frozen=True)
class Source:
    """The operator whose pairs are asked for, where the iteration is with a function of it that folds its spectrum.

    `forward` maps its eigenvalues, and `norm` is its norm. Values that are as good as equal in the iteration need not
    be equal here: all of them are locked, as far as there is room, before this operator tells them apart.
    """

    multiplier: Multiplier
    norm: float
    forward: Callable[[Float64], Float64]


def rayleigh_ritz(multiplier: Multiplier, run: Any, rows: range, norm: float) -> tuple[Float64, NDArray[Any]]:
    """Return the eigenvalues, ascending, of the operator on the span of some rows, and the rotation to them."""
    if not rows:
        return np.empty(0), np.empty((0, run.steps))
    every = slice(rows.start, rows.stop)
    projected = np.stack([run.inner(rows.stop, multiplier.product(run, i))[every] for i in rows], axis=1) / norm
    gram = np.stack([run.inner(rows.stop, run.rows(i + 1)[i])[every] for i in rows], axis=1)
    values, vectors = scipy.linalg.eigh((projected + projected.conj().T) / 2.0, (gram + gram.conj().T) / 2.0)
    rotation = np.zeros((len(rows), run.steps), dtype=vectors.dtype)
    rotation[:, every] = vectors.T
    return values * norm, rotation


def noise(multiplier: Multiplier, asymmetry: float) -> float:
    """What rounding may leave of a residual, relative to the operator's norm.

    A product errs by some units, a vector that was combined of m rows and rotated a few times by some sqrt(m) of them:
    with hundreds of rows, which a search may hold, by some hundred.
    """
    return float(max(192.0, np.sqrt(multiplier.dim)) * multiplier.precision + asymmetry)
