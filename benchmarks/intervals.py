"""Claim: 95% intervals of sums hold the true value, whatever the function, the spectrum and the number of steps.

`trace` on twelve spectra, three graphs (networkx), three of PyAMG's matrices and six Gaussian kernels (two lengths,
three noises), for eight functions, smooth ones and ones with kinks, jumps and singularities, with 20, 50, 100, 200
steps and with steps that choose themselves; 20 probes. Random probes on a sphere do not see the eigenvectors, so each
spectrum stands on a diagonal of its own. `logarithm` and `inverse` are of A where it is positive definite, otherwise of
A plus as much as makes its lowest eigenvalue a thousandth of the norm; `exponential` is that of 10 A / |A|.

    pip install '.[bench]'      # networkx and PyAMG
"""

import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor

import networkx
import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure
from pyamg.gallery import load_example
from report import parse, table, write
from tqdm import tqdm

import fastlanczos as fl

STEPS = (20, 50, 100, 200, None)
FUNCTIONS = ("sqrt(max(x, 0))", "abs", "sign", "step", "|x|^0.1", "exponential", "logarithm", "inverse")
SMOOTH = ("exponential", "logarithm", "inverse")


def kernel(points, length, noise):
    """The eigenvalues of a Gaussian kernel's matrix on points of the unit square, plus noise."""
    X = np.random.default_rng(0).uniform(size=(points, 2))
    return np.linalg.eigvalsh(np.exp(-np.sum((X[:, None] - X) ** 2, axis=2) / (2 * length**2)) + noise * np.eye(points))


def spectra(quick):
    """Name -> eigenvalues, ascending."""
    n = 300 if quick else 2000
    graphs = {
        "Barabasi-Albert graph": networkx.barabasi_albert_graph(n, 3, seed=0),
        "small world": networkx.watts_strogatz_graph(n, 8, 0.1, seed=0),
        "two communities": networkx.planted_partition_graph(2, n // 2, 16 / n, 2 / n, seed=0),
    }
    found = {
        name: np.linalg.eigvalsh(networkx.to_scipy_sparse_array(graph, dtype=float).toarray())
        for name, graph in graphs.items()
    }
    for name in ("knot",) if quick else ("knot", "airfoil", "unit_square"):
        matrix = sp.csr_array(load_example(name)["A"]).toarray()
        found[f"PyAMG {name}"] = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    for length in (0.05, 0.2):
        for noise in (1e-2, 1e-4, 1e-6):
            found[f"kernel {length}, {noise:g}"] = kernel(n, length, noise)
    return found


def function_of(name, values):
    """Return f, vectorized or a name, and what is to be added to the eigenvalues for it."""
    norm = np.abs(values).max()
    shift = max(0.0, 1e-3 * norm - values[0]) if values[0] < 1e-9 * norm else 0.0
    step = 0.6 if values[0] < 0 else np.quantile(values, 0.6)
    return {
        "sqrt(max(x, 0))": (lambda x: np.sqrt(np.maximum(x, 0.0)), 0.0),
        "abs": (np.abs, 0.0),
        "sign": ("sign", 0.0),
        "step": (lambda x: np.where(x > step, 1.0, 0.0), 0.0),
        "|x|^0.1": (lambda x: np.abs(x) ** 0.1, 0.0),
        "exponential": (lambda x: np.exp(10.0 * x / norm), 0.0),
        "logarithm": ("log", shift),
        "inverse": ("inv", shift),
    }[name]


def cell(name, values, function, steps, seeds):
    """Return how often the interval holds, its median half width, and how often a warning was given."""
    f, shift = function_of(function, values)
    A = sp.diags_array(values + shift).tocsr()
    call = {"sign": np.sign, "log": np.log, "inv": lambda x: 1.0 / x}.get(f, f) if isinstance(f, str) else f
    exact = float(np.sum(call(values + shift)))
    held, widths, warned = 0, [], 0
    for seed in range(seeds):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            e = fl.trace(A, f, num_probes=20, num_steps=steps, seed=seed)
        low, high = e.interval()
        held += low <= exact <= high
        widths.append(e.half_width())
        warned += bool(told)
    return {
        "spectrum": name,
        "function": function,
        "steps": steps or "chosen",
        "held": held / seeds,
        "half width": float(np.median(widths)),
        "relative": float(np.median(widths)) / max(abs(exact), 1e-300),
        "warned": warned / seeds,
    }


def main(arguments=None):
    """Measure every cell, in as many processes as there are cores."""
    parser = parse(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args(arguments)
    seeds = 5 if options.quick else options.seeds
    tasks = [
        (name, values, function, steps, seeds)
        for name, values in spectra(options.quick).items()
        for function in FUNCTIONS
        for steps in STEPS
    ]
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", FASTLANCZOS_NUM_THREADS="1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        futures = [pool.submit(cell, *task) for task in tasks]
        rows = [future.result() for future in tqdm(futures, desc="intervals")]
    for function in FUNCTIONS:
        some = [row for row in rows if row["function"] == function]
        names = list(dict.fromkeys(row["spectrum"] for row in some))
        table(
            f"{function}: share of seeds whose 95% interval holds the exact value (relative half width)",
            ["spectrum", *(str(steps or "chosen") for steps in STEPS)],
            [
                [name, *(f"{row['held']:.2f} ({row['relative']:.1e})" for row in some if row["spectrum"] == name)]
                for name in names
            ],
        )
    worst = sorted(rows, key=lambda row: row["held"])[:10]
    columns = ["spectrum", "function", "steps", "held", "relative", "warned"]
    table("The ten cells that hold least often", columns, [[row[c] for c in columns] for row in worst])
    held = [row["held"] for row in rows]
    summary = {"lowest": min(held), "mean": float(np.mean(held)), "below 0.9": sum(h < 0.9 for h in held)}
    table("All cells", list(summary), [list(summary.values())])
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.add_subplot()
    share = np.array([[row["held"] for row in rows if row["spectrum"] == name] for name in names])
    picture = axes.imshow(share, vmin=0.8, vmax=1.0, cmap="RdYlGn", aspect="auto")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xticks([5 * i + 2 for i in range(len(FUNCTIONS))], FUNCTIONS, fontsize=7)
    axes.set_title("Share of 95% intervals that hold; 20, 50, 100, 200 and chosen steps", fontsize=9)
    figure.colorbar(picture)
    write(options.output, "intervals", {"seeds": seeds, "summary": summary, "rows": rows}, figure)
    return rows


if __name__ == "__main__":
    main()
