"""The diagonal of f(A) from random probes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.operators.operator import Operator, as_operator
from fastlanczos.probes.draw import probe, seed_sequence
from fastlanczos.probes.intervals import short_tail, standard_error
from fastlanczos.sums.accuracy import Accuracy, probes_for
from fastlanczos.sums.deflation import Deflation, deflation, deflation_that_pays
from fastlanczos.sums.estimate import DiagonalEstimate
from fastlanczos.sums.functions import MatrixFunction, as_function
from fastlanczos.sums.multiply import lanczos_product
from fastlanczos.sums.products import multiply

__all__ = ["diagonal"]

_SETTLED = 1e-12  # relative change of f(A) v at which a run stops


def diagonal(
    A: Any,
    fun: Any = None,
    dim: int | None = None,
    *,
    num_probes: int | None = None,
    num_steps: int = 50,
    rtol: float | None = None,
    atol: float | None = None,
    max_matvecs: int | None = None,
    method: str = "auto",
    seed: Any = None,
    like: Any = None,
    progress: bool = False,
) -> DiagonalEstimate:
    """Estimate the diagonal of f(A), with an error for each entry.

    The estimate is the mean of v * f(A) v over probes v of random signs. If it reduces the variance, one more run finds
    some eigenvectors; their part is exact, and the probes estimate the rest.

    Parameters
    ----------
    A, fun, dim, num_steps, max_matvecs, seed, like, progress
        As in `trace`.
    num_probes : int, optional
        Number of probes of random signs, by default 50. With `rtol` or `atol` it is the number at the start, by default
        10.
    rtol, atol : float, optional
        Requested accuracy: steps and probes are added until the 95% interval of every entry has a half width below
        max(atol, rtol max |value|). Each probe needs the memory of one vector.
    method : {"auto", "hutchinson", "deflated"}
        As in `trace`.

    Returns
    -------
    DiagonalEstimate

    References
    ----------
    Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", Appl. Numer. Math. 57 (2007).

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> A = np.diag(np.arange(1.0, 101.0)) + 0.01
    >>> e = fl.diagonal(A, num_probes=30, seed=0)
    >>> bool(np.abs(e.value - np.diag(A)).max() < 0.2)
    True
    """
    f = as_function(fun)
    operator = as_operator(A, dim, v0=like)
    accuracy = Accuracy.asked_for(rtol, atol, max_matvecs)
    if num_probes is None:
        num_probes = 50 if accuracy is None else 10
    num_probes, num_steps = as_dimension(num_probes, "num_probes"), as_dimension(num_steps, "num_steps")
    if method not in ("auto", "hutchinson", "deflated"):
        raise ValueError(f"method must be one of auto, hutchinson, deflated; got {method!r}")
    entries = _Entries(operator, f, min(num_steps, operator.dim), seed_sequence(seed))
    with tqdm(desc="diagonal", unit="product", disable=not progress) as bar:
        if method != "hutchinson" and operator.dim > 1:
            steps = min(num_steps, max(20, num_probes)) if f.is_identity else num_steps
            entries.deflate(steps, method == "auto", bar)
        entries.draw(num_probes, bar)
        if accuracy is not None:
            _narrow(entries, accuracy, bar)
    warn_if_asymmetric(entries.asymmetry, entries.precision, stacklevel=2)
    return entries.estimate()


def _narrow(entries: _Entries, accuracy: Accuracy, bar: Any) -> None:
    while True:
        estimate = entries.estimate()
        size = float(np.abs(estimate.value).max())
        aim, steps_error = accuracy.aim(size), float(estimate.quadrature_error.max())
        if estimate.half_width() <= aim:
            return
        room = accuracy.limit - entries.num_matvecs
        if steps_error > accuracy.steps_aim(size) and entries.num_steps < entries.operator.dim:
            if 2 * entries.num_steps * entries.count <= room:
                entries.begin_anew(2 * entries.num_steps, bar)
                continue
        elif steps_error < aim:
            number = probes_for(estimate.std_error, estimate.tail, entries.count, aim - steps_error)
            more = min(number - entries.count, room // entries.num_steps)
            if more >= 1:
                entries.draw(more, bar)
                continue
        accuracy.warn(entries.num_matvecs, estimate, aim, "more products (max_matvecs=)")
        return


class _Entries:
    """v * f(A) v of the probes so far, on the complement of what is taken out, whose own part is known."""

    def __init__(self, operator: Operator, f: MatrixFunction, num_steps: int, seeds: np.random.SeedSequence) -> None:
        self.operator, self.f, self.seeds = operator, f, seeds
        self.num_steps = 1 if f.is_identity else num_steps
        self.num_matvecs = 0
        self.asymmetry, self.precision = 0.0, operator.precision
        self._taken_out = Deflation.none(operator.dim)
        self._known = np.zeros(operator.dim)
        self._samples: list[Float64] = []
        self._changes = np.zeros(operator.dim)  # summed over the probes

    @property
    def count(self) -> int:
        """The number of probes."""
        return len(self._samples)

    def deflate(self, num_steps: int, only_where_it_pays: bool, bar: Any) -> None:
        """Take out what one run knows exactly; there must be no samples yet."""
        if only_where_it_pays:
            known, run = deflation_that_pays(self.operator, self.f, num_steps, num_steps, self.seeds, bar)
            self.num_matvecs += 0 if run is None else run.num_steps
        else:
            known = deflation(self.operator, self.f, num_steps, self.seeds, bar)
        self._taken_out = known
        self.num_matvecs += known.num_matvecs
        U = known.vectors
        if known.rank and self.f.is_identity:
            # diag(A) = diag(Q A) + diag((1 - Q) A (1 - Q)) + diag((1 - Q) A Q), Q the projector; A Q is known.
            image = multiply(self.operator, U.T, bar)
            self.num_matvecs += known.rank
            inside = U.T @ (U @ image)
            self._known = np.einsum("ij,ji->i", 2 * image - inside, U)
        elif known.rank:
            self._known = np.einsum("ij,i,ij->j", U, known.values, U)

    def draw(self, number: int, bar: Any) -> None:
        """Draw so many probes more."""
        n = self.operator.dim
        for index in range(self.count, self.count + number):
            if self._taken_out.rank == n:
                self._samples.append(np.zeros(n))
                continue
            signs = probe(n, self.seeds, index + 1, "rademacher")  # probe 0 is the deflation's
            w = self._taken_out.complement(signs)
            if self.f.is_identity:
                y = multiply(self.operator, w[:, None], bar)[:, 0]
                self.num_matvecs += 1
            else:
                product = lanczos_product(self.operator, self.f, w, self.num_steps, _SETTLED, False, bar)
                self.num_matvecs += len(product.coefficients)
                self.asymmetry = max(self.asymmetry, product.asymmetry)
                self.precision = max(self.precision, product.precision)
                self._changes += product.changes
                y = product.vector
            self._samples.append(signs * self._taken_out.complement(y))

    def begin_anew(self, num_steps: int, bar: Any) -> None:
        """Draw the same probes with so many steps each."""
        number = self.count
        self.num_steps = min(num_steps, self.operator.dim)
        self._samples, self._changes = [], np.zeros(self.operator.dim)
        self.draw(number, bar)

    def estimate(self) -> DiagonalEstimate:
        """Return what the samples so far amount to."""
        samples = np.array(self._samples)
        return DiagonalEstimate(
            self._known + samples.mean(axis=0),
            standard_error(samples),
            self._changes / self.count,
            short_tail(samples),
            self.count,
            self.num_matvecs,
            {
                "method": "deflated" if self._taken_out.rank else "hutchinson",
                "num_steps": self.num_steps,
                "deflated": self._taken_out.rank,
                "seed": self.seeds.entropy,
                "asymmetry": self.asymmetry,
            },
        )
