"""Claim: a reorthogonalized Lanczos run costs about one sweep over its basis a step, where CGS2 costs four.

Whole runs with a diagonal operator, from cache to memory: `fl.lanczos` against Lanczos with classical Gram-Schmidt
applied twice, in NumPy and in torch, and against the time to read the basis once a step, measured in the same run. Then
the same run with other products and other storage. Medians; the rivals take turns, so that a busy machine disturbs all.
"""

import statistics
import time

import numpy as np
import torch
from matplotlib.figure import Figure
from peers import cgs2, cgs2_torch, read_seconds, three_terms, touch_memory
from report import parse, table, write

import fastlanczos as fl

SOLVERS = ("fastlanczos", "NumPy CGS2", "torch CGS2")


def in_turns(calls, repeats, entries=0):
    """Return {name: times} of calls that take turns, each with so much memory warm; their results are dropped."""
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            touch_memory(entries)
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return times


def ratio(times, slow, fast):
    """Return the median over the turns of how many times faster `fast` was than `slow`."""
    return statistics.median(s / f for s, f in zip(times[slow], times[fast], strict=True))


def scaling(n, num_steps, repeats):
    rng = np.random.default_rng(0)
    d, v0 = rng.normal(size=n), rng.normal(size=n)
    D, V0 = torch.from_numpy(d), torch.from_numpy(v0)
    rules = {}

    def ours():
        r = fl.lanczos(lambda v: d * v, n, num_steps, v0=v0)
        rules["ours"] = r.alpha, r.beta

    def theirs():
        rules["theirs"] = cgs2(lambda v: d * v, v0, num_steps)[:2]

    reads = [read_seconds(np.ones((num_steps, n)))]
    calls = {
        "fastlanczos": ours,
        "NumPy CGS2": theirs,
    }
    if n * num_steps <= 10**8:  # the larger ones take minutes
        calls["torch CGS2"] = lambda: cgs2_torch(lambda v: D * v, V0, num_steps)
    times = in_turns(calls, repeats, entries=n * num_steps)
    reads.append(read_seconds(np.ones((num_steps, n))))
    one, other = (fl.quadrature(*rule)[0] for rule in rules.values())
    difference = np.abs(one - other).max() / np.abs(d).max()
    ours = statistics.median(times["fastlanczos"])
    sweeps = (num_steps - 1) / 2  # the basis of step k has k rows before it
    limits = {way: statistics.mean(r[way] for r in reads) * sweeps for way in ("sum", "dot")}
    return {
        "n": n,
        "m": num_steps,
        **{f"{name} s": statistics.median(times[name]) if name in times else None for name in SOLVERS},
        "x NumPy": ratio(times, "NumPy CGS2", "fastlanczos"),
        "x torch": ratio(times, "torch CGS2", "fastlanczos") if "torch CGS2" in times else None,
        "of reading (sum)": ours / limits["sum"],
        "of reading (dot)": ours / limits["dot"],
        "read GB/s (sum)": n * num_steps * 8 * sweeps / limits["sum"] / 1e9,
        "read GB/s (dot)": n * num_steps * 8 * sweeps / limits["dot"] / 1e9,
        "Ritz values differ by": float(difference),
    }


