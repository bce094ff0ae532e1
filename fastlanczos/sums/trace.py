"""tr f(A) and log det A from random probes, to a requested accuracy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import warn_of_lost_gradient
from fastlanczos.engine.kinds import shared_of
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.gauss.brackets import Bounds
from fastlanczos.operators.operator import Operator, as_operator
from fastlanczos.probes.draw import seed_sequence
from fastlanczos.ranks.group import as_group
from fastlanczos.ranks.portions import agreed_seeds
from fastlanczos.sums.accuracy import Accuracy, balance, narrow
from fastlanczos.sums.deflation import deflation, deflation_that_pays
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.exact import Factorization
from fastlanczos.sums.functions import MatrixFunction, as_function
from fastlanczos.sums.preconditioner import preconditioned, require_no_diagonal
from fastlanczos.sums.samples import Observer, Samples
from fastlanczos.sums.xtrace import xtrace

__all__ = ["logdet", "trace", "trace_of"]

_FIRST_STEPS, _MOST_STEPS = 50, 3200
_FIRST_STEPS_PRECONDITIONED = 10
_METHODS = ("auto", "hutchinson", "deflated", "xtrace", "exact")


def trace(
    A: Any,
    fun: Any = None,
    dim: int | None = None,
    *,
    num_probes: int | None = None,
    num_steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_matvecs: int | None = None,
    method: str = "auto",
    bounds: Any = None,
    preconditioner: Any = None,
    diagonal: Any = None,
    seed: Any = None,
    max_memory: int | None = None,
    like: Any = None,
    progress: bool = False,
    group: Any = None,
) -> Estimate:
    """Estimate tr f(A) of a symmetric operator by stochastic Lanczos quadrature, with an error for probes and steps.

    For each probe v, a uniform direction of norm sqrt(n), the Gauss rule of a Lanczos run gives v' f(A) v. The runs
    keep no basis, since sums do not need one. If it reduces the variance, one more run finds a low-rank part exactly,
    and the probes estimate only the rest.

    Parameters
    ----------
    A, dim, like
        The operator, as in `lanczos`.
    fun : callable, str, ("power", p) or None
        f: vectorized, or "log", "exp", "sqrt", "inv", "inv_sqrt", "sign", "identity". None: the trace of A itself, for
        which a probe takes a single product.
    num_probes : int, optional
        Number of probes, by default 20. With `rtol` or `atol` it is the number at the start, by default 10.
    num_steps : int, optional
        Number of Lanczos steps for each probe and for the deflation. By default 50, and then more until what they leave
        of the error is less than half of what the probes do. With `rtol` or `atol` it is the number at the start.
    rtol, atol : float, optional
        Requested accuracy: steps and probes are added until the half width of the 95% interval is below max(atol, rtol
        |value|). Earlier steps and probes are kept.
    max_matvecs : int, optional
        Maximum number of products for either, by default 100,000 with `rtol` or `atol`, otherwise 250 for each probe. A
        warning says if the accuracy was not reached, or the steps leave more than the probes.
    method : {"auto", "hutchinson", "deflated", "xtrace", "exact"}
        "hutchinson" uses probes alone. "deflated" computes the part on the eigenvectors that one run of `num_steps`
        steps finds (for fun=None, on its whole Krylov space), and probes estimate the rest. "auto" does so if this
        leaves less than a third of the variance. "xtrace" is for fun=None: the low-rank part comes from the products
        themselves, two per probe. "exact" factors the matrix, or computes its eigenvalues; "auto" does so if neither
        `num_probes` nor `num_steps` is given and that is less work than the accuracy or the steps asked for.
    bounds : (low, high), optional
        Numbers below and above which there is no eigenvalue; either may be None. For "log", "inv", "sqrt", "inv_sqrt"
        and powers a low bound above 0, for "exp" a high one, makes the quadrature's part of the error a theorem: the
        Gauss rule and a Gauss-Radau rule hold each probe's value between them. For a kernel matrix K + s I, low is s.
    preconditioner : int, "auto" or object, optional
        For "log" and "inv" and a kernel matrix K + D: a number of pivots of a partial Cholesky factorization of K, read
        from columns of the matrix A, of an operator with diagonal() and columns(indices), or of linear_operator's. Few
        steps and few probes are then enough, and the steps' part of the error is a theorem. "auto" weighs the pivots
        against the products that they save. An object has inverse_root(v), which returns P^-1/2 v, and logdet, log det
        P.
    diagonal : float or array_like, shape (n,), optional
        The part D of A that `preconditioner` takes for noise, such as s of K + s I.
    seed : int, SeedSequence, Generator or None
        The same seed gives the same bits.
    max_memory : int, optional
        Bytes for the vectors of the probes that run at once.
    progress : bool
        Show a progress bar.
    group : ProcessGroup, DeviceMesh or mpi4py communicator, optional
        Ranks that all have A: the probes are shared out among them. A `ShardedOperator` needs no group; its probes are
        drawn by method "hutchinson".

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If f is not defined on the spectrum, naming the node and its weight; if `bounds` do not hold the spectrum; if
        method="exact" has no entries to work on.

    Warns
    -----
    AsymmetryWarning
        As `lanczos`.
    UserWarning
        If `max_matvecs` was reached before the accuracy, or before the steps leave less than the probes.

    References
    ----------
    Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38
    (2017). Chen and Hallman, "Krylov-aware stochastic trace estimation", arXiv 2205.01736. Epperly, Tropp and Webber,
    "XTrace", arXiv 2301.07825. Chen, Epperly, Tropp and Webber, "Randomly pivoted Cholesky", arXiv 2207.06503.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> d = np.linspace(1, 2, 500)
    >>> e = fl.trace(np.diag(d), "log", seed=0)
    >>> low, high = e.interval(0.99)
    >>> bool(low < np.log(d).sum() < high)
    True
    """
    warn_of_lost_gradient(A, "logdet" if fun == "log" else "trace")
    return trace_of(
        as_operator(A, dim, v0=like, shared=True),
        as_function(fun),
        num_probes=num_probes,
        num_steps=num_steps,
        rtol=rtol,
        atol=atol,
        max_matvecs=max_matvecs,
        method=method,
        bounds=bounds,
        preconditioner=preconditioner,
        diagonal=diagonal,
        seed=seed,
        max_memory=max_memory,
        progress=progress,
        group=group,
    )


def trace_of(
    operator: Operator,
    f: MatrixFunction,
    *,
    num_probes: int | None = None,
    num_steps: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    max_matvecs: int | None = None,
    method: str = "auto",
    bounds: Any = None,
    preconditioner: Any = None,
    diagonal: Any = None,
    seed: Any = None,
    max_memory: int | None = None,
    progress: bool = False,
    group: Any = None,
    observer: Observer | None = None,
) -> Estimate:
    """Do what `trace` says; the `observer` sees every run, with its basis, and what was taken out."""
    shared = shared_of(operator.kind)
    if shared is not None:
        if group is not None:
            raise ValueError("group is for an operator that every rank has; the vectors of A are shared out already")
        if method not in ("auto", "hutchinson") or preconditioner is not None:
            raise ValueError(
                'vectors that are shared out over ranks take method="hutchinson" without a preconditioner, got '
                f"method={method!r}" + ("" if preconditioner is None else " and a preconditioner")
            )
        method = "hutchinson"
    members = shared.group if shared is not None else None if group is None else as_group(group)
    accuracy = Accuracy.asked_for(rtol, atol, max_matvecs, steps_are_given=num_steps is not None)
    open_ = method == "auto" and num_probes is None and num_steps is None and preconditioner is None
    if num_probes is None:
        num_probes = 20 if accuracy is None else 10
    num_probes = as_dimension(num_probes, "num_probes")
    balancing = num_steps is None and accuracy is None
    first_steps = _FIRST_STEPS if preconditioner is None else _FIRST_STEPS_PRECONDITIONED
    num_steps = first_steps if num_steps is None else as_dimension(num_steps, "num_steps")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    if method == "xtrace" and not f.is_identity:
        raise ValueError('method="xtrace" is for the trace of A itself (fun=None); f(A) takes "deflated"')
    exact = Factorization(operator, f) if open_ or method == "exact" else None
    if exact is not None and exact.is_the_way(method, num_probes * num_steps, accuracy):
        return exact.estimate(0)
    worth = np.inf if exact is None else exact.products
    seeds = seed_sequence(seed)
    if members is not None:
        seeds = agreed_seeds(members, seeds)
    within, inner = Bounds.given(bounds), None
    if preconditioner is not None:
        inner = preconditioned(operator, f, preconditioner, diagonal, num_probes * _FIRST_STEPS, seeds)
        operator, within, f, method = inner.operator, inner.bounds, inner.f, "hutchinson"
        if observer is not None:
            observer.precondition(inner)
    else:
        require_no_diagonal(diagonal)
    most_steps = (_MOST_STEPS if balancing else num_steps) if accuracy is None else accuracy.most_steps(num_steps)
    portions = members if shared is None else None
    samples = Samples(operator, f, num_steps, most_steps, seeds, max_memory, within, portions, observer)
    if inner is not None:
        samples.offset, samples.transform = inner.known, inner.transform
    with tqdm(
        total=num_probes * samples.num_steps if accuracy is None else None,
        desc="trace",
        unit="product",
        disable=not progress,
    ) as bar:
        if method == "xtrace":
            return xtrace(operator, num_probes, seeds, accuracy, bar)
        if method != "hutchinson" and operator.dim > 1:
            steps = min(num_steps, max(20, num_probes)) if f.is_identity and accuracy is None else num_steps
            if method == "deflated":
                samples.take_out(deflation(operator, f, steps, seeds, bar))
            else:
                known, run = deflation_that_pays(operator, f, steps, most_steps, seeds, bar, observer is not None)
                if run is None:
                    samples.take_out(known)
                else:
                    samples.adopt(run)
        done = True
        if balancing:
            done = balance(samples, num_probes, max_matvecs, bar, worth)
        elif accuracy is None:
            samples.draw(num_probes - samples.count, bar)
        else:
            done = narrow(samples, accuracy, num_probes, bar, worth)
    if not done and exact is not None:
        return exact.estimate(samples.num_matvecs)
    warn_if_asymmetric(samples.asymmetry, samples.precision)
    estimate = samples.estimate()
    if inner is None:
        return estimate
    return replace(estimate, info={**estimate.info, "method": "preconditioned", "rank": inner.P.rank})


def logdet(A: Any, dim: int | None = None, **options: Any) -> Estimate:
    """Estimate log det A of a symmetric positive definite operator: `trace(A, "log", ...)` with its options.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> d = np.linspace(1, 2, 500)
    >>> e = fl.logdet(lambda v: d * v, 500, rtol=1e-2, seed=0)
    >>> e.half_width() <= 1e-2 * abs(e.value)
    True

    A matrix that is given with its entries is factored where that is less work:

    >>> fl.logdet(np.diag(d), rtol=1e-6).info["method"]
    'exact'
    """
    return trace(A, "log", dim, **options)
