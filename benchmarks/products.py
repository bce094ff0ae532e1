"""Claim: where products are dear, `fl.eigsh` needs fewer of them than scipy's `eigsh`, copies of eigenvalues included.

Products counted behind a `LinearOperator`, so that no solver knows what they cost: a 2-D Laplacian, ten outliers over a
bulk, a random graph and a GOE matrix, both ends, k = 1, 6, 20, tol = 0, 1e-8, 1e-4; and the Hessian of a network on
the digits. scipy, PRIMME with the fewest products (where it is installed), ours with and without the search for missed
copies. `least` are the steps after which unrestarted Lanczos, with all vectors kept, has converged by the same
criterion: copies apart, what no method does without that multiplies one vector at a time. `wrong` counts values off by
more than 1e-10 + tol of the norm from what LAPACK or a formula gives: a solver that misses a copy needs fewer products
for it.

Seconds with products of 1, 10 and 100 ms are what a solver takes beside its products, measured, and their number times
that; nothing sleeps.
"""

import statistics
import time

import numpy as np
import scipy.linalg
import scipy.sparse
from matplotlib.figure import Figure
from report import parse, table, write
from scipy.sparse.linalg import LinearOperator, eigsh
from spectra import laplacian
from tqdm import tqdm

import fastlanczos as fl

try:
    import primme
except ModuleNotFoundError:
    primme = None

TOLERANCES = (0, 1e-8, 1e-4)
MILLISECONDS = (1, 10, 100)


def ends_of(matrix, count=22):
    """Return the lowest and highest eigenvalues of a large sparse matrix, by scipy with many vectors.

    From two start vectors: of what both find the outermost is right, by the theorem of Courant and Fischer.
    """
    found = []
    for seed in (0, 1):
        v0 = np.random.default_rng(seed).standard_normal(matrix.shape[0])
        low, high = (
            np.sort(eigsh(matrix, count, which=w, v0=v0, ncv=150, tol=0, return_eigenvectors=False))
            for w in ("SA", "LA")
        )
        found.append((low, high))
    return np.concatenate([np.minimum(found[0][0], found[1][0]), np.maximum(found[0][1], found[1][1])])


def problems(quick):
    """Name -> (matrix, eigenvalues: all, or those at both ends)."""
    rng = np.random.default_rng(0)
    side, n, small = (30, 2000, 300) if quick else (100, 20_000, 1500)
    grid, of_grid = laplacian((side, side))
    d = np.r_[np.linspace(10, 20, 10), rng.standard_normal(n) * 0.1]
    G = scipy.sparse.random(n, n, 4 / n, random_state=0)
    G = (G + G.T).tocsr()
    B = rng.standard_normal((small, small))
    B = B + B.T
    return {
        "2-D Laplacian": (grid.tocsr(), of_grid),
        "10 outliers": (scipy.sparse.diags_array(d).tocsr(), d),
        "random graph": (G, ends_of(G)),
        "GOE": (B, np.linalg.eigvalsh(B)),
    }


def with_fastlanczos(operator, k, which, tol):
    return fl.eigsh(operator, k, which=which, tol=tol)[0]


def without_copies(operator, k, which, tol):
    return fl.eigsh(operator, k, which=which, tol=tol, multiplicities=False)[0]


def with_scipy(operator, k, which, tol):
    v0 = np.random.default_rng(0).standard_normal(operator.shape[0])
    return eigsh(operator, k, which=which, tol=tol, v0=v0)[0]


def with_primme(operator, k, which, tol):
    return primme.eigsh(operator, k, which=which, tol=max(tol, 1e-10), method="PRIMME_DEFAULT_MIN_MATVECS")[0]


SOLVERS = {"scipy": with_scipy, "fastlanczos": with_fastlanczos, "no copies": without_copies}
if primme is not None:
    SOLVERS["primme"] = with_primme


def measure(solve, product, n, k, which, tol, expected):
    """Return what one call costs."""
    count, inside = 0, 0.0

    def counted(v):
        nonlocal count, inside
        began = time.perf_counter()
        z = product(np.asarray(v).reshape(-1))
        inside += time.perf_counter() - began
        count += 1
        return z

    operator = LinearOperator((n, n), matvec=counted, dtype=np.float64)
    began = time.perf_counter()
    w = np.sort(solve(operator, k, which, tol))
    beside = time.perf_counter() - began - inside
    ascending = np.sort(expected)
    right = ascending[-k:] if which == "LA" else ascending[:k]
    wrong = np.abs(w - right) > (1e-10 + tol) * np.abs(expected).max()
    return {
        "products": count,
        "beside": beside,
        "seconds": {ms: beside + count * ms / 1000 for ms in MILLISECONDS},
        "wrong": int(np.count_nonzero(wrong)),
    }


