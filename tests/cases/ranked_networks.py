"""What gloo ranks do with networks in tests: each has its part of the data, and perhaps of the parameters."""

import numpy as np


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

    operator = flt.GGNOperator if "GGN" in kind else flt.HessianOperator
    kind = kind.split()[0]
    model, (_, loss, x, y) = divided(kind, size), network()
    ranks, mine = {"FSDP2": (size, rank), "TP": (1, 0), "FSDP2+TP": (2, rank // (size // 2))}[kind]
    edges = np.r_[0, 5, np.linspace(5, 37, ranks).astype(int)[1:]] if ranks > 1 else [0, 37]
    part = slice(edges[mine], edges[mine + 1])
    if kind == "FSDP2" and not options:
        options = {"schedule": flt.Schedule("kept")}
    H = operator(model, loss, list(zip(x[part].split(16), y[part].split(16), strict=True)), **options)
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
        "stretches": H.shared.stretches, "part": (H @ torch.from_numpy(H.shared.part(v.numpy()))).numpy(),
    }  # fmt: skip


def deep(rank, size, graphs, fails=False):
    """Eight blocks, each a unit of FSDP2: a product, and how much of the parameters was gathered at one time."""
    import torch

    import fastlanczos.torch as flt

    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(24, 24), nn.Tanh()) for _ in range(8)), nn.Linear(24, 4)).double()
    x, y = torch.randn(30, 24, dtype=torch.float64), torch.randint(4, (30,))
    parameters = sum(p.numel() for p in model.parameters())
    if size:
        from torch.distributed.fsdp import fully_shard

        for block in model:
            fully_shard(block)
        fully_shard(model)
        x, y = (x[:7], y[:7]) if rank == 0 else (x[7:], y[7:])  # one batch here, three there

    def forward(model, batch):
        if fails and rank == size - 1 and len(batch[0]) < 10:  # in its last batch
            raise ValueError("out of luck")
        return model(batch[0]), batch[1]

    data = list(zip(x.split(10), y.split(10), strict=True))
    schedule = None if graphs is None else flt.Schedule(graphs)
    H = flt.HessianOperator(model, nn.functional.cross_entropy, data, forward=forward, schedule=schedule)
    v = torch.linspace(-1, 1, parameters, dtype=torch.float64)
    product = (H @ v).numpy()
    gathered = H._replicas.gathering.most_gathered if size else 0
    return {
        "product": product,
        "gathered": gathered / (8 * parameters),
        "how": str(H.schedule),
        "again": (H @ v).numpy(),
    }


def embedded(rank, size):
    """A product and the loss of a network whose embedding has a sparse gradient, under FSDP2."""
    import torch

    import fastlanczos.torch as flt

    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(30, 6), nn.Flatten(), nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    n, letters, y = sum(p.numel() for p in model.parameters()), torch.randint(30, (14, 4)), torch.randint(3, (14,))
    if size:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model[0])
        fully_shard(model)
        letters, y = letters[rank::size], y[rank::size]
    H = flt.HessianOperator(model, nn.functional.cross_entropy, [(letters, y)], weight_decay={"0": 0.5})
    return (H @ torch.linspace(-1, 1, n, dtype=torch.float64)).numpy(), H.loss(), H.gradient().numpy()
