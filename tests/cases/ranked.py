"""Work of several gloo ranks in processes of their own, and what they do in tests."""

import datetime
import multiprocessing
import pickle
import traceback
from pathlib import Path

import numpy as np


def on_ranks(size, work, *arguments, folder, timeout=30):
    """Return what work(rank, size, *arguments) returns on each rank, or what it raises; None if killed."""
    context = multiprocessing.get_context("spawn")
    folder = Path(folder)
    processes = [
        context.Process(target=_rank, args=(rank, size, work, arguments, str(folder), timeout)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
            raise AssertionError("a rank hangs")
    files = [folder / f"rank{rank}.pickle" for rank in range(size)]
    return [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]


def _rank(rank, size, work, arguments, folder, timeout):
    import torch

    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", size)
    limit = datetime.timedelta(seconds=timeout)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
    try:
        result = work(rank, size, *arguments)
    except Exception as error:
        partial = getattr(error, "partial", None)
        result = {"raised": type(error).__name__, "says": str(error), "steps": getattr(partial, "num_steps", None)}
        traceback.print_exc()
    Path(f"{folder}/rank{rank}.pickle").write_bytes(pickle.dumps(result))
    if "raised" not in (result if isinstance(result, dict) else {}):
        torch.distributed.destroy_process_group()


def diagonal(n=5003):
    """A bulk and six outliers."""
    return np.r_[np.random.default_rng(0).normal(0, 0.1, n - 6), [3.0, -4.0, 5.0, 7.0, -9.0, 10.0]]


def cut(values, rank, size):
    """A rank's part; of three and more ranks the second one has nothing."""
    if size < 3:
        return np.array_split(values, size)[rank]
    third = len(values) // 3
    edges = np.r_[0, third, third, np.linspace(third, len(values), size - 1).astype(int)[1:]]
    return values[edges[rank] : edges[rank + 1]]


def sharded(rank, size, d):
    import torch

    import fastlanczos as fl

    mine = cut(d, rank, size)
    return fl.ShardedOperator(lambda x: mine * x, len(mine), torch.distributed.group.WORLD), mine


def lanczos(rank, size, options):
    import fastlanczos as fl

    d = diagonal()
    A, _ = sharded(rank, size, d)
    counted = 0
    gather = A.shared.group.gather

    def counting(numbers):
        nonlocal counted
        counted += 1
        return gather(numbers)

    A.shared.group.gather = counting
    r = fl.lanczos(A, num_steps=80, seed=0, **options)
    return {"alpha": r.alpha, "beta": r.beta, "basis": r.basis, "gathers": counted, "repr": repr(A)}


def density(rank, size, options):
    import fastlanczos as fl

    A, _ = sharded(rank, size, diagonal())
    d = fl.spectral_density(A, num_probes=3, num_steps=40, seed=1, **options)
    return d.nodes, d.weights, d.dim


def refused(rank, size, function):
    import fastlanczos as fl

    A, _ = sharded(rank, size, diagonal(20))
    return {
        "eigsh": lambda: fl.eigsh(A, 3),
        "trace": lambda: fl.trace(A, "log"),
        "funm_multiply": lambda: fl.funm_multiply(A, "exp", np.ones(10)),
    }[function]()


def shared_probes(rank, size, rtol):
    import torch

    import fastlanczos as fl

    d = diagonal(600)
    group = torch.distributed.group.WORLD
    found = fl.spectral_density(np.diag(d), num_probes=5, num_steps=30, seed=1, rtol=rtol, group=group)
    return found.nodes, found.weights, {k: v for k, v in found.info.items() if k != "lockstep"}


def unseeded(rank, size):
    import torch

    import fastlanczos as fl

    group = torch.distributed.group.WORLD
    d = fl.spectral_density(np.diag(diagonal(300)), num_probes=3, num_steps=10, group=group)
    A, _ = sharded(rank, size, diagonal(300))
    return d.nodes, fl.spectral_density(A, num_probes=2, num_steps=10).nodes


def failing(rank, size, what):
    import os
    import signal

    import torch

    import fastlanczos as fl

    d = cut(diagonal(), rank, size)
    calls = 0

    def matvec(x):
        nonlocal calls
        calls += 1
        if rank == size - 1 and calls == 7:
            if what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "length":
                return (d * x)[:-1]
            if what == "not finite":
                return d * x * np.nan
            raise ValueError("out of luck")
        return d * x

    A = fl.ShardedOperator(matvec, len(d), torch.distributed.group.WORLD)
    return fl.lanczos(A, num_steps=40, seed=0).num_steps
