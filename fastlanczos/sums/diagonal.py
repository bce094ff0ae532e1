"""The diagonal of f(A) from random probes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.intervals import short_tail, standard_error
from fastlanczos.operators import as_dimension, as_operator
from fastlanczos.probes import probe, seed_sequence
from fastlanczos.sums.deflation import Deflation, deflation, deflation_that_pays
from fastlanczos.sums.estimate import DiagonalEstimate
from fastlanczos.sums.functions import as_function
from fastlanczos.sums.multiply import lanczos_product
from fastlanczos.sums.products import multiply

__all__ = ["diagonal"]


def diagonal(
    A: Any,
    fun: Any = None,
    dim: int | None = None,
    *,
    num_probes: int = 50,
    num_steps: int = 50,
    method: str = "auto",
    seed: Any = None,
    like: Any = None,
    progress: bool = False,
) -> DiagonalEstimate:
    """Estimate the diagonal of f(A), each entry with its own error, of both parts as for `trace`.

    The mean of v * f(A) v over probes v of random signs; where the spectrum allows, on the complement of the
    eigenvectors that one run finds, whose own part is exact.

    Parameters
    ----------
    A, fun, dim, num_steps, seed, like, progress
        As in `trace`.
    num_probes : int
        Probes of random signs.
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
    num_probes, num_steps = as_dimension(num_probes, "num_probes"), as_dimension(num_steps, "num_steps")
    if method not in ("auto", "hutchinson", "deflated"):
        raise ValueError(f"method must be one of auto, hutchinson, deflated; got {method!r}")
    seeds, n = seed_sequence(seed), operator.dim
    taken_out = Deflation.none(n)
    num_matvecs, asymmetry, precision = 0, 0.0, operator.precision
    quadrature_error = np.zeros(n)
    with tqdm(total=num_probes, desc="diagonal", unit="product", disable=not progress) as bar:
        if method != "hutchinson" and n > 1:
            steps = min(num_steps, max(20, num_probes)) if f.is_identity else num_steps
            if method == "deflated":
                taken_out = deflation(operator, f, steps, seeds, bar)
            else:
                taken_out, run = deflation_that_pays(operator, f, steps, steps, seeds, bar)
                num_matvecs += 0 if run is None else run.num_steps
        U = taken_out.vectors
        known = np.zeros(n)
        num_matvecs += taken_out.num_matvecs
        if taken_out.rank and f.is_identity:
            # diag(A) = diag(Q A) + diag((1 - Q) A (1 - Q)) + diag((1 - Q) A Q), Q the projector; A Q is known.
            image = multiply(operator, U.T, bar)
            num_matvecs += taken_out.rank
            inside = U.T @ (U @ image)
            known = np.einsum("ij,ji->i", 2 * image - inside, U)
        elif taken_out.rank:
            known = np.einsum("ij,i,ij->j", U, taken_out.values, U)
        samples = np.zeros((num_probes, n))
        if taken_out.rank < n:
            for index in range(num_probes):
                signs = probe(n, seeds, index + 1, "rademacher")
                w = taken_out.complement(signs)
                if f.is_identity:
                    y = multiply(operator, w[:, None], bar)[:, 0]
                    num_matvecs += 1
                else:
                    product = lanczos_product(operator, f, w, min(num_steps, n), 1e-12, False, bar)
                    num_matvecs += len(product.coefficients)
                    y = product.vector
                    quadrature_error += product.changes / num_probes
                    asymmetry, precision = max(asymmetry, product.asymmetry), max(precision, product.precision)
                samples[index] = signs * taken_out.complement(y)
    info = {"method": "deflated" if taken_out.rank else "hutchinson", "deflated": taken_out.rank, "seed": seeds.entropy}
    warn_if_asymmetric(asymmetry, precision, stacklevel=2)
    return DiagonalEstimate(
        known + samples.mean(axis=0),
        standard_error(samples),
        quadrature_error,
        short_tail(samples),
        num_probes,
        num_matvecs,
        info,
    )
