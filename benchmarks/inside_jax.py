"""Claim: Lanczos inside a compiled JAX program runs at the engine's speed.

`fastlanczos.jax.lanczos` and matfree's `tridiag_sym`, both with full reorthogonalization and inside `jax.jit`, on a
diagonal matrix of 10^6 entries, 100 steps, by turns; under `vmap` on 10 probes of 10^5 entries; and fastlanczos.lanczos
outside of JAX beside them. The error is that of T, from a run whose products and sums are made in extended precision,
relative to the norm.

    pip install 'fastlanczos[jax]' matfree
"""

import statistics
import time

import jax
import matfree.decomp
import numpy as np
from matplotlib.figure import Figure
from report import parse, table, write

import fastlanczos as fl
import fastlanczos.jax as flj

jax.config.update("jax_enable_x64", True)


def exact(d, v, m):
    """alpha by Lanczos with two passes of Gram-Schmidt in 80-bit numbers."""
    d, v = d.astype(np.longdouble), v.astype(np.longdouble)
    V, alpha = [v / np.sqrt(v @ v)], []
    for _ in range(m):
        w = d * V[-1]
        alpha.append(w @ V[-1])
        for _ in range(2):
            for row in V:
                w = w - (row @ w) * row
        V.append(w / np.sqrt(w @ w))
    return np.array(alpha)


def main(arguments=None):
    """Time both and write what came out."""
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    n, m, runs = (20_000, 20, 2) if options.quick else (1_000_000, 100, 3)
    d = np.linspace(1.0, 2.0, n) ** 3
    v = np.random.default_rng(0).standard_normal(n)
    small = n // 10
    many = np.random.default_rng(1).standard_normal((10, small))
    theirs = matfree.decomp.tridiag_sym(m, reortho="full", materialize=False)

    def matfree_alpha(d, v):
        return theirs(lambda x: d * x, v).J_small[0]

    def ours_alpha(d, v):
        return flj.lanczos(lambda x: d * x, v, m).alpha

    few = min(n, 2000)
    some = slice(0, n, n // few)
    reference = exact(d[some][:few], v[:few], 15)
    calls = {"fastlanczos.jax": ours_alpha, "matfree": matfree_alpha}
    errors = {
        name: float(np.abs(np.asarray(jax.jit(call)(d[some][:few], v[:few]))[:15] - reference).max() / d.max())
        for name, call in calls.items()
    }
    single = {name: jax.jit(call) for name, call in calls.items()}
    batched = {name: jax.jit(jax.vmap(call, in_axes=(None, 0))) for name, call in calls.items()}
    times = {(name, which): [] for name in (*calls, "fastlanczos") for which in ("one", "vmap")}
    alphas = {}

    def timed(name, which, call, turn):
        began = time.perf_counter()
        alphas[name, which] = np.asarray(call())
        if turn > 0:  # the first compiles
            times[name, which].append(time.perf_counter() - began)

    def outside(values, starts):
        return [fl.lanczos(lambda x: values * x, len(values), num_steps=m, v0=start).alpha for start in starts]

    for turn in range(runs + 1):
        for name in calls:
            timed(name, "one", lambda name=name: single[name](d, v), turn)
            timed(name, "vmap", lambda name=name: batched[name](d[:small], many), turn)
        timed("fastlanczos", "one", lambda: outside(d, [v]), turn)
        timed("fastlanczos", "vmap", lambda: outside(d[:small], many), turn)
    median = {key: statistics.median(some_times) for key, some_times in times.items()}
    rows = [
        {
            "solver": name,
            **{f"{which}, s": median[name, which] for which in ("one", "vmap")},
            **{
                f"{which}, of ours": median[name, which] / median["fastlanczos.jax", which] for which in ("one", "vmap")
            },
            "error": errors.get(name),
        }
        for name in (*calls, "fastlanczos")
    ]
    differ = {
        which: float(np.abs(alphas["fastlanczos.jax", which] - alphas["matfree", which])[..., :15].max()) / d.max()
        for which in ("one", "vmap")
    }
    columns = ["solver", "one, s", "one, of ours", "vmap, s", "vmap, of ours", "error"]
    table(
        f"Lanczos, n = {n:,}, {m} steps, and 10 probes of n = {small:,}",
        columns,
        [[r[c] for c in columns] for r in rows],
    )
    print(f"The first 15 entries of the two T differ by {differ['one']:.1e} and {differ['vmap']:.1e} of the norm")
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    axes.bar(places - 0.2, [row["one, s"] for row in rows], 0.4, label=f"one run, n = {n:,}")
    axes.bar(places + 0.2, [row["vmap, s"] for row in rows], 0.4, label=f"vmap, 10 runs, n = {small:,}")
    axes.set_xticks(places, [row["solver"] for row in rows])
    axes.set_ylabel("seconds")
    axes.legend(loc="upper left")
    write(options.output, "inside_jax", {"n": n, "steps": m, "rows": rows, "difference": differ}, figure)


if __name__ == "__main__":
    main()
