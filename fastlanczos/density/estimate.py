"""Stochastic Lanczos quadrature: `spectral_density`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from fastlanczos.arguments import as_dimension
from fastlanczos.arrays.cpu import Float64
from fastlanczos.density.density import SpectralDensity, padded
from fastlanczos.engine.kinds import shared_of
from fastlanczos.errors import level_of_caller, warn_if_asymmetric
from fastlanczos.gauss.quadrature import quadrature
from fastlanczos.krylov.memory_plan import plan_memory
from fastlanczos.krylov.probe_runs import lanczos_runs
from fastlanczos.operators.operator import as_operator
from fastlanczos.probes.draw import DISTRIBUTIONS, probe, seed_sequence
from fastlanczos.ranks.group import as_group
from fastlanczos.ranks.portions import agreed_seeds, in_portions

__all__ = ["spectral_density"]

_MOST_PROBES = 1000
_GROWTH = 16  # times as many steps as asked for, at most, where rtol wants more
_SHARE = 0.25  # of rtol that the finite number of steps may take


def spectral_density(
    A: Any,
    dim: int | None = None,
    *,
    num_probes: int = 10,
    num_steps: int = 90,
    seed: Any = None,
    probes: str = "sphere",
    reorthogonalize: str = "auto",
    basis_dtype: str | None = None,
    rtol: float | None = None,
    max_memory: int | None = None,
    like: Any = None,
    progress: bool = False,
    group: Any = None,
) -> SpectralDensity:
    """Estimate the eigenvalue density of a symmetric operator by stochastic Lanczos quadrature.

    Each of `num_probes` random vectors is the start of `num_steps` Lanczos steps. The Gauss quadrature of the
    tridiagonal matrix gives the nodes and weights of this probe, and the density is the mean over the probes. The
    defaults are the paper's.

    If A multiplies several vectors at once (a matrix, or anything with `matmat`), the probes run in lockstep with one
    block product per step. A network's Hessian then goes through the data once per step for all probes.

    Parameters
    ----------
    A : callable, array, sparse matrix, LinearOperator, tensor or object
        The symmetric operator, as in `lanczos`.
    dim : int, optional
        Length n of the vectors. Needed only if A has no shape.
    num_probes, num_steps : int
        Number of random vectors, and of Lanczos steps (products) for each.
    seed : int, SeedSequence, Generator or None
        Probe i depends on the seed and on i alone, so more probes do not change the first ones.
    probes : {"sphere", "gaussian", "rademacher"}
        Distribution of the probes: a uniform direction, independent normal entries (the total weight of a row then
        varies around 1), or random signs. All are unbiased.
    reorthogonalize : {"auto", "full", "none"}
        "auto" is "full" if the basis fits in memory, otherwise "none". Without reorthogonalization a density is as
        accurate: on a network's Hessian the cumulative distributions differed by 3e-14 after 60 steps.
        `info["reorthogonalize"]` and the repr say which it was.
    basis_dtype : {"float64", "float32"}, optional
        Storage of the basis; by default float64, and with "auto" float32 where only that fits in memory.
        `info["basis_dtype"]` says which it was.
    rtol : float, optional
        Requested accuracy: steps (up to 16 times as many) and probes (up to a thousand) are added until the 95% band of
        the cumulative distribution, blurred by the default bandwidth, is within +-rtol everywhere. `num_probes` and
        `num_steps` are then the start.
    max_memory : int, optional
        Bytes for bases and vectors together, by default half of what is available. It decides how many probes run at
        once (`info["lockstep"]`), and what "auto" means.
    like : array, optional
        If it is a torch tensor, a callable A gets tensors of its dtype.
    progress : bool
        Show a progress bar over all products.
    group : ProcessGroup, DeviceMesh or mpi4py communicator, optional
        Ranks that all have A: the probes are shared out among them, and each gets the density that one process would,
        with the same bits. An operator whose vectors are shared out (`ShardedOperator`) needs no group here.

    Returns
    -------
    SpectralDensity

    Raises
    ------
    MemoryError
        If "full" is requested and does not fit; the message says what would.
    TypeError, ValueError, NonFiniteError, BaseException
        As in `lanczos`. The exception's `finished_probes` is the density of the probes that were finished, or None.

    Warns
    -----
    AsymmetryWarning
        If the products are not those of one symmetric matrix.
    UserWarning
        If the spectrum is narrower than the default bandwidth, which then hides its shape.

    References
    ----------
    Ghorbani, Krishnan and Xiao (arXiv 1901.10159), section 2; Lin, Saad and Yang, "Approximating spectral densities of
    large matrices", SIAM Review 58 (2016). Without reorthogonalization: Chen and Trogdon (arXiv 2307.00847).

    Examples
    --------
    >>> import numpy as np
    >>> import fastlanczos as fl
    >>> eigenvalues = np.r_[np.zeros(900), np.linspace(1.0, 2.0, 100)]
    >>> d = fl.spectral_density(np.diag(eigenvalues), num_probes=20, seed=1)
    >>> float(d.cdf(0.5).round(1)), round(d.mean, 1)
    (0.9, 0.2)
    """
    operator = as_operator(A, dim, v0=like, shared=True)
    num_probes, num_steps = as_dimension(num_probes, "num_probes"), as_dimension(num_steps, "num_steps")
    if probes not in DISTRIBUTIONS:
        raise ValueError(f"probes must be one of {', '.join(DISTRIBUTIONS)}; got {probes!r}")
    if reorthogonalize not in ("auto", "full", "none"):
        raise ValueError(f'reorthogonalize must be "auto", "full" or "none", got {reorthogonalize!r}')
    if basis_dtype not in ("float64", "float32", None):
        raise ValueError(f'basis_dtype must be "float64", "float32" or None, got {basis_dtype!r}')
    if rtol is not None and not rtol > 0:
        raise ValueError(f"rtol must be positive, got {rtol!r}")
    if max_memory is not None:
        max_memory = as_dimension(max_memory, "max_memory")
    seeds = seed_sequence(seed)
    shared = shared_of(operator.kind)
    if group is not None and shared is not None:
        raise ValueError("group is for an operator that every rank has; the vectors of this one are shared out already")
    members = shared.group if shared is not None else None if group is None else as_group(group)
    if members is not None:
        seeds = agreed_seeds(members, seeds)
    plan = plan_memory(operator, num_probes, num_steps, reorthogonalize, basis_dtype, max_memory)

    most_steps = min(operator.dim, _GROWTH * num_steps)
    rules: list[tuple[Any, Any]] = []
    asymmetry, num_matvecs, precision = 0.0, 0, operator.precision
    launch: dict[str, int] | None = None

    masses: dict[int, float] = {}

    def start(index: int, memory: Float64) -> Float64:
        v0 = probe(operator.dim, seeds, index, probes, out=memory, shared=shared)
        if probes == "sphere":
            masses[index] = 1.0
        else:
            square = float(np.einsum("i,i->", v0, v0))
            masses[index] = (square if shared is None else shared.total(square)) / operator.dim
        return v0

    def so_far() -> SpectralDensity:
        info: dict[str, Any] = {
            "seed": seeds.entropy,
            "probes": probes,
            "num_steps": num_steps,
            "reorthogonalize": plan.reorthogonalize,
            "basis_dtype": plan.basis_dtype if plan.reorthogonalize == "full" else None,
            "lockstep": plan.lockstep,
            "asymmetry": asymmetry,
            "num_matvecs": num_matvecs,
        }
        if launch is not None:
            info["cuda"] = launch
        return SpectralDensity(*padded(rules), operator.dim, info)

    def measured(indices: range) -> Iterator[_Record]:
        for index, it in lanczos_runs(operator, start, indices, num_steps, plan, bar):
            nodes, weights = quadrature(it.alpha, it.beta)
            yield _Record((nodes, weights * masses[index]), it.asymmetry, it.precision, it.cuda)

    with tqdm(total=num_probes * num_steps, desc="Lanczos", unit="product", disable=not progress) as bar:
        try:
            wanted = num_probes
            while len(rules) < wanted:
                indices = range(len(rules), wanted)
                records: Iterable[_Record] = measured(indices)
                if members is not None and shared is None:
                    records = in_portions(members, indices, measured)
                for record in records:
                    rules.append(record.rule)
                    asymmetry = max(asymmetry, record.asymmetry)
                    precision = max(precision, record.precision)
                    num_matvecs += len(record.rule[0])
                    launch = record.cuda
                if rtol is None:
                    continue
                if num_steps < most_steps and _steps_error(so_far()) > _SHARE * rtol:
                    num_steps = min(2 * num_steps, most_steps)
                    plan = plan_memory(operator, num_probes, num_steps, reorthogonalize, basis_dtype, max_memory)
                    rules, wanted = [], num_probes
                else:
                    wanted = _wanted_probes(so_far(), rtol)
                bar.total = bar.n + (wanted - len(rules)) * num_steps
        except BaseException as error:
            error.finished_probes = so_far() if rules else None  # type: ignore[attr-defined]
            raise
    warn_if_asymmetric(asymmetry, precision)
    density = so_far()
    low, high = density.extremes
    if 0 < high - low < 2 * density.sigma:
        warnings.warn(
            f"the spectrum, [{low:.3g}, {high:.3g}], is narrower than the default bandwidth of {density.sigma:.3g}, "
            f"which is absolute (the paper's choice). Pass a smaller one, for example sigma={(high - low) / 300:.1g}",
            UserWarning,
            stacklevel=level_of_caller(),
        )
    return density


class _Record(NamedTuple):
    """What is kept of a probe: nodes and weights, and what its products were like."""

    rule: tuple[Any, Any]
    asymmetry: float
    precision: float
    cuda: dict[str, int] | None


def _steps_error(density: SpectralDensity) -> float:
    """What the finite number of steps leaves of the cumulative distribution, at worst."""
    return float(density.quadrature_error(density.grid(1000), cumulative=True).max())


def _wanted_probes(density: SpectralDensity, rtol: float) -> int:
    """How many probes the cumulative distribution's band is likely to take to be within +-rtol."""
    count = density.num_probes
    if count < 2:
        return 2
    t = density.grid(1000)
    center = density.cdf(t)
    low, high = density.band(t, cumulative=True)
    half = float(max((high - center).max(), (center - low).max()))
    if half <= rtol:
        return count
    steps = _steps_error(density)
    if count >= _MOST_PROBES or steps >= rtol:
        what = f"{count} probes" if steps < rtol else f"{density.info['num_steps']} steps"
        warnings.warn(
            f"stopped at {what}: the band of the cumulative distribution is +-{half:.2g}; rtol={rtol:.2g} was not "
            "reached",
            UserWarning,
            stacklevel=level_of_caller(),
        )
        return count
    more = int(1.1 * count * (((half - steps) / (rtol - steps)) ** 2 - 1))
    return min(_MOST_PROBES, 3 * count, count + 1 + more)