class Unrestarted:
    """One Lanczos run of a matrix, and when it had converged to what."""

    def __init__(self, matrix, steps):
        n = matrix.shape[0]
        result = fl.lanczos(matrix, num_steps=min(n, steps), v0=np.random.default_rng(0).standard_normal(n))
        self.alpha, self.beta = result.alpha, np.append(result.beta, result.residual_norm)

    def least(self, k, which, tol):
        """Return the steps until k residuals are at most tol, or rounding, relative to their values."""
        low, high = k, self.alpha.size
        if not self._converged(high, k, which, tol):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._converged(middle, k, which, tol) else (middle, high)
        return high

    def _converged(self, m, k, which, tol):
        chosen = (0, k - 1) if which == "SA" else (m - k, m - 1)
        T = self.alpha[:m], self.beta[: m - 1]
        values, vectors = scipy.linalg.eigh_tridiagonal(*T, select="i", select_range=chosen)
        return np.all(self.beta[m - 1] * np.abs(vectors[-1]) <= max(tol, 2.3e-16) * np.abs(values))


def digits_hessians(quick):
    """Yield (parameters, Hessian of a float32 network's loss on the digits, trained for a while)."""
    import torch
    from sklearn.datasets import load_digits

    import fastlanczos.torch as flt

    X, y = load_digits(return_X_y=True)
    data = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)
    for widths in ((32,),) if quick else ((212,), (244, 244)):
        torch.manual_seed(0)
        layers, before = [], 64
        for width in widths:
            layers += [torch.nn.Linear(before, width), torch.nn.Tanh()]
            before = width
        model = torch.nn.Sequential(*layers, torch.nn.Linear(before, 10))
        loss_fn = torch.nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(50):
            optimizer.zero_grad()
            loss_fn(model(data[0]), data[1]).backward()
            optimizer.step()
        yield model, loss_fn, data, flt.HessianOperator(model, loss_fn, [data])


def hessian_rows(quick):
    """Time the top 20 (quick: 5) of Hessians, by turns with scipy on the same products and hessian-eigenthings."""
    rows, k = [], 5 if quick else 20
    for model, loss_fn, data, H in digits_hessians(quick):
        solvers = {
            "scipy": lambda tol, H=H: with_scipy(as_linear_operator(H), k, "LA", tol),
            "fastlanczos": lambda tol, H=H: fl.eigsh(H, k, which="LA", tol=tol),
            "no copies": lambda tol, H=H: fl.eigsh(H, k, which="LA", tol=tol, multiplicities=False),
        }
        eigenthings = _eigenthings(model, loss_fn, data, k)
        if eigenthings is not None:
            solvers["hessian-eigenthings"] = eigenthings
        for tol in (1e-3, 1e-6):
            times = {name: [] for name in solvers}
            for _ in range(1 if quick else 5):
                for name, solve in solvers.items():
                    began = time.perf_counter()
                    solve(tol)
                    times[name].append(time.perf_counter() - began)
            medians = {name: statistics.median(t) for name, t in times.items()}
            rows.append({"parameters": H.shape[0], "k": k, "tol": tol, **medians})
    return rows


def as_linear_operator(H):
    """The same products for scipy, which hands float64 vectors to an operator that takes the network's dtype."""
    return LinearOperator(H.shape, matvec=lambda v: np.asarray(H @ v.reshape(-1)), dtype=np.float64)


def _eigenthings(model, loss_fn, data, k):
    try:
        from hessian_eigenthings import HessianOperator, lanczos
    except ModuleNotFoundError:
        return None
    operator = HessianOperator(model, [data], lambda model, batch: loss_fn(model(batch[0]), batch[1]))
    return lambda tol: lanczos(operator, k=k, tol=tol, which="LA", seed=0)


