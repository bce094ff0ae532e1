"""Claim: over ranks a step says two things, whatever k is, and a rank holds its part of the basis and little else.

Runs of the Lanczos iteration with full reorthogonalization on a diagonal operator, in processes of one thread each that
are joined by gloo: seconds, messages and bytes that a rank sends in a step, counted where they are sent, and the memory
of a rank beside what the interpreter had before (VmHWM), against its part of the basis. T is compared with that of one
process without a group.
"""

import glob
import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import parse, table, write


def peak_bytes():
    """Return the most memory that this process has had."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def rank_of(rank, ranks, n, steps, folder):
    """What a rank does: a run, and what it took."""
    import torch

    import fastlanczos as fl

    fl.set_num_threads(1)
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    edges = [n * r // ranks for r in range(ranks + 1)]
    mine = diagonal(n)[edges[rank] : edges[rank + 1]].copy()
    A = fl.ShardedOperator(lambda x: mine * x, mine.size, torch.distributed.group.WORLD)
    messages, sent = 0, 0
    gather = A.shared.group.gather

    def counting(numbers):
        nonlocal messages, sent
        messages += 1
        sent += numbers.nbytes * (ranks - 1)
        return gather(numbers)

    A.shared.group.gather = counting
    fl.lanczos(A, num_steps=2, seed=0)  # whatever is loaded the first time
    torch.distributed.barrier()
    before, messages, sent, began = peak_bytes(), 0, 0, time.perf_counter()
    r = fl.lanczos(A, num_steps=steps, seed=0)
    record = {
        "seconds": time.perf_counter() - began,
        "messages a step": messages / steps,
        "bytes a step": sent / steps,
        "memory": peak_bytes() - before,
        "basis": 8 * steps * mine.size,
        "alpha": r.alpha.tolist(),
    }
    Path(f"{folder}/{rank}.json").write_text(json.dumps(record))
    torch.distributed.destroy_process_group()


def diagonal(n):
    """A bulk and six outliers."""
    d = np.random.default_rng(0).normal(0, 0.1, n)
    d[-6:] = [3.0, -4.0, 5.0, 7.0, -9.0, 10.0]
    return d


def on_ranks(ranks, n, steps):
    """Return what each of so many ranks has recorded."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=rank_of, args=(r, ranks, n, steps, folder)) for r in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [json.loads(Path(f"{folder}/{r}.json").read_text()) for r in range(ranks)]


def beside_slepc(side, k):
    """Return times and errors of ours and of SLEPc's Krylov-Schur over two MPI ranks; nothing without them."""
    pythons = {"fastlanczos": sys.executable, "fastlanczos, ncv = 30": sys.executable, "SLEPc": "/usr/bin/python3"}
    folders = {f"{name.upper()}_DIR": glob.glob(f"/usr/lib/{name}dir/{name}*/*-real") for name in ("slepc", "petsc")}
    if shutil.which("mpirun") is None or not all(folders.values()) or importlib.util.find_spec("mpi4py") is None:
        print("\nmpirun, mpi4py or SLEPc is not installed")
        return []
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | root | {name: found[0] for name, found in folders.items()}
    one = 2 - 2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1))
    exact = np.sort(np.add.outer(one, one).ravel())[-k:]
    rows = []
    for name, python in pythons.items():
        script = Path(__file__).parent / "mpi" / ("slepc.py" if name == "SLEPc" else "ours.py")
        command = ["mpirun", "--oversubscribe", "-n", "2", python, str(script), str(side), str(k)]
        command += ["30"] if "ncv" in name else []
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        values = np.array(found["values"])
        off = np.abs(values - exact) > 1e-8
        rows.append(
            {
                "solver": name,
                "n": side * side,
                "seconds": statistics.median(found["seconds"]),
                "missed": int(off.sum()),
                "error of the others": float(np.abs(values - exact)[~off].max(initial=0.0)),
            }
        )
    return rows


def main():
    """Run with more and more ranks."""
    import fastlanczos as fl

    options = parse(__doc__.splitlines()[0]).parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    n, steps = (20_000, 20) if options.quick else (2_000_000, 60)
    d = diagonal(n)
    expected = fl.lanczos(lambda v: d * v, n, steps, seed=0).alpha
    rows = []
    for ranks in (1, 2) if options.quick else (1, 2, 3):
        found = on_ranks(ranks, n, steps)
        alphas = [record.pop("alpha") for record in found]
        rows.append(
            {
                "ranks": ranks,
                "seconds": max(record["seconds"] for record in found),
                "messages a step": found[0]["messages a step"],
                "bytes a step": found[0]["bytes a step"],
                "memory of a rank": max(record["memory"] for record in found),
                "its basis": max(record["basis"] for record in found),
                "memory / basis": max(record["memory"] / record["basis"] for record in found),
                "T differs": float(np.abs(np.array(alphas[0]) - expected)[:20].max()),
                "same bits": all(alpha == alphas[0] for alpha in alphas),
            }
        )
    table(f"{steps} steps, n = {n}", list(rows[0]), [list(row.values()) for row in rows])
    beside = beside_slepc(60 if options.quick else 300, 6)
    if beside:
        columns = list(beside[0])
        table(
            "6 largest values of the 2-D Laplacian, 2 MPI ranks, tol = 1e-10",
            columns,
            [list(r.values()) for r in beside],
        )
    write(options.output, "scale", {"n": n, "steps": steps, "rows": rows, "SLEPc": beside})


if __name__ == "__main__":
    main()
