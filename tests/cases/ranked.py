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
        "diagonal": lambda: fl.diagonal(A, "log", method="deflated"),
        "funm_multiply": lambda: fl.funm_multiply(A, "exp", np.ones(10)),
        "sigma": lambda: fl.eigsh(A, 2, sigma=0.5),
        "preconditioner": lambda: fl.eigsh(A, 2, which="SA", preconditioner=lambda r: r),
        "deflated": lambda: fl.trace(A, "exp", method="deflated"),
    }[function]()


def eigenpairs(rank, size, n, options):
    import fastlanczos as fl

    d = diagonal(n) if n > 20 else np.arange(1.0, n + 1)
    d[:3] = 10.0  # of which there is one already
    A, mine = sharded(rank, size, d)
    w, V, info = fl.eigsh(A, 6, return_info=True, **options)
    return w, V, np.linalg.norm(mine[:, None] * V - V * w), info.num_matvecs


def on_gpus(rank, size, library, options, fails=None):
    """A run over ranks with an emulated GPU each; what it gives, and how many messages a step took."""
    import sys
    from pathlib import Path

    import torch

    sys.path.append(str(Path(__file__).parents[1] / "csrc" / "cuda_emulation"))
    import fake_gpu

    import fastlanczos as fl
    from fastlanczos.arrays import frameworks
    from fastlanczos.engine import cuda

    gpu = fake_gpu.FakeGpu(library)
    cuda._cuda = gpu.module
    frameworks.FRAMEWORKS["fake_gpu"] = fake_gpu.Framework
    mine = cut(diagonal(603), rank, size)
    there, exchanges, calls = fake_gpu.Array.of(gpu, mine), [], 0

    def matvec(x):
        nonlocal calls
        calls += 1
        if fails == (rank, calls):
            raise ValueError("out of luck")
        return there * x

    A = fl.ShardedOperator(matvec, len(mine), torch.distributed.group.WORLD)
    group = A.shared.group

    def exchange(message, everyones):  # in the place of NCCL's collective
        exchanges.append(len(message._values))
        everyones._values[:] = group.gather(message.get()).ravel()

    group.exchange = exchange
    start = fake_gpu.Array.of(gpu, cut(np.cos(np.arange(603.0)), rank, size))
    waits = gpu.synchronizations
    r = fl.lanczos(A, num_steps=50, v0=start, **options)
    messages = len(exchanges)
    waits = gpu.synchronizations - waits  # of 50 steps, and of 25
    before = gpu.synchronizations
    fl.lanczos(A, num_steps=25, v0=start, **options)
    waits = waits, gpu.synchronizations - before
    d = fl.spectral_density(A, num_probes=2, num_steps=12, seed=0, like=start, reorthogonalize="none")
    few = fake_gpu.Array.of(gpu, cut(np.arange(1.0, 25.0), rank, size))
    small = fl.ShardedOperator(lambda x: few * x, len(few), torch.distributed.group.WORLD)
    small.shared.group.exchange = exchange
    whole = fl.lanczos(small, num_steps=30, v0=fake_gpu.Array.of(gpu, np.ones(len(few))))
    basis = None if r.basis is None else r.basis.get()
    return {
        "alpha": r.alpha, "beta": r.beta, "basis": basis, "nodes": d.nodes, "breakdown": r.breakdown,
        "messages": messages / r.num_steps, "first": exchanges[:6], "waits": waits, "whole": whole.num_steps,
        "values": whole.quadrature()[0],
    }  # fmt: skip


def tensors(rank, size):
    """The same operator on tensors; what kinds of arrays come back."""
    import torch

    import fastlanczos as fl

    mine = torch.from_numpy(cut(diagonal(300), rank, size))
    seen = set()

    def matvec(x):
        seen.add((type(x).__name__, str(getattr(x, "dtype", None))))
        return mine.to(x.dtype) * x

    A = fl.ShardedOperator(matvec, len(mine), torch.distributed.group.WORLD)
    v0 = torch.ones(len(mine), dtype=torch.float32)
    r = fl.lanczos(A, num_steps=20, v0=v0)
    w, V = fl.eigsh(A, 2, which="LA", v0=v0, tol=1e-5)
    d = fl.spectral_density(A, num_probes=1, num_steps=10, seed=0, like=v0)
    kinds = {type(x).__name__ for x in (r.basis, w, V)}
    return {"seen": seen, "kinds": kinds, "w": w.numpy(), "basis": tuple(r.basis.shape), "top": d.extremes[1]}


def functions(rank, size):
    """f(A) b with and without a basis, and diagonals: this rank's entries."""
    import fastlanczos as fl

    d = np.linspace(1, 3, 900)
    A, mine = sharded(rank, size, d)
    b = cut(np.sin(np.arange(900.0)), rank, size)
    short = fl.funm_multiply(A, "sqrt", np.stack([b, mine], axis=1))
    return {
        "sqrt": short,
        "exp": fl.funm_multiply(A, "exp", b, reorthogonalize="none"),
        "inverse": fl.diagonal(A, "inv", num_probes=8, seed=0),
        "itself": fl.diagonal(A, num_probes=4, seed=0),
        "accurate": fl.diagonal(A, "log", rtol=0.5, seed=0),
        "bounded": fl.diagonal(A, "inv", num_probes=4, num_steps=30, bounds=(1.0, 3.0), seed=0),
    }


def sums(rank, size, what):
    import torch

    import fastlanczos as fl

    d = np.linspace(1, 3, 2000)
    if what == "sharded":
        A, _ = sharded(rank, size, d)
        e = fl.logdet(A, num_probes=6, num_steps=25, seed=0)
        grown = fl.trace(A, "sqrt", rtol=1e-3, seed=0)
    else:
        group = torch.distributed.group.WORLD
        e = fl.logdet(lambda v: d * v, 2000, num_probes=6, num_steps=25, seed=0, method="hutchinson", group=group)
        grown = fl.trace(lambda v: d * v, "sqrt", 2000, rtol=1e-3, seed=0, method="hutchinson", group=group)
    return e.value, e.std_error, grown.value, e.num_matvecs


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


def checkpointed(rank, size, folder, options, until, dies=None):
    """Take up what `folder` has of a run, go on to step `until`, saving every five; a rank dies at a step."""
    import os
    import signal
    from pathlib import Path

    import torch.distributed.checkpoint as dcp

    import fastlanczos as fl

    A, _ = sharded(rank, size, diagonal(503))
    it = fl.LanczosIteration(503, 60, like=A, seed=0, **options)
    whole = (p for p in Path(folder).glob("step*") if (p / ".metadata").exists())
    saved = sorted(whole, key=lambda p: int(p.name.removeprefix("step")))
    begun = 0
    if saved:
        dcp.load({"run": it}, checkpoint_id=str(saved[-1]))
        begun = it.num_steps
    product = A.shared.watched(A.matvec)
    while it.num_steps < until:
        if dies == (rank, it.num_steps):
            os.kill(os.getpid(), signal.SIGKILL)
        it.step(product(it.vector))
        if it.num_steps % 5 == 0:
            dcp.save({"run": it}, checkpoint_id=f"{folder}/step{it.num_steps}")
    return {"alpha": it.alpha, "beta": it.beta, "begun": begun, "basis": it.result().basis}
