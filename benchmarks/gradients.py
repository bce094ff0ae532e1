"""Claim: the marginal likelihood of a large Gaussian process and its gradient, sooner than linear_operator's own.

A Gaussian process on a regular grid of 20,000 points in one dimension: a Toeplitz matrix of linear_operator's with
products by FFT, Matern 3/2, plus noise; three hyperparameters. `flt.logdet` against linear_operator's
`inv_quad_logdet` (conjugate gradients and Lanczos tridiagonalization, GPyTorch's own), each with its defaults and with
more probes and steps; by turns, each in a process that tells its peak memory. The exact value and gradient come from
the eigenvalues of a circulant where there is one, here from Levinson's recursion on the Toeplitz matrix itself.

    pip install '.[bench]'
"""

import json
import resource
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
from matplotlib.figure import Figure
from report import parse, table, write

NOISE = 1e-2
SETTINGS = {
    "flt.logdet": {},
    "flt.logdet, 40 probes": {"num_probes": 40},
    "linear_operator": {},
    "linear_operator, 40 probes, 100 steps": {"probes": 40, "steps": 100},
}


def column(n, length, scale, torch):
    """The first column of the kernel's matrix on the grid 0, 1/n, ..."""
    distance = 3**0.5 * torch.arange(n, dtype=torch.float64) / n / length
    return scale * (1 + distance) * torch.exp(-distance)


def exact(n):
    """log det and its gradient, from Levinson's recursion: the inverse of a Toeplitz matrix is told by one column.

    tr(T^-1 dT) needs the sums of the diagonals of T^-1, by the formula of Gohberg and Semencul.
    """
    import torch
    from scipy.linalg import solve_toeplitz

    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.05, 1.0, NOISE)]
    c = column(n, inputs[0], inputs[1], torch)
    c = torch.cat([c[:1] + inputs[2], c[1:]])
    unit = np.zeros(n)
    unit[0] = 1.0
    x = solve_toeplitz(c.detach().numpy(), unit)  # the first column of the inverse
    # Sums along diagonals: (1/x_0) sum over (n - k - 2 j) x_j x_{j+k}, from both triangular factors.
    weights = n - 2.0 * np.arange(n)
    size = 1 << (2 * n - 1).bit_length()
    first = np.fft.irfft(np.conj(np.fft.rfft(weights * x, size)) * np.fft.rfft(x, size), size)[:n]
    plain = np.fft.irfft(np.conj(np.fft.rfft(x, size)) * np.fft.rfft(x, size), size)[:n]
    sums = (first - np.arange(n) * plain) / x[0]
    sums[1:] *= 2.0
    gradient = torch.autograd.grad(c, inputs, torch.from_numpy(sums.copy()))
    return log_determinant(c.detach().numpy()), [float(g) for g in gradient]


def log_determinant(c):
    """log det of a symmetric Toeplitz matrix by Durbin's recursion, whose innovations are the pivots."""
    n = len(c)
    a, energy, total = np.zeros(n), c[0], np.log(c[0])
    for k in range(1, n):
        reflection = (c[k] - a[1:k] @ c[k - 1 : 0 : -1]) / energy if k > 1 else c[1] / energy
        a[1:k] = a[1:k] - reflection * a[k - 1 : 0 : -1]
        a[k] = reflection
        energy *= 1.0 - reflection**2
        total += np.log(energy)
    return total


def child(name, n, seed):
    """One value and gradient in this process; prints JSON."""
    import linear_operator
    import torch

    import fastlanczos.torch as flt

    warnings.simplefilter("ignore")
    torch.manual_seed(seed)
    options = SETTINGS[name]

    def run(n):
        inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.05, 1.0, NOISE)]
        kernel = linear_operator.operators.ToeplitzLinearOperator(column(n, inputs[0], inputs[1], torch))
        A = kernel.add_diagonal(inputs[2])
        if name.startswith("flt"):
            value = flt.logdet(A, seed=seed, **options).value
        else:
            settings = linear_operator.settings
            with (
                settings.num_trace_samples(options.get("probes", 10)),
                settings.max_lanczos_quadrature_iterations(options.get("steps", 20)),
                settings.max_cg_iterations(1000),
                settings.cg_tolerance(1e-4 if options else 1),
                settings.max_cholesky_size(1),
            ):
                value = A.inv_quad_logdet(logdet=True)[1]
                value.backward()
                return float(value.detach()), [float(x.grad) for x in inputs]
        value.backward()
        return float(value.detach()), [float(x.grad) for x in inputs]

    run(500)  # imports and pools
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    value, gradient = run(n)
    seconds = time.perf_counter() - began
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"value": value, "gradient": gradient, "seconds": seconds, "MiB": memory}))


def main(arguments=None):
    """Compare and write what came out."""
    parser = parse(__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=3, help="used by the program itself")
    options = parser.parse_args(arguments)
    if options.child:
        name, n, seed = options.child
        child(name, int(n), int(seed))
        return
    n, seeds = (1_500, 2) if options.quick else (20_000, 3)
    true, slope = exact(n)
    found = {name: [] for name in SETTINGS}
    for seed in range(seeds):
        for name, runs in found.items():
            done = subprocess.run(
                [sys.executable, __file__, "--child", name, str(n), str(seed)],
                capture_output=True,
                text=True,
                check=True,
            )
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    for name, runs in found.items():
        errors = np.array([[run["value"] - true, *np.subtract(run["gradient"], slope)] for run in runs])
        relative = np.sqrt(np.mean(errors**2, axis=0)) / np.abs([true, *slope])
        rows.append(
            {
                "solver": name,
                "seconds": statistics.median(run["seconds"] for run in runs),
                "MiB": statistics.median(run["MiB"] for run in runs),
                **dict(zip(("value", "d length", "d scale", "d noise"), map(float, relative), strict=True)),
            }
        )
    columns = list(rows[0])
    title = f"log det of a Gaussian process, n = {n:,}, and its gradient: relative errors (root mean square)"
    table(title, columns, [list(row.values()) for row in rows])
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        ours = row["solver"].startswith("flt")
        axes.semilogy(row["seconds"], row["d length"], "o" if ours else "s", label=row["solver"])
    axes.set_xlabel("seconds, value and gradient")
    axes.set_ylabel("relative error of the gradient (length)")
    axes.legend(fontsize=7)
    write(options.output, "gradients", {"n": n, "exact": [true, *slope], "rows": rows}, figure)


if __name__ == "__main__":
    main()