def variants(n, num_steps, repeats):
    """The run of `scaling` with products from other thread pools, and with other storage."""
    rng = np.random.default_rng(0)
    d, v0 = rng.normal(size=n), rng.normal(size=n)
    D, V0 = torch.from_numpy(d), torch.from_numpy(v0)
    small, Q = rng.normal(size=(64, 64)), np.empty((n // 64, 64))

    def blas(v):  # a product in BLAS's threads: the blocks of a block-diagonal matrix
        return np.matmul(v[: Q.size].reshape(Q.shape), small + small.T, out=Q).ravel()

    def run(operator, **options):
        return lambda: fl.lanczos(operator, n, num_steps, **{"v0": v0} | options)

    reads = [read_seconds(np.ones((num_steps, n)))]
    calls = {
        "diagonal in NumPy": run(lambda v: d * v),
        "diagonal in torch": run(lambda v: D * v, v0=V0),
        "blocks in BLAS": lambda: fl.lanczos(blas, Q.size, num_steps, v0=v0[: Q.size]),
        "float32 rows": run(lambda v: d * v, basis_dtype="float32"),
        "none": run(lambda v: d * v, reorthogonalize="none"),
        "none, NumPy": lambda: three_terms(lambda v: d * v, v0, num_steps),
        "none, 4 m steps": lambda: fl.lanczos(lambda v: d * v, n, 4 * num_steps, v0=v0, reorthogonalize="none"),
    }
    times = in_turns(calls, repeats, entries=n * num_steps)
    reads.append(read_seconds(np.ones((num_steps, n))))
    products = {
        "diagonal in NumPy": lambda: d * v0,
        "diagonal in torch": lambda: D * V0,
        "blocks in BLAS": lambda: blas(v0),
    }
    alone = {name: statistics.median(t) for name, t in in_turns(products, 20).items()}
    sweeps = (num_steps - 1) / 2
    limits = {way: statistics.mean(r[way] for r in reads) * sweeps for way in ("sum", "dot")}
    rows = []
    for name, t in times.items():
        seconds, keeps = statistics.median(t), not name.startswith("none")
        rows.append(
            {
                "run": name,
                "s": seconds,
                "of the first": statistics.median(a / b for a, b in zip(t, times["diagonal in NumPy"], strict=True)),
                "of reading (sum)": seconds / limits["sum"] if keeps else None,
                "of reading (dot)": seconds / limits["dot"] if keeps else None,
                "without its products (sum)": (seconds - alone[name] * num_steps) / limits["sum"]
                if name in alone
                else None,
            }
        )
    record = {
        "rows": rows,
        "float32 rows, times faster": ratio(times, "diagonal in NumPy", "float32 rows"),
        "none, times faster than NumPy's recurrence": ratio(times, "none, NumPy", "none"),
        "none, time of a step at 4 m over m": 1 / (4 * ratio(times, "none", "none, 4 m steps")),
    }
    return record


def main(arguments=None):
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    sizes = [(10_000, 50, 3), (20_000, 40, 3)]
    if not options.quick:
        sizes = [(10**4, 100, 9), (10**4, 400, 5), (10**5, 100, 7), (10**5, 400, 3), (10**6, 100, 7)]
        sizes += [(10**6, 400, 1), (10**7, 50, 1)]
    rows = [scaling(*size) for size in sizes]
    other = variants(*((20_000, 20, 3) if options.quick else (10**6, 100, 7)))
    table("Whole runs, diagonal operator, float64", list(rows[0]), [list(row.values()) for row in rows])
    first = other["rows"][0]
    table("n = 10^6, m = 100 with other products and storage", list(first), [list(r.values()) for r in other["rows"]])
    for key, value in other.items():
        if key != "rows":
            print(f"  {key}: {value:.2f}")
    write(options.output, "step", {"rows": rows, "variants": other}, draw(rows))


def draw(rows):
    """Return the scaling: time of a run, and what it is of reading the basis once a step."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = sorted({row["m"] for row in rows})
    colours = dict(zip(SOLVERS, ("C1", "C0", "C2"), strict=True))
    for m, style in zip(steps, ("^:", "o-", "s--"), strict=False):
        some = [row for row in rows if row["m"] == m]
        sizes = [row["n"] for row in some]
        for name, colour in colours.items():
            times = [np.nan if row[f"{name} s"] is None else row[f"{name} s"] for row in some]
            if np.isnan(times).all():
                continue
            left.loglog(sizes, times, style, color=colour, label=f"{name}, m = {m}")
        for peer in ("NumPy", "torch"):
            gains = [np.nan if row[f"x {peer}"] is None else row[f"x {peer}"] for row in some]
            if np.isnan(gains).all():
                continue
            right.semilogx(sizes, gains, style, color=colours[f"{peer} CGS2"], label=f"{peer}, m = {m}")
    left.set_xlabel("dimension n")
    left.set_ylabel("seconds for m steps")
    right.axhline(4, color="0.7", lw=1)
    right.set_ylim(0)
    right.set_xlabel("dimension n")
    right.set_ylabel("times faster than CGS2 in")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