def summary(rows, solver):
    ratios = [row[solver]["products"] / row["scipy"]["products"] for row in rows]
    fair = [row for row in rows if not row["scipy"]["wrong"]]
    over = [
        row[solver]["products"] - ((1.1 if row["tol"] < 1e-4 else 1.5) * row["scipy"]["products"] + 15) for row in fair
    ]
    return {
        "solver": solver,
        "median of scipy's products": statistics.median(ratios),
        "where scipy is right": statistics.median(row[solver]["products"] / row["scipy"]["products"] for row in fair),
        "above 1.1 (1.5) + 15": sum(x > 0 for x in over),
        "problems with wrong values": sum(row[solver]["wrong"] > 0 for row in rows),
        **{
            f"seconds / scipy's, {ms} ms": statistics.median(
                row[solver]["seconds"][ms] / row["scipy"]["seconds"][ms] for row in rows
            )
            for ms in MILLISECONDS
        },
    }


def draw(rows):
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.plot([row["scipy"]["products"] for row in rows], "k_", label="scipy", ms=9)
    ax.plot([row["least"] for row in rows], color="grey", lw=0.8, label="unrestarted Lanczos")
    for name, mark in (("fastlanczos", "o"), ("no copies", "."), ("primme", "x")):
        if name in SOLVERS:
            ax.plot([row[name]["products"] for row in rows], mark, label=name, ms=5)
    at = [i for i, row in enumerate(rows) if row["scipy"]["wrong"]]
    ax.plot(at, [rows[i]["scipy"]["products"] for i in at], "rx", label="scipy, wrong values", ms=7)
    ax.set_yscale("log")
    ax.set_ylabel("products")
    starts = [i for i, row in enumerate(rows) if i == 0 or row["problem"] != rows[i - 1]["problem"]]
    ax.set_xticks(starts, [rows[i]["problem"] for i in starts], ha="left")
    ax.legend(frameon=False, fontsize=8, ncols=3)
    return figure


def main(arguments=None):
    parser = parse(__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", help="values of k; 20 takes scipy minutes at a bulk's edge")
    options = parser.parse_args(arguments)
    rows = []
    ks = options.pairs or ((1, 6) if options.quick else (1, 6, 20))
    matrices = problems(options.quick)
    unrestarted = {name: Unrestarted(A, 300 if options.quick else 1200) for name, (A, _) in matrices.items()}
    todo = [
        (name, A.__matmul__, A.shape[0], values, k, which, tol)
        for name, (A, values) in matrices.items()
        for k in ks
        for which in ("LA", "SA")
        for tol in TOLERANCES
    ]
    for name, product, n, values, k, which, tol in tqdm(todo, "products"):
        row = {"problem": name, "n": n, "k": k, "which": which, "tol": tol}
        row["least"] = unrestarted[name].least(k, which, tol)
        for solver, solve in SOLVERS.items():
            row[solver] = measure(solve, product, n, k, which, tol, values)
        rows.append(row)
    cells = [
        [row[key] for key in ("problem", "k", "which", "tol", "least")]
        + [row[s][key] for s in SOLVERS for key in ("products", "wrong", "beside")]
        for row in rows
    ]
    heads = [f"{s} {key}" for s in SOLVERS for key in ("products", "wrong", "beside")]
    table("Products", ["problem", "k", "which", "tol", "least", *heads], cells)
    summaries = [summary(rows, solver) for solver in SOLVERS]
    known = [row for row in rows if row["least"] is not None]
    least = {
        "of scipy's products": statistics.median(row["least"] / row["scipy"]["products"] for row in known),
        "of ours without copies": statistics.median(row["least"] / row["no copies"]["products"] for row in known),
    }
    print("\nUnrestarted Lanczos, medians: " + ", ".join(f"{value:.3f} {name}" for name, value in least.items()))
    table("Summary", list(summaries[0]), [list(s.values()) for s in summaries])
    short = [
        {
            **{key: row[key] for key in ("problem", "k", "which", "tol", "least")},
            **{s: row[s]["products"] for s in SOLVERS},
        }
        for row in rows
    ]
    hessians = hessian_rows(options.quick)
    table("Seconds for the top eigenvalues of a Hessian", list(hessians[0]), [list(row.values()) for row in hessians])
    record = {"summary": summaries, "unrestarted": least, "products": short, "hessians": hessians}
    write(options.output, "products", record, draw(rows))


if __name__ == "__main__":
    main()
