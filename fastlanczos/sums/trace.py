"""tr f(A) from random probes, with an error bar that can be asked for."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.operators.operator import as_operator
from fastlanczos.probes.draw import seed_sequence
from fastlanczos.sums.accuracy import Accuracy, narrow
from fastlanczos.sums.deflation import deflation, deflation_that_pays
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import as_function
from fastlanczos.sums.samples import Samples
from fastlanczos.sums.xtrace import xtrace

__all__ = ["logdet", "trace"]

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
    accuracy = Accuracy.asked_for(rtol, atol, max_matvecs)
    if num_probes is None:
        num_probes = 20 if accuracy is None else 10
    num_probes, num_steps = as_dimension(num_probes, "num_probes"), as_dimension(num_steps, "num_steps")
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    if method == "xtrace" and not f.is_identity:
        raise ValueError('method="xtrace" is for the trace of A itself (fun=None); f(A) takes "deflated"')
    seeds = seed_sequence(seed)
    most_steps = num_steps if accuracy is None else accuracy.most_steps(num_steps)
    samples = Samples(operator, f, num_steps, most_steps, seeds, max_memory)
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
                known, run = deflation_that_pays(operator, f, steps, most_steps, seeds, bar)
                if run is None:
                    samples.take_out(known)
                else:
                    samples.adopt(run)
        if accuracy is None:
            samples.draw(num_probes - samples.count, bar)
        else:
            narrow(samples, accuracy, num_probes, bar)
    warn_if_asymmetric(samples.asymmetry, samples.precision, stacklevel=2)
    return samples.estimate()


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
