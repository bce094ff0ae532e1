"""Claim: log-determinants of ill-conditioned kernels come with intervals that hold, in a part of Cholesky's time.

K + s I for Gaussian and Matern 3/2 kernels on random points in 2 and 8 dimensions, s = 1e-2 to 1e-6, as Gaussian
processes have them. `fl.logdet` with preconditioner="auto" and a few probes, by turns with NumPy's Cholesky factor,
with linear_operator (GPyTorch's estimator, its pivoted Cholesky preconditioner of rank 100, 50 steps), and imate's
stochastic Lanczos quadrature. `holds` says whether our 95% interval contains Cholesky's value.

    pip install '.[bench]'      # for the peers; without them ours and Cholesky are measured
"""

import statistics
import time
import warnings

import numpy as np
from matplotlib.figure import Figure
from report import parse, table, write

import fastlanczos as fl

try:
    import linear_operator
    import torch
except ModuleNotFoundError:
    linear_operator = None
try:
    import imate
except ModuleNotFoundError:
    imate = None

PROBES = 10


def kernel_matrix(n, dimensions, kernel, length, noise):
    """The matrix of a kernel on random points of the unit cube, plus noise."""
    X = np.random.default_rng(0).uniform(size=(n, dimensions)) / length
    square = np.sum(X**2, axis=1)
    K = X @ X.T
    for first in range(0, n, 500):
        rows = K[first : first + 500]
        rows *= -2.0
        rows += square + square[first : first + 500, None]  # one sum, so that K is symmetric to the bit
        np.maximum(rows, 0.0, out=rows)
        if kernel == "Gaussian":
            rows *= -0.5
            np.exp(rows, out=rows)
        else:
            distance = np.sqrt(3.0 * rows)
            np.multiply(1.0 + distance, np.exp(-distance), out=rows)
    K.flat[:: n + 1] = 1.0 + noise
    return K


def cholesky(K, noise, seed):
    del noise, seed
    return 2.0 * float(np.log(np.diagonal(np.linalg.cholesky(K))).sum()), None


def ours(K, noise, seed):
    e = fl.logdet(K, preconditioner="auto", diagonal=noise, num_probes=PROBES, seed=seed)
    return e.value, e


def by_linear_operator(K, noise, seed):
    del noise
    torch.manual_seed(seed)
    A = linear_operator.to_linear_operator(torch.from_numpy(K))
    settings = linear_operator.settings
    with (
        settings.max_preconditioner_size(100),
        settings.min_preconditioning_size(1),
        settings.num_trace_samples(PROBES),
        settings.max_lanczos_quadrature_iterations(50),
        settings.max_cholesky_size(1),
        torch.no_grad(),
    ):
        return float(A.inv_quad_logdet(logdet=True)[1]), None


def by_imate(K, noise, seed):
    del noise
    value = imate.logdet(
        K, method="slq", lanczos_degree=50, min_num_samples=PROBES, max_num_samples=PROBES, orthogonalize=-1, seed=seed
    )
    return float(value), None


SOLVERS = {"cholesky": cholesky, "fastlanczos": ours}
if linear_operator is not None:
    SOLVERS["linear_operator"] = by_linear_operator
if imate is not None:
    SOLVERS["imate"] = by_imate


def problems(quick):
    """(dimensions, kernel, length, noise, points, solvers)."""
    everyone = tuple(SOLVERS)
    small = 500 if quick else 2000
    for dimensions, lengths in ((2, (0.05, 0.2)), (8, (0.5,))):
        for kernel in ("Gaussian", "Matern 3/2"):
            for length in lengths:
                for noise in (1e-2,) if quick else (1e-2, 1e-4, 1e-6):
                    yield dimensions, kernel, length, noise, small, everyone
    if not quick:
        for dimensions, kernel, length, noise in (
            (2, "Gaussian", 0.2, 1e-6),
            (2, "Gaussian", 0.05, 1e-4),
            (2, "Matern 3/2", 0.2, 1e-2),
            (8, "Gaussian", 0.5, 1e-2),
        ):
            yield dimensions, kernel, length, noise, 8000, everyone
        yield 2, "Gaussian", 0.2, 1e-6, 20_000, ("cholesky", "fastlanczos")
        yield 2, "Gaussian", 0.05, 1e-6, 20_000, ("cholesky", "fastlanczos")


def measure(dimensions, kernel, length, noise, points, solvers):
    """Return the row of a problem; imate and linear_operator one time, the others by turns."""
    K = kernel_matrix(points, dimensions, kernel, length, noise)
    exact, times, values, rank, holds = None, {}, {}, None, []
    for seed in range(1 if points > 5000 else 3):
        for name in solvers:
            if seed and name not in ("cholesky", "fastlanczos"):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                began = time.perf_counter()
                try:
                    value, estimate = SOLVERS[name](K, noise, seed)
                except Exception as error:
                    if name == "fastlanczos":
                        raise
                    print(f"{name}: {type(error).__name__}: {str(error)[:100]}")
                    value, estimate = float("nan"), None
            times.setdefault(name, []).append(time.perf_counter() - began)
            values.setdefault(name, []).append(value)
            if name == "cholesky":
                exact = value
            elif estimate is not None:
                low, high = estimate.interval()
                holds.append(low <= exact <= high)
                rank = estimate.info.get("rank")
                width, steps = estimate.half_width(), estimate.info["num_steps"]
    return {
        "dimensions": dimensions,
        "kernel": kernel,
        "length": length,
        "noise": noise,
        "points": points,
        "exact": exact,
        "rank": rank,
        "steps": steps,
        "half width": width / abs(exact),
        "holds": float(np.mean(holds)),
        "seconds": {name: statistics.median(t) for name, t in times.items()},
        "error": {name: statistics.median(abs(v / exact - 1) for v in found) for name, found in values.items()},
    }


def main(arguments=None):
    """Measure every kernel."""
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    rows = []
    for problem in problems(options.quick):
        rows.append(measure(*problem))
        print({k: v for k, v in rows[-1].items() if k != "exact"}, flush=True)
    names = [name for name in SOLVERS if name != "cholesky"]
    table(
        "log det (K + s I): seconds, and relative error",
        ["kernel", "d", "length", "s", "points", "rank", "steps", "holds", "half width", "Cholesky s"]
        + [f"{name} {what}" for name in names for what in ("s", "error")],
        [
            [row["kernel"], row["dimensions"], row["length"], row["noise"], row["points"], row["rank"], row["steps"]]
            + [row["holds"], row["half width"], row["seconds"]["cholesky"]]
            + [row[what].get(name) for name in names for what in ("seconds", "error")]
            for row in rows
        ],
    )
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, mark in zip(names, "os^", strict=False):
        some = [row for row in rows if name in row["seconds"]]
        axes.plot(
            [row["seconds"][name] / row["seconds"]["cholesky"] for row in some],
            [max(row["error"][name], 1e-12) for row in some],
            mark,
            label=name,
            alpha=0.7,
        )
    axes.axvline(1.0, color="grey", lw=0.8)
    axes.set(xscale="log", yscale="log", xlabel="time, Cholesky = 1", ylabel="relative error of log det")
    axes.legend()
    write(options.output, "kernels", {"probes": PROBES, "rows": rows}, figure)
    return rows


if __name__ == "__main__":
    main()
