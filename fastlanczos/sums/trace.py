"""tr f(A) from random probes, with an error bar that can be asked for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.intervals import widths
from fastlanczos.operators import as_dimension, as_operator
from fastlanczos.probes import seed_sequence
from fastlanczos.sums.deflation import deflation, deflation_that_pays
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import as_function
from fastlanczos.sums.samples import Samples
from fastlanczos.sums.xtrace import xtrace

__all__ = ["logdet", "trace"]

_SHARE = 0.25  # of the accuracy asked for that the finite number of steps may take
_METHODS = ("auto", "hutchinson", "deflated", "xtrace")


def trace(
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
    max_memory: int | None = None,
    like: Any = None,
    progress: bool = False,
) -> Estimate:
    """Estimate tr f(A) of a symmetric operator by stochastic Lanczos quadrature, with both parts of the error.

    Each probe v, a uniform direction of norm sqrt(n), gives v' f(A) v by the Gauss rule of a Lanczos run, without a
    basis: a sum needs none. Where the spectrum allows, one run more takes out what it knows exactly, and leaves the
    rest to the probes.

    Parameters
    ----------
    A, dim, like
        The operator, as in `lanczos`.
    fun : callable, str, ("power", p) or None
        f: vectorized, or "log", "exp", "sqrt", "inv", "inv_sqrt", "sign", "identity". None: the trace of A itself, for
        which a probe takes a single product.
    num_probes : int, optional
        Probes, by default 20; with `rtol` or `atol` the number to begin with, by default 10.
    num_steps : int
        Lanczos steps for each probe, and for the deflation; with `rtol` or `atol` the number to begin with.
    rtol, atol : float, optional
        Take more steps, and draw more probes, until the 95% interval's half width is below max(atol, rtol |value|).
        What was computed is kept.
    max_matvecs : int, optional
        Products at which to stop short of that, with a warning; by default 100,000.
    method : {"auto", "hutchinson", "deflated", "xtrace"}
        "hutchinson" takes nothing out. "deflated" takes out the eigenvectors that one run of `num_steps` steps finds
        (for fun=None, its whole Krylov space). "auto" does that where it leaves less than a third of the variance.
        "xtrace" is for fun=None: a low-rank part from the products themselves, two for each probe.
    seed : int, SeedSequence, Generator or None
        The same seed gives the same bits.
    max_memory : int, optional
        Bytes for the vectors of probes that go in lockstep.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        Where f is not defined on the spectrum, naming the node and its weight.

    Warns
    -----
    AsymmetryWarning
        As `lanczos`.
    UserWarning
        Where `max_matvecs` was reached before the accuracy.

    References
    ----------
    Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38
    (2017). Chen and Hallman, "Krylov-aware stochastic trace estimation", arXiv 2205.01736. Epperly, Tropp and Webber,
    "XTrace", arXiv 2301.07825.

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
    f = as_function(fun)
    operator = as_operator(A, dim, v0=like)
    if num_probes is None:
        num_probes = 20 if rtol is None and atol is None else 10
    num_probes, num_steps = as_dimension(num_probes, "num_probes"), as_dimension(num_steps, "num_steps")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    if method == "xtrace" and not f.is_identity:
        raise ValueError('method="xtrace" is for the trace of A itself (fun=None); f(A) takes "deflated"')
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    limit = 100_000 if max_matvecs is None else as_dimension(max_matvecs, "max_matvecs")
    wanted = None if rtol is None and atol is None else (rtol or 0.0, atol or 0.0)
    seeds = seed_sequence(seed)
    samples = Samples(operator, f, num_steps, num_steps if wanted is None else limit, seeds, max_memory)
    with tqdm(total=None if wanted else num_probes, desc="trace", unit="product", disable=not progress) as bar:
        if method == "xtrace":
            return xtrace(operator, num_probes, seeds, wanted, limit, bar)
        if method != "hutchinson" and operator.dim > 1:
            steps = min(num_steps, max(20, num_probes)) if f.is_identity and wanted is None else num_steps
            if method == "deflated":
                samples.take_out(deflation(operator, f, steps, seeds, bar))
            else:
                known, run = deflation_that_pays(operator, f, steps, limit if wanted else steps, seeds, bar)
                if run is None:
                    samples.take_out(known)
                else:
                    samples.adopt(run)
        samples.draw(num_probes - samples.count, bar)
        if wanted is not None:
            _narrow(samples, wanted, limit, bar)
    warn_if_asymmetric(samples.asymmetry, samples.precision, stacklevel=2)
    return samples.estimate()


def _narrow(samples: Samples, wanted: tuple[float, float], limit: int, bar: Any) -> None:
    """Add steps and probes until the estimate is as accurate as wanted, or the limit of products is reached."""
    while True:
        estimate = samples.estimate()
        aim = max(wanted[0] * abs(estimate.value), wanted[1])
        if estimate.half_width() <= aim:
            return
        room, left = aim - estimate.quadrature_error, limit - estimate.num_matvecs
        if samples.truncation_error() > _SHARE * aim:
            steps = samples.steps_for(0.4 * _SHARE * aim)
            if samples.cost_of(steps) <= left:
                samples.grow(steps, bar)
                continue
            reason = f"more steps than {samples.num_steps}, and more products (max_matvecs=)"
        elif room <= 0:
            reason = f"products that are more accurate: rounding leaves +- {samples.rounding_error():.2g}"
        else:
            more = min(_probes_for(estimate, room) - samples.count, left // samples.num_steps)
            if more >= 1:
                samples.draw(more, bar)
                continue
            reason = "more products (max_matvecs=)"
        warnings.warn(
            f"stopped after {estimate.num_matvecs} products at {estimate}, short of the accuracy asked for, "
            f"+- {aim:.2g}: it takes {reason}",
            UserWarning,
            stacklevel=3,
        )
        return


def _probes_for(estimate: Estimate, room: float) -> int:
    """How many probes are likely to bring the sampling error below `room`, at most four times those so far."""
    first, last = estimate.num_probes, 4 * estimate.num_probes
    while last - first > 1:  # the error of `last` is small enough, or it is the most; that of `first` is not
        middle = (first + last) // 2
        error = estimate.std_error * np.sqrt(estimate.num_probes / middle)
        if max(widths(0.95, error, estimate.tail, middle)) <= room:
            last = middle
        else:
            first = middle
    return last


def logdet(A: Any, dim: int | None = None, **options: Any) -> Estimate:
    """Estimate log det A of a symmetric positive definite operator: `trace(A, "log", ...)` with its options.

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> e = fl.logdet(np.diag(np.linspace(1, 2, 500)), rtol=1e-2, seed=0)
    >>> e.half_width() <= 1e-2 * abs(e.value)
    True
    """
    return trace(A, "log", dim, **options)
