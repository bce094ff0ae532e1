"""Claim: the density of a network's Hessian takes a fraction of the time that other PyTorch tools take for it.

Densities by full-reorthogonalized stochastic Lanczos quadrature in hessian-eigenthings, curvlinops (given the ends of
the spectrum, which it would otherwise look for with ARPACK) and fastlanczos, of the same data in the same batches, by
turns. Then the cost of one product against one gradient of the same data, alone and in a block, and the memory that
graphs take. The peers are in the extra `bench`; curvlinops needs a torchvision that fits torch: install that first.

    pip install torch==2.13.0 torchvision==0.28.0 '.[bench]'
"""

import copy
import importlib
import statistics
import time
import warnings

import torch
from matplotlib.figure import Figure
from report import parse, table, write
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import fastlanczos as fl
import fastlanczos.torch as flt

F = nn.functional


def multilayer_perceptron():
    """The paper's network, n = 15,910."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Tanh(), nn.Linear(20, 10))


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm beside a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.shortcut = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.shortcut(x))


def residual_network():
    """ResNet-20 for images of CIFAR-10's shape."""
    blocks = [
        ResidualBlock(a, b, 1 + (a != b))
        for a, b in zip([16] * 4 + [32] * 3 + [64] * 2, [16] * 3 + [32] * 3 + [64] * 3, strict=True)
    ]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


class Transformer(nn.Module):
    """Two layers, 64 wide, embedding and output tied."""

    def __init__(self, tokens=64, width=64, length=32):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Parameter(torch.randn(length, width) / 50)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(width, tokens, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x):
        return self.out(self.layers(self.embedding(x) + self.position)).transpose(1, 2)


def problems(quick):
    """Name -> (model, batches, steps, probes, repeats)."""
    torch.manual_seed(0)
    samples = 200 if quick else 2000
    x, y = torch.randn(samples, 784), torch.randint(10, (samples,))
    images, classes = torch.randn(8 if quick else 256, 3, 32, 32), torch.randint(10, (8 if quick else 256,))
    words, following = torch.randint(64, (2, 8 if quick else 128, 32))
    few = 4 if quick else 60
    parts = list(zip(x.split(250), y.split(250), strict=True))
    return {
        "MLP, one batch": (multilayer_perceptron(), [(x, y)], few, 5, 1 if quick else 3),
        "MLP, batches of 250": (
            multilayer_perceptron(),
            parts,
            few,
            5,
            1 if quick else 3,
        ),
        "ResNet-20": (residual_network(), [(images, classes)], 4 if quick else 20, 1, 1 if quick else 3),
        "transformer": (Transformer(), [(words, following)], 4 if quick else 20, 2, 1 if quick else 2),
    }


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(model, data, steps, probes):
    H = flt.HessianOperator(model, F.cross_entropy, data)
    return fl.spectral_density(H, num_probes=probes, num_steps=steps, seed=0)


def eigenthings(tool, model, data, steps, probes):
    operator = tool.HessianOperator(model, data, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))
    return tool.spectral_density(operator, num_runs=probes, lanczos_steps=steps, seed=0)


def curvlinops(tool, model, data, steps, probes, ends):
    operator = tool.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), data, check_deterministic=False
    )
    return tool.lanczos_approximate_spectrum(operator, steps, num_repeats=probes, boundaries=ends)


def densities(model, data, steps, probes, repeats):
    """Seconds of each tool, medians by turns, and the largest eigenvalue that two of them found."""
    times, top = {}, {}
    for _ in range(repeats):
        start = time.perf_counter()
        density = ours(model, data, steps, probes)
        times.setdefault("fastlanczos", []).append(time.perf_counter() - start)
        top["fastlanczos"] = float(density.extremes[1])
        for name in ("hessian_eigenthings", "curvlinops"):
            try:
                tool = importlib.import_module(name)
            except ImportError:
                continue
            start = time.perf_counter()
            # The peers have to be told that fused attention has no second derivative.
            with sdpa_kernel(SDPBackend.MATH):
                if name == "curvlinops":
                    try:
                        curvlinops(tool, model, data, steps, probes, density.extremes)
                    except RuntimeError as error:  # it cannot do batch norm in training mode
                        print(f"curvlinops: {str(error)[:100]} ...", flush=True)
                        continue
                else:
                    found = eigenthings(tool, model, data, steps, probes)
                    top[name] = float(found.raw_eigenvalues.nan_to_num(-1e9).max())
            times.setdefault(name, []).append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}, top


