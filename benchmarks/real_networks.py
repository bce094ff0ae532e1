"""Claim: at ten million parameters and more, a density takes little longer than its products take in plain PyTorch.

Densities of a BERT, a GPT-2 and a ResNet-18 (random weights), each run in a process of its own, by turns with
hessian-eigenthings, curvlinops and plain products by double backward. Beside each the bound, measured in the same run:
the products, plus what the steps must read (k rows and eight vectors in step k) at the bandwidth of BLAS, plus the
memory of one run touched once. Then a product against a gradient, and the memory of a product over longer sequences.

The networks and peers are in the extra `bench`; curvlinops needs a torchvision that fits torch: install that first.
"""

import logging
import multiprocessing
import resource
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from networks import bert, gpt2, resnet18
from peers import touch_memory
from report import parse, table, write
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import fastlanczos as fl
import fastlanczos.torch as flt
from fastlanczos.arrays.memory import available_memory

F = nn.functional
VECTORS = 6  # of float64 that a density may hold beside its basis
TOOLS = ("hessian-eigenthings", "curvlinops")


NETWORKS = {"BERT": bert, "GPT-2": gpt2, "ResNet-18": resnet18}


def quiet():
    """Leave out what transformers and the peers say of configurations and releases."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def own_loss(model, batch):
    output = model(**batch)
    return output["loss"]


class Plain:
    """Products by double backward, the graph kept: what anybody would write."""

    def __init__(self, model, data):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        with sdpa_kernel(SDPBackend.MATH):
            loss = own_loss(model, data[0])
        self.gradients = torch.autograd.grad(loss, self.parameters, create_graph=True)

    def product(self, vectors):
        return torch.autograd.grad(self.gradients, self.parameters, vectors, retain_graph=True)


def density(model, data, probes, steps, basis):
    H = flt.HessianOperator(model, None, data)
    options = {"reorthogonalize": "none"} if basis == "none" else {"reorthogonalize": "full", "basis_dtype": basis}
    return fl.spectral_density(H, num_probes=probes, num_steps=steps, seed=0, **options)


def eigenthings(model, data, probes, steps):
    import hessian_eigenthings as tool

    with sdpa_kernel(SDPBackend.MATH):
        operator = tool.HessianOperator(model, data, own_loss)
        tool.spectral_density(operator, num_runs=probes, lanczos_steps=steps, seed=0)


class _Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        logits = self.model(**batch)["logits"]
        return logits[:, :-1].transpose(1, 2) if logits.ndim == 3 else logits


def curvlinops(model, data, probes, steps):
    """As many products, since its densities want the ends of the spectrum first."""
    import curvlinops as tool

    wrapped = _Logits(model)
    labels = data[0]["labels"]
    pairs = [(data[0], labels[:, 1:] if labels.ndim == 2 else labels)]
    with sdpa_kernel(SDPBackend.MATH):
        operator = tool.HessianLinearOperator(
            wrapped,
            nn.CrossEntropyLoss(),
            list(wrapped.parameters()),
            pairs,
            check_deterministic=False,
            batch_size_fn=lambda batch: len(batch["labels"]),
        )
        v = torch.randn(operator.shape[1])
        for _ in range(probes * steps):
            operator @ v


def peak_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def work(name, quick, tool, probes, steps, basis, length, checkpointed):
    """What a process of its own measures: seconds, page faults, and the peak of its memory beside its beginning."""
    torch.manual_seed(0)
    quiet()
    options = {} if length is None else {"length": length}
    model, data = NETWORKS[name](quick, **options)
    if checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()  # where transformers checkpoints; without dropout it computes the same
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    # What every process has to load once, and code that torch compiles at its first use.
    small, batch = NETWORKS[name](True)
    density(small, batch, 1, 2, "float64")
    plain = Plain(small, batch)
    plain.product([torch.ones_like(p) for p in plain.parameters])
    del small, batch, plain
    vectors = [torch.randn_like(p) for p in model.parameters()]
    for p in model.parameters():  # initialization leaves pages that nobody has touched
        p.detach().add_(0.0)
    # The host of a virtual machine takes back what is free, and hands it out again at a tenth of the speed.
    wanted = (steps + 20) * sum(p.numel() for p in model.parameters())
    touch_memory(min(wanted, available_memory() // 16))
    Path("/proc/self/clear_refs").write_text("5")
    before, faults, start = peak_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
    record = {}
    if tool == "fastlanczos":
        record["extremes"] = [float(x) for x in density(model, data, probes, steps, basis).extremes]
    elif tool == "product":
        H = flt.HessianOperator(model, None, data, products="finite-difference" if basis == "differences" else "exact")
        product = H @ torch.cat([v.reshape(-1) for v in vectors])
        record["norm"] = float(product.norm())
    elif tool == "plain":
        plain = Plain(model, data)
        plain.product(vectors)
        faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        for _ in range(probes * steps):
            plain.product(vectors)
    else:
        {"hessian-eigenthings": eigenthings, "curvlinops": curvlinops}[tool](model, data, probes, steps)
    record["seconds"] = time.perf_counter() - start
    record["faults"] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    record["peak"] = peak_bytes() - before
    record["n"] = sum(p.numel() for p in model.parameters())
    return record


def _answer(pipe, arguments):
    try:
        pipe.send(work(*arguments))
    except Exception as error:  # a tool that cannot do it: what it says is told, and the others go on
        pipe.send(f"{type(error).__name__}: {error}"[:150])


def measured(quick, name, tool, probes=1, steps=1, basis="float64", length=None, checkpointed=False):
    """Run `work` in a process of its own; None where the tool is not there or cannot do it."""
    context = multiprocessing.get_context("forkserver")  # imports once for all processes
    context.set_forkserver_preload(["real_networks", "transformers", "torch._dynamo"])
    here, there = context.Pipe()
    arguments = name, quick, tool, probes, steps, basis, length, checkpointed
    process = context.Process(target=_answer, args=(there, arguments))
    process.start()
    there.close()
    try:
        answer = here.recv()
    except EOFError:
        answer = "its process was killed"
    process.join()
    if isinstance(answer, str):
        print(f"{name}, {tool}: {answer}", flush=True)
        return None
    return answer


def medians(records):
    found = [r for r in records if r is not None]
    return (
        {key: statistics.median(r[key] for r in found) for key in ("seconds", "faults", "peak", "n")} if found else None
    )


def bandwidths(quick):
    """Bytes a second: read by a BLAS matrix-vector product, and touched for the first time."""
    V, v = np.ones((4, (2 if quick else 24) * 10**6)), np.ones(4)
    reads = []
    for _ in range(5):
        start = time.perf_counter()
        v @ V
        reads.append(time.perf_counter() - start)
    touches = []
    for _ in range(4):
        start = time.perf_counter()
        touch_memory(V.shape[1] * 4)
        touches.append(time.perf_counter() - start)
    del touches[0]
    return V.nbytes / statistics.median(reads), V.nbytes / statistics.median(touches)


def bound(n, probes, steps, basis, product, speeds):
    """Seconds of the products, of what the steps must read, and of one run's memory, touched once."""
    row = {"float64": 8, "float32": 4, "none": 0}[basis]
    read = probes * sum(k * row + 8 * 8 for k in range(1, steps + 1)) * n
    return {
        "products": probes * steps * product,
        "reading": read / speeds[0],
        "touching": n * (row * steps + 8 * VECTORS) / speeds[1],
    }


