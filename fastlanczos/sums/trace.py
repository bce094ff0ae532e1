"""tr f(A) from random probes, with an error bar that can be asked for."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from tqdm import tqdm

from fastlanczos.arrays import Float64
from fastlanczos.errors import warn_if_asymmetric
from fastlanczos.gauss import quadrature
from fastlanczos.intervals import short_tail, standard_error
from fastlanczos.iteration import LanczosIteration
from fastlanczos.operators import Operator, as_dimension, as_operator
from fastlanczos.plan import plan_memory
from fastlanczos.probes import seed_sequence
from fastlanczos.runs import lanczos_runs
from fastlanczos.sums.deflation import Deflation, deflation, pays
from fastlanczos.sums.estimate import Estimate
from fastlanczos.sums.functions import MatrixFunction, as_function

__all__ = ["logdet", "trace"]

_METHODS = ("auto", "hutchinson", "deflated", "xtrace")


def trace(
    A: Any,
    fun: Any = None,
    dim: int | None = None,
    *,
    num_probes: int = 20,
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
    num_probes : int
        Probes; with `rtol` or `atol` the number to begin with.
    num_steps : int
        Lanczos steps for each probe, and for the deflation.
    rtol, atol : float, optional
        Draw probes until the 95% interval's half width is below max(atol, rtol |value|). Those drawn are kept.
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
    sums = _Sums(operator, f, num_steps, seeds, max_memory)
    with tqdm(total=None if wanted else num_probes, desc="trace", unit="product", disable=not progress) as bar:
        if method == "xtrace":
            from fastlanczos.sums.xtrace import xtrace

            return xtrace(operator, num_probes, seeds, wanted, limit, bar)
        if method != "hutchinson" and operator.dim > 1:
            steps = min(num_steps, max(20, num_probes)) if f.is_identity and wanted is None else num_steps
            if method == "deflated" or sums.try_deflation(steps, bar):
                sums.deflate(deflation(operator, f, steps, seeds, bar))
        sums.draw(num_probes - sums.count, bar)
        while wanted is not None:
            estimate = sums.estimate()
            aim = max(wanted[0] * abs(estimate.value), wanted[1])
            sampling = estimate.half_width() - estimate.quadrature_error
            if estimate.half_width() <= aim:
                break
            room = aim - estimate.quadrature_error
            more = sums.count if room <= 0 else int(sums.count * ((sampling / room) ** 2 - 1) * 1.1) + 1
            more = min(max(more, 1), 3 * sums.count, (limit - sums.num_matvecs) // sums.products_a_probe)
            if more < 1 or (room <= 0 and sampling < 0.1 * estimate.quadrature_error):
                told = "more steps" if room <= 0 else "more products"
                warnings.warn(
                    f"stopped after {sums.num_matvecs} products at {estimate}, short of the accuracy asked for, "
                    f"+- {aim:.2g}: it takes {told} ({'num_steps' if room <= 0 else 'max_matvecs'}=)",
                    UserWarning,
                    stacklevel=2,
                )
                break
            sums.draw(more, bar)
    warn_if_asymmetric(sums.asymmetry, sums.precision, stacklevel=2)
    return sums.estimate()


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


class _Sums:
    """Probes so far: v' f(A) v of each, by all steps and by a few less."""

    def __init__(
        self,
        operator: Operator,
        f: MatrixFunction,
        num_steps: int,
        seeds: np.random.SeedSequence,
        max_memory: int | None,
    ) -> None:
        self.operator, self.f, self.seeds, self.max_memory = operator, f, seeds, max_memory
        self.num_steps = 1 if f.is_identity else min(num_steps, operator.dim)
        self.products_a_probe = self.num_steps
        self.taken_out = Deflation(np.zeros((0, operator.dim)), 0.0, 0, np.zeros(0))
        self.samples: list[float] = []
        self.changes: list[tuple[float, float]] = []
        self.num_matvecs = 0
        self.asymmetry, self.precision = 0.0, operator.precision
        self.rounding = 0.0

    @property
    def count(self) -> int:
        return len(self.samples)

    def try_deflation(self, num_steps: int, bar: Any) -> bool:
        """Whether a deflation would pay, by one probe's run; where it does not, that probe is a sample like others."""
        plan = plan_memory(self.operator, 1, num_steps, "none", "float64", self.max_memory)
        steps = min(num_steps, self.operator.dim)
        ((_, run),) = lanczos_runs(self.operator, self._start, range(1, 2), steps, plan, bar)
        if pays(self.f, run):
            self.num_matvecs += run.num_steps
            return True
        if self.f.is_identity:
            self.num_matvecs += run.num_steps - 1
            self._take(run.alpha[:1], run.beta[:0], run)
        else:
            self._take(run.alpha, run.beta, run)
        return False

    def deflate(self, taken_out: Deflation) -> None:
        """Take a part out that is known; there must be no samples yet."""
        self.taken_out = taken_out
        self.num_matvecs += taken_out.num_matvecs

    def draw(self, number: int, bar: Any) -> None:
        if number < 1:
            return
        rest = self.operator.dim - self.taken_out.rank
        if rest == 0:
            self.samples += [0.0] * number
            self.changes += [(0.0, 0.0)] * number
            return
        plan = plan_memory(self.operator, number, self.num_steps, "none", "float64", self.max_memory)
        first = self.count + 1  # probe 0 is the deflation's
        runs = lanczos_runs(self.operator, self._start, range(first, first + number), self.num_steps, plan, bar)
        for _, iteration in runs:
            self._take(iteration.alpha, iteration.beta, iteration)

    def _take(self, alpha: Float64, beta: Float64, run: LanczosIteration) -> None:
        rest = self.operator.dim - self.taken_out.rank
        nodes, weights = quadrature(alpha, beta)
        values = self.f.at(nodes, weights, self.operator.dim)
        value = float(weights @ values)
        self.samples.append(rest * value)
        self.changes.append(self._changes(alpha, beta, value) if self._truncated(alpha) else (0.0, 0.0))
        self.num_matvecs += len(alpha)
        self.asymmetry = max(self.asymmetry, run.asymmetry)
        self.precision = max(self.precision, run.precision)
        self.rounding = max(self.rounding, rest * self.f.rounding(nodes, values, weights, self.precision))

    def _truncated(self, alpha: Float64) -> bool:
        # A run that ended early is exact, and so is a single step for the trace itself.
        return not self.f.is_identity and len(alpha) == self.num_steps < self.operator.dim - self.taken_out.rank

    def _changes(self, alpha: Float64, beta: Float64, value: float) -> tuple[float, float]:
        """What the sum changed by from half of the steps to three quarters, and from there to all."""
        m = len(alpha)
        half, most = max(1, m // 2), max(1, 3 * m // 4)
        rest = self.operator.dim - self.taken_out.rank
        between = self._rule(alpha[:most], beta[: most - 1])
        return rest * (between - self._rule(alpha[:half], beta[: half - 1])), rest * (value - between)

    def _quadrature_error(self) -> float:
        """Twice what a geometric series of the changes would still add; all that they were, where they do not fall."""
        before, after = np.abs(np.mean(self.changes, axis=0))
        if after == 0.0:
            return 0.0
        if after >= before:
            return float(before + after)
        ratio = after / before
        return float(min(2.0 * after * ratio / (1.0 - ratio), before + after))

    def _start(self, index: int) -> Float64:
        return self.taken_out.start(index, self.seeds)

    def _rule(self, alpha: Float64, beta: Float64) -> float:
        nodes, weights = quadrature(alpha, beta)
        return float(weights @ self.f.at(nodes, weights, self.operator.dim))

    def estimate(self) -> Estimate:
        samples = np.array(self.samples)
        error = float(standard_error(samples))
        if self.taken_out.rank == self.operator.dim:
            error = 0.0
        return Estimate(
            self.taken_out.trace + float(samples.mean()),
            error,
            self._quadrature_error() + self.rounding + self.taken_out.rounding,
            len(samples),
            self.num_matvecs,
            float(short_tail(samples)),
            {
                "method": "deflated" if self.taken_out.rank else "hutchinson",
                "num_steps": self.num_steps,
                "deflated": self.taken_out.rank,
                "seed": self.seeds.entropy,
                "asymmetry": self.asymmetry,
            },
        )