def products(model, data, repeats):
    """Seconds of one gradient over the data, of one product, and of one of several together; bytes of the graphs.

    Each is timed in a row of a few, as Lanczos calls products, and the rows take turns.
    """
    # A copy, or the gradients' passes move its batch norms' running statistics, and the graphs are built again.
    trained = copy.deepcopy(model)
    parameters = list(trained.parameters())

    def gradient():
        for x, y in data:
            torch.autograd.grad(F.cross_entropy(trained(x), y), parameters)

    H = flt.HessianOperator(model, F.cross_entropy, data)
    block = torch.randn(H.shape[0], 10)
    row = 5 if repeats > 3 else 2
    work = {
        "gradient": (gradient, 1),
        "product": (lambda: H @ block[:, 0], 1),
        "product, one of 5": (lambda: H @ block[:, :5], 5),
        "product, one of 10": (lambda: H @ block, 10),
    }
    for one, _ in list(work.values())[:3]:
        one()
    measured = {name: [] for name in work}
    for _ in range(repeats):
        for name, (one, vectors) in work.items():
            measured[name].append(seconds(lambda one=one: [one() for _ in range(row)]) / row / vectors)
    return {name: statistics.median(t) for name, t in measured.items()}, H


def main(arguments=None):
    """Run the comparison."""
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    warnings.filterwarnings("ignore", module="curvlinops|torch")
    rows, costs, results = [], [], []
    for name, (model, data, steps, probes, repeats) in problems(options.quick).items():
        cost, H = products(model, data, 1 if options.quick else 21 if name.startswith("MLP") else 3)
        times, top = densities(model, data, steps, probes, repeats)
        base = times["fastlanczos"]
        ratios = {tool: t / base for tool, t in times.items() if tool != "fastlanczos"}
        apart = abs(top.get("hessian_eigenthings", top["fastlanczos"]) / top["fastlanczos"] - 1)
        rows.append(
            [
                name,
                H.shape[0],
                f"{steps} x {probes}",
                base,
                *(ratios.get(t) for t in ("hessian_eigenthings", "curvlinops")),
                apart,
            ]
        )
        relative = [cost[key] / cost["gradient"] for key in list(cost)[1:]]
        costs.append(
            [name, cost["gradient"], *relative, 1 / cost["product"], H.schedule.graph_bytes / 2**20, str(H.schedule)]
        )
        results.append(
            {
                "problem": name,
                "n": H.shape[0],
                "steps": steps,
                "probes": probes,
                "seconds": times,
                "ratios": ratios,
                "top eigenvalue": top,
                "product": cost,
                "graph bytes": H.schedule.graph_bytes,
                "schedule": str(H.schedule),
            }
        )
    table(
        "Density: seconds, and how many times longer the others take",
        ["problem", "n", "steps x probes", "seconds", "hessian-eigenthings", "curvlinops", "top eigenvalues differ"],
        rows,
    )
    table(
        "One product, in gradients of the same data",
        ["problem", "gradient (s)", "alone", "one of 5", "one of 10", "products / s", "graphs (MiB)", "schedule"],
        costs,
    )
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for offset, tool in enumerate(("hessian_eigenthings", "curvlinops")):
        heights = [r["ratios"].get(tool, 0) for r in results]
        axes.bar([i + 0.4 * offset for i in range(len(results))], heights, 0.38, label=tool.replace("_", "-"))
    axes.axhline(1, color="black", lw=0.8, ls="--")
    axes.set_xticks([i + 0.2 for i in range(len(results))], [r["problem"] for r in results])
    axes.set(ylabel="times as long as fastlanczos", title="Eigenvalue density of a network's Hessian")
    axes.legend(frameon=False)
    write(options.output, "hessian", {"problems": results}, figure)
    return results


if __name__ == "__main__":
    main()