def densities(quick, repeats):
    """Each network's densities by every tool, by turns, and their bounds."""
    speeds = bandwidths(quick)
    rows = []
    for name in NETWORKS:
        settings = [(1, 10), (2, 10)] + ([(2, 60)] if name == "BERT" else [])
        if quick:
            settings = [(1, 4)]
        for probes, steps in settings:
            turns = {}
            for turn in range(repeats if name == "BERT" and steps < 60 else 1):
                turns.setdefault("plain", []).append(measured(quick, name, "plain", probes, steps))
                for basis in ("float64", "float32", "none"):
                    turns.setdefault(basis, []).append(measured(quick, name, "fastlanczos", probes, steps, basis))
                for tool in TOOLS if turn == 0 and (probes, steps) == settings[min(1, len(settings) - 1)] else ():
                    turns.setdefault(tool, []).append(measured(quick, name, tool, probes, steps))
            found = {key: medians(records) for key, records in turns.items()}
            plain = found["plain"]
            for basis in ("float64", "float32", "none"):
                least = bound(plain["n"], probes, steps, basis, plain["seconds"] / (probes * steps), speeds)
                ours, row = found[basis], {"float64": 8, "float32": 4, "none": 0}[basis]
                rows.append(
                    {
                        "network": name,
                        "n": plain["n"],
                        "probes": probes,
                        "steps": steps,
                        "basis": basis,
                        "seconds": ours["seconds"],
                        "bound": least,
                        "of the bound": ours["seconds"] / sum(least.values()),
                        "peak": ours["peak"],
                        "peak allowed": plain["n"] * (steps * row + 8 * VECTORS) + plain["peak"],
                        "faults": ours["faults"],
                        "faults of the products": plain["faults"],
                        "peers": {t: found[t] for t in TOOLS if found.get(t)},
                    }
                )
            print(
                f"{name}, {probes} x {steps}: {[round(r['of the bound'], 2) for r in rows[-3:]]} of the bound",
                flush=True,
            )
    return rows, speeds


