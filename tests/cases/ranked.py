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
        "inverse": fl.diagonal(A, "inv", num_probes=40, seed=0),
        "itself": fl.diagonal(A, num_probes=4, seed=0),
        "accurate": fl.diagonal(A, "log", rtol=0.2, seed=0),
        "bounded": fl.diagonal(A, "inv", num_steps=30, bounds=(1.0, 3.0), seed=0),
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


def network():
    """A small network, and 37 weighted samples, some of whose targets are ignored."""
    import torch

    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    x, y = torch.randn(37, 6, dtype=torch.float64), torch.randint(4, (37,))
    y[::5] = -100
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64))
    return model, loss, x, y


def curvature(rank, size, kind, options):
    import torch

    import fastlanczos as fl
    import fastlanczos.torch as flt

    model, loss, x, y = network()
    edges = np.r_[0, 5, np.linspace(5, 37, size).astype(int)[1:]]  # ragged: the first rank has five samples
    mine = slice(edges[rank], edges[rank + 1])
    if kind == "DDP":
        model = torch.nn.parallel.DistributedDataParallel(model)
    operator = {"GGN": flt.GGNOperator, "Fisher": flt.FisherOperator}.get(kind, flt.HessianOperator)
    data = list(zip(x[mine].split(8), y[mine].split(8), strict=True))
    H = operator(model, loss, data, group=torch.distributed.group.WORLD, **options)
    d = fl.spectral_density(H, num_probes=2, num_steps=15, seed=0)
    w, V = fl.eigsh(H, 5, which="LA", tol=1e-6 if "products" in options else 0)
    v = torch.linspace(-1, 1, H.shape[0], dtype=torch.float64)
    return {
        "product": (H @ v).numpy(), "gradient": H.gradient().numpy(), "loss": H.loss(), "samples": H.num_samples,
        "extremes": d.extremes, "w": w, "V": V, "local": H.local_dim,
    }  # fmt: skip


def population(rank, size, broken=False):
    """A network with two batch norms, of which all data's statistics are asked for."""
    import torch

    import fastlanczos.torch as flt

    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)
    ).double()
    x, y = torch.randn(40, 6, dtype=torch.float64), torch.randint(4, (40,))
    if size:
        edges = np.r_[0, 6, np.linspace(6, 40, size).astype(int)[1:]]
        mine = slice(edges[rank], edges[rank + 1])
        x, y = x[mine], y[mine]

    def forward(model, batch):
        if broken and rank == size - 1:
            raise ValueError("out of luck")
        return model(batch[0]), batch[1]

    group = torch.distributed.group.WORLD if size else None
    data = list(zip(x.split(7), y.split(7), strict=True))
    H = flt.HessianOperator(
        model, nn.functional.cross_entropy, data, forward=forward, batch_statistics="population", group=group
    )
    return (H @ torch.linspace(-1, 1, H.shape[0], dtype=torch.float64)).numpy()


def tracked(rank, size, directory, kind="plain", steps=4, bad=False):
    """Train a few steps and measure at every second one; what each rank got, and what it wrote."""
    import torch

    import fastlanczos.torch as flt

    if kind == "FSDP2":
        model, (_, loss, x, y) = divided("FSDP2", size), network()
    else:
        model, loss, x, y = network()
    group = torch.distributed.group.WORLD if size and kind == "plain" else None
    part = slice(rank * 37 // max(size, 1), (rank + 1) * 37 // max(size, 1))
    H = flt.HessianOperator(model, loss, [(x[part], y[part])], group=group)
    written = []
    tracker = flt.SpectrumTracker(
        H, 2, directory, k=3 if not bad else 4, num_probes=2, num_steps=10, writers=[written.append], loss_change=0.5
    )
    for step in range(steps):
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.01)
        tracker.step(loss=2.0 ** (step if rank == 0 else -step))
    last = tracker.measure()
    return {
        "steps": [m.step for m in tracker.measurements], "top": last.top, "loss": last.loss, "written": len(written),
        "concentration": last.concentration, "samples": last.samples,
    }  # fmt: skip


def failing_network(rank, size):
    import torch

    import fastlanczos as fl
    import fastlanczos.torch as flt

    model, loss, x, y = network()
    calls = 0

    def forward(model, batch):
        nonlocal calls
        calls += 1
        if rank == 1 and calls > 3:
            raise ValueError("out of luck")
        return model(batch[0]), batch[1]

    schedule = flt.Schedule("rebuilt")
    H = flt.HessianOperator(
        model, loss, [(x, y)], forward=forward, group=torch.distributed.group.WORLD, schedule=schedule
    )
    return fl.lanczos(H, num_steps=20, seed=0).num_steps


def divided(kind, size):
    """The network's bigger sister: plain, or its parameters divided over the ranks; and the ranks that have other data.

    A tied matrix, a frozen one, a buffer, a checkpointed part, and parameters that do not divide evenly.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
            self.again, self.frozen, self.last = nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 4)
            self.tied = nn.Linear(8, 8, bias=False)
            self.tied.weight = self.again.weight
            self.frozen.weight.requires_grad_(False)
            self.register_buffer("shift", torch.linspace(-1, 1, 8))

        def forward(self, x):
            x = torch.tanh(self.norm(self.first(x))) + self.shift
            x = x + torch.tanh(checkpoint(self.again, x, use_reentrant=False))
            return self.last(torch.tanh(self.tied(x)) + self.frozen(x))

    torch.manual_seed(0)
    model = Net().double()
    if kind == "plain":
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    shape, names = ((2, size // 2), ("data", "tensor")) if "+" in kind else ((size,), ("data",))
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
    if "TP" in kind:
        styles = {"first": ColwiseParallel(), "last": RowwiseParallel()}
        parallelize_module(model, mesh["tensor"] if "+" in kind else mesh, styles)
    if "FSDP2" in kind:
        fully_shard(model.last, mesh=mesh["data"])
        fully_shard(model, mesh=mesh["data"])
    return model


def divided_curvature(rank, size, kind, options):
    import torch

    import fastlanczos as fl
    import fastlanczos.torch as flt

    model, (_, loss, x, y) = divided(kind, size), network()
    ranks, mine = {"FSDP2": (size, rank), "TP": (1, 0), "FSDP2+TP": (2, rank // (size // 2))}[kind]
    edges = np.r_[0, 5, np.linspace(5, 37, ranks).astype(int)[1:]] if ranks > 1 else [0, 37]
    part = slice(edges[mine], edges[mine + 1])
    H = flt.HessianOperator(model, loss, list(zip(x[part].split(8), y[part].split(8), strict=True)), **options)
    d = fl.spectral_density(H, num_probes=2, num_steps=15, seed=0)
    w, V = fl.eigsh(H, 5, which="LA", tol=1e-6 if "products" in options else 0)
    v = torch.linspace(-1, 1, H.shape[0], dtype=torch.float64)
    before = H.loss()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    return {
        "product": (H @ v).numpy(), "gradient": H.gradient().numpy(), "loss": before, "samples": H.num_samples,
        "extremes": d.extremes, "nodes": d.nodes, "w": w, "V": V, "local": H.local_dim,
        "stretches": H.shared.stretches,
    }  # fmt: skip


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
