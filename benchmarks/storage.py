"""Claim: half the memory for the basis, or none at all, loses nothing that a density or T's eigenvalues show.

Rows in float32: how far T's eigenvalues are from those with rows in float64, on every spectrum of the design's
prototype. No basis: the largest gap between the blurred cumulative densities of a network's Hessian with and without
one (15,910 parameters; 1,510 with --quick), and the memory that a run takes, whatever its number of steps.
"""

import tracemalloc

import numpy as np
import torch
from report import parse, table, write
from spectra import spectra

import fastlanczos as fl
from fastlanczos.study import demo, images
from fastlanczos.torch import HessianOperator


def float32_rows(num_steps):
    v0 = np.random.default_rng(1).normal(size=3000)
    rows = []
    for name, d in spectra().items():
        alphas = {}
        for dtype in ("float64", "float32"):
            iteration = fl.LanczosIteration(3000, num_steps, v0=v0, basis_dtype=dtype)
            while iteration.step(d * iteration.vector):
                pass
            alphas[dtype] = iteration
        wide, narrow = alphas["float64"].result(), alphas["float32"].result()
        k, norm = narrow.num_steps, np.abs(d).max() or 1.0
        difference = None
        if wide.num_steps == k:
            difference = float(np.abs(wide.quadrature()[0] - narrow.quadrature()[0]).max() / norm)
        V = narrow.basis.astype(float)
        orthogonality = float(np.abs(V @ V.T - np.eye(k)).max())
        sweeps = alphas["float32"]._run.sweeps / k
        rows.append([name, num_steps, wide.num_steps, k, difference, orthogonality, sweeps])
    return rows


def without_a_basis(side, num_probes, num_steps):
    data = images.digits(side)
    H = HessianOperator(demo.train(data, seed=5), torch.nn.functional.cross_entropy, data)
    full, none = (
        fl.spectral_density(H, num_probes=num_probes, num_steps=num_steps, seed=0, reorthogonalize=mode)
        for mode in ("full", "none")
    )
    t = full.grid(20_000)
    gap = float(np.abs(full.cdf(t) - none.cdf(t)).max())
    top = full.nodes[0, -1]
    copies = int(np.sum(np.abs(none.nodes[0] - top) < 1e-9 * top))
    return ["x".join(map(str, H.shape)), num_probes, num_steps, gap, copies]


def memory(n, steps):
    d = np.linspace(0, 1, n)
    rows = []
    for num_steps in steps:
        fl.lanczos(lambda v: d * v, n, 2, seed=0, reorthogonalize="none")
        tracemalloc.start()
        fl.lanczos(lambda v: d * v, n, num_steps, seed=0, reorthogonalize="none")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append([n, num_steps, peak / (8 * n)])
    return rows


def main(arguments=None):
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    narrow = [row for m in ((60,) if options.quick else (60, 200, 400)) for row in float32_rows(m)]
    narrow_columns = ["spectrum", "m", "steps float64", "steps float32", "T's eigenvalues", "|V V' - I|", "sweeps/step"]
    table("Rows in float32: distance from float64, relative to the norm", narrow_columns, narrow)
    density = [without_a_basis(8, 3, 90) if options.quick else without_a_basis(28, 10, 90)]
    density_columns = ["Hessian", "probes", "m", "largest gap of the cdf", "copies of the top node"]
    table("No basis: the density of a network's Hessian", density_columns, density)
    peak = memory(200_000, (50, 400))
    peak_columns = ["n", "m", "vectors of n at the peak"]
    table("No basis: memory", peak_columns, peak)
    tables = {
        "float32": (narrow_columns, narrow),
        "density": (density_columns, density),
        "memory": (peak_columns, peak),
    }
    record = {name: [dict(zip(head, row, strict=True)) for row in body] for name, (head, body) in tables.items()}
    write(options.output, "storage", record)


if __name__ == "__main__":
    main()