def gradients(quick, repeats):
    """Seconds of a gradient, of a product, and of a plain product, in this process, by turns."""
    rows = []
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        model, data = make(quick)
        parameters = list(model.parameters())
        H, plain = flt.HessianOperator(model, None, data), Plain(model, data)
        vectors = [torch.randn_like(p) for p in parameters]
        v = torch.cat([x.reshape(-1) for x in vectors])
        product = torch.empty(H.shape[0], dtype=torch.float64)
        ways = {
            "gradient": lambda m=model, d=data, p=parameters: torch.autograd.grad(own_loss(m, d[0]), p),
            "product": lambda H=H, v=v, out=product: H.multiply_into([v], [out]),
            "plain product": lambda p=plain, x=vectors: p.product(x),
        }
        times = {key: [] for key in ways}
        for turn in range(repeats + 1):
            for key, way in ways.items():
                start = time.perf_counter()
                way()
                if turn:
                    times[key].append(time.perf_counter() - start)
        found = {key: statistics.median(t) for key, t in times.items()}
        exact = torch.cat([g.reshape(-1) for g in plain.product(vectors)]).double()
        rows.append(
            {
                "network": name,
                **found,
                "in gradients": found["product"] / found["gradient"],
                "differs": float((product - exact).norm() / exact.norm()),
            }
        )
    return rows


def lengths(quick):
    """Bytes at the peak of a product of the GPT-2 over longer and longer sequences, ours and plain."""
    rows = []
    for length in (32, 64) if quick else (128, 256, 512, 1024):
        ours, plain = (measured(quick, "GPT-2", tool, length=length) for tool in ("product", "plain"))
        rows.append({"length": length, "bytes": ours["peak"], "plain bytes": plain["peak"]})
    return rows


def checkpoints(quick):
    """Bytes at the peak of a product of the BERT over long sentences, with activation checkpointing and without."""
    length = 64 if quick else 256
    cases = {
        "exact": {},
        "exact, checkpointed": {"checkpointed": True},
        "differences": {"basis": "differences"},
        "differences, checkpointed": {"basis": "differences", "checkpointed": True},
    }
    found = {case: measured(quick, "BERT", "product", length=length, **options) for case, options in cases.items()}
    return [
        {"products": case, "bytes": r["peak"], "seconds": r["seconds"], "norm": r["norm"]} for case, r in found.items()
    ]


def picture(rows):
    """Where the time of each density goes."""
    longest = [r for r in rows if (r["probes"], r["steps"]) == (2, 10)] or rows
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    ax = figure.subplots()
    ticks = []
    for place, row in enumerate(longest):
        bottom = 0.0
        parts = {**row["bound"], "the rest": max(0.0, row["seconds"] - sum(row["bound"].values()))}
        for color, (part, seconds) in zip(("C0", "C1", "C2", "0.75"), parts.items(), strict=True):
            ax.bar(place, seconds, 0.6, bottom, color=color, label=part if place == 0 else None)
            bottom += seconds
        for mark, (tool, record) in zip("ov", row["peers"].items(), strict=False):
            ax.plot(place, record["seconds"], mark + "k", label=tool if place == 0 else None)
        ticks.append(f"{row['network']}\n{row['basis']}")
    ax.set_xticks(range(len(ticks)), ticks, fontsize=8)
    ax.set_ylabel("seconds")
    ax.set_yscale("symlog", linthresh=max(r["seconds"] for r in longest) * 2)
    ax.set_title(f"A density by {longest[0]['probes']} probes of {longest[0]['steps']} steps: where the time goes")
    ax.legend()
    return figure


def main(arguments=None):
    """Run the comparison."""
    options = parse(__doc__.splitlines()[0]).parse_args(arguments)
    quiet()
    repeats = 1 if options.quick else 3
    rows, speeds = densities(options.quick, repeats)
    costs = gradients(options.quick, 3 if options.quick else 15)
    memory, kept = lengths(options.quick), checkpoints(options.quick)
    table(
        "Densities: seconds and their bound; peaks and faults beside what plain products need",
        [
            "network",
            "n",
            "probes x steps",
            "basis",
            "seconds",
            "/ bound",
            *TOOLS,
            "peak",
            "/ allowed",
            "faults",
            "plain's",
        ],
        [
            [
                r["network"],
                int(r["n"]),
                f"{r['probes']} x {r['steps']}",
                r["basis"],
                r["seconds"],
                r["of the bound"],
                *(r["peers"][t]["seconds"] if t in r["peers"] else None for t in TOOLS),
                f"{r['peak'] / 1e6:.0f} MB",
                r["peak"] / r["peak allowed"],
                int(r["faults"]),
                int(r["faults of the products"]),
            ]
            for r in rows
        ],
    )
    table("One product", list(costs[0]), [list(r.values()) for r in costs])
    table(
        "Peak of a product of the GPT-2",
        ["tokens", "MB", "plain torch: MB"],
        [[r["length"], r["bytes"] / 1e6, r["plain bytes"] / 1e6] for r in memory],
    )
    table(
        "Peak of a product of the BERT over long sentences",
        ["products", "MB", "seconds"],
        [[r["products"], r["bytes"] / 1e6, r["seconds"]] for r in kept],
    )
    record = {
        "read, bytes a second": speeds[0],
        "touched, bytes a second": speeds[1],
        "densities": rows,
        "products": costs,
        "lengths": memory,
        "checkpoints": kept,
    }
    write(options.output, "real_networks", record, picture(rows))


if __name__ == "__main__":
    main()
